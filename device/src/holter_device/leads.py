"""Which frames are not to be trusted because an electrode is off, channel by channel.

Two things tell. The signal: a front end without its electrodes drives its output to a rail, so a
channel is RAILED, as `holter.leadoff` says; this is always seen. The AD8232's comparators: LO_PLUS
and LO_MINUS, where their lines are wired. After either the channel is SETTLING.

That a stay at a rail is one is known only after a while, and its block may have been sent by
then: what a block said stays, and the frames before are not marked.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from holter.leadoff import railed_frames, settle_frames

from .leadoff import LeadOffLines
from .samples import Block, Gap, LeadOff, LeadOffRun, Session

_FLAGS = {"LO+": LeadOff.LO_PLUS, "LO-": LeadOff.LO_MINUS}
_NEVER, _NEVER_AGAIN = -(2**62), 2**62

_Reasons = npt.NDArray[np.uint8]


class LeadOffDetector:
    """Marks the frames of one session, tile by tile; how they are cut into tiles changes nothing.

    Args:
        session: the session.
        rails: for each channel the counts at or beyond which its signal is at a rail, (low, high).
        lines: the comparators' lines; None where none is wired.
    """

    def __init__(
        self,
        session: Session,
        rails: Sequence[tuple[int, int]],
        lines: LeadOffLines | None = None,
    ) -> None:
        self._session = session
        self._index = {channel.name: index for index, channel in enumerate(session.channels)}
        self._low, self._high = np.array(rails, session.sample_format.dtype).T
        self._least = railed_frames(session.grid.rate_hz)
        self._settle = settle_frames(session.grid.rate_hz)
        self._lines = lines
        self._edges: deque[tuple[int, int, LeadOff, bool]] = deque()
        count = len(session.channels)
        # For each channel: frames that it has been at a rail; what the lines say; its last frame
        # with an electrode off.
        self._stay = np.zeros(count, np.int64)
        self._levels = np.zeros(count, np.uint8)
        self._last_off = np.full(count, _NEVER, np.int64)
        self._foresee(0)

    def mark(self, tiles: Sequence[Block | Gap]) -> list[Block | Gap]:
        """The same tiles, their blocks with `lead_off` runs."""
        if self._lines is not None and tiles:
            grid = self._session.grid
            for edge in self._lines.read(grid.time_ns(tiles[-1].next_sequence - 1)):
                line = edge.line
                place = (self._index[line.channel], _FLAGS[line.electrode])
                self._edges.append((grid.sequence_at(edge.time_ns), *place, edge.off))
        return [self._mark(tile) if isinstance(tile, Block) else self._skip(tile) for tile in tiles]

    def _skip(self, gap: Gap) -> Gap:
        """Whoever was at a rail long enough still is; whoever was not begins again."""
        self._last_off[self._off] = gap.first_sequence - 1
        self._stay *= self._railed
        for _, end in self._parts(gap):
            self._last_off[self._railed | (self._levels != 0)] = end - 1
        self._foresee(gap.next_sequence)
        return gap

    def _mark(self, block: Block) -> Block:
        counts = block.array(self._session)
        at_rail = (counts <= self._low) | (counts >= self._high)
        first, end = block.first_sequence, block.next_sequence
        changes = end > self._foreseen_to or (self._edges and self._edges[0][0] < end)
        runs: tuple[LeadOffRun, ...] = ()
        if changes or (at_rail != self._railed).any():
            self._last_off[self._off] = first - 1
            parts = [
                self._reasons(at_rail[a - first : b - first], a) for a, b in self._parts(block)
            ]
            runs = tuple(_runs(np.concatenate(parts), first))
            self._foresee(end)
        else:
            self._stay *= self._railed
            mask, reasons = self._foreseen
            if mask:
                runs = (LeadOffRun(first, block.frame_count, mask, reasons),)
        return dataclasses.replace(block, lead_off=runs) if runs else block

    def _foresee(self, first: int) -> None:
        """What marks the frames from `first` on, while no line and nobody's rail changes.

        Most tiles are like the one before; they need no more than this. It holds for the frames
        below `_foreseen_to`, where the next channel has settled.
        """
        self._railed = self._stay > self._least
        reasons = self._railed.astype(np.uint8) * np.uint8(LeadOff.RAILED) | self._levels
        self._off = reasons != 0
        settled = self._last_off + self._settle + 1
        settling = ~self._off & (settled > first)
        reasons[settling] = LeadOff.SETTLING
        self._foreseen_to = int(settled[settling].min(initial=_NEVER_AGAIN))
        masks, whys = _coded(reasons[np.newaxis])
        self._foreseen = int(masks[0]), LeadOff(int(whys[0]))

    def _parts(self, tile: Block | Gap) -> Iterator[tuple[int, int]]:
        """The parts of a tile in which no line changes, as (first, end); `_levels` follows."""
        start = tile.first_sequence
        while start < tile.next_sequence:
            while self._edges and self._edges[0][0] <= start:
                _, channel, flag, off = self._edges.popleft()
                level = int(self._levels[channel])
                self._levels[channel] = level | flag if off else level & ~flag
            end = min(self._edges[0][0], tile.next_sequence) if self._edges else tile.next_sequence
            yield start, end
            start = end

    def _reasons(self, at_rail: npt.NDArray[np.bool_], first: int) -> _Reasons:
        """Why each frame is not to be trusted: flags of LeadOff, shape (frames, channels)."""
        index = np.arange(len(at_rail))[:, np.newaxis]
        # The last frame that was off the rail; where it is before these frames, it is below 0.
        good = np.maximum.accumulate(np.where(at_rail, -1 - self._stay, index), axis=0)
        railed = index - good > self._least
        reasons = railed.astype(np.uint8) * np.uint8(LeadOff.RAILED) | self._levels
        off = reasons != 0
        last_off = np.maximum.accumulate(np.where(off, first + index, self._last_off), axis=0)
        settling = ~off & (first + index - last_off <= self._settle)
        self._stay, self._last_off = index[-1] - good[-1], last_off[-1]
        reasons[settling] = LeadOff.SETTLING
        return reasons


def _runs(reasons: _Reasons, first: int) -> Iterator[LeadOffRun]:
    """The runs of frames with the same channels and the same reasons over them."""
    masks, whys = _coded(reasons)
    changes = (np.diff(masks) != 0) | (np.diff(whys) != 0)
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(masks)]
    for start, end in itertools.pairwise(edges):
        if masks[start]:
            reason = LeadOff(int(whys[start]))
            yield LeadOffRun(first + start, end - start, int(masks[start]), reason)


def _coded(reasons: _Reasons) -> tuple[npt.NDArray[np.int64], _Reasons]:
    """Of each frame the mask of the channels that have reasons, and their union."""
    bits = 1 << np.arange(reasons.shape[1], dtype=np.int64)
    return ((reasons != 0) * bits).sum(axis=1), np.bitwise_or.reduce(reasons, axis=1)
