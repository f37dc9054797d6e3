"""Lead-off from the signal itself: a front end without its electrodes drives its output to a rail.

The AD8232's lead-off comparators have lines of their own, which are often unwired; a signal that
stays at 0 or at full scale is seen always. A frame is marked from RAILED_SECONDS after the signal
reached a rail until SETTLE_SECONDS after it left: the amplifiers' high pass takes that long to come
back (AD8232 data sheet, "Fast Restore").
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .samples import Block, Gap, LeadOffRun, Session

RAILED_SECONDS = 0.2
SETTLE_SECONDS = 1.0


class RailDetector:
    """Marks the frames of one session, tile by tile."""

    def __init__(self, session: Session) -> None:
        limits = np.iinfo(session.sample_format.dtype)  # type: ignore[type-var]
        self._low, self._high = limits.min, limits.max
        self._session = session
        self._least = max(1, round(RAILED_SECONDS * session.grid.rate_hz))
        self._settle = round(SETTLE_SECONDS * session.grid.rate_hz)
        self._railed = 0
        self._off_until = 0

    def mark(self, tiles: Sequence[Block | Gap]) -> list[Block | Gap]:
        """The same tiles, their blocks with `lead_off` runs."""
        return [self._mark(tile) if isinstance(tile, Block) else self._skip(tile) for tile in tiles]

    def _skip(self, gap: Gap) -> Gap:
        self._railed = 0
        return gap

    def _mark(self, block: Block) -> Block:
        counts = block.array(self._session)
        at_rail = ((counts == self._low) | (counts == self._high)).any(axis=1)
        first = block.first_sequence
        if not at_rail.any():
            self._railed = 0
            if self._off_until <= first:
                return block
            return self._with(block, np.arange(block.frame_count) < self._off_until - first)
        return self._with(block, self._flags(at_rail, first))

    def _flags(self, at_rail: npt.NDArray[np.bool_], first: int) -> npt.NDArray[np.bool_]:
        flags = np.arange(len(at_rail)) < self._off_until - first
        for start, end, railed in _runs(at_rail):
            if not railed:
                self._railed = 0
                continue
            off = start + max(0, self._least - self._railed)
            self._railed += end - start
            if off < end:
                self._off_until = first + end + self._settle
                flags[off : end + self._settle] = True
        return flags

    def _with(self, block: Block, flags: npt.NDArray[np.bool_]) -> Block:
        first = block.first_sequence
        runs = tuple(
            LeadOffRun(first + start, end - start) for start, end, off in _runs(flags) if off
        )
        return dataclasses.replace(block, lead_off=runs) if runs else block


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int, bool]]:
    """The runs of equal values as (start, end, value)."""
    edges = [0, *(np.flatnonzero(np.diff(flags)) + 1).tolist(), len(flags)]
    return [(a, b, bool(flags[a])) for a, b in itertools.pairwise(edges)]
