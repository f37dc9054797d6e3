"""From frames to windows: which there are, what is in them, which are spoilt.

Windows end at the frames e with e + 1 >= window and (e + 1 - window) mod hop = 0, counted from
sequence 0 of the session, for every model, so that anyone can compute the exact set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from holter.spec import ModelSpec

from .samples import Block, Gap, Session, UnclassifiableReason

MAX_WINDOW_SECONDS = 120


def max_window_frames(rate_hz: float) -> int:
    """Frames of the longest window that a model may have at this rate."""
    return max(1, round(MAX_WINDOW_SECONDS * rate_hz))


def window_ends(window: int, hop: int, first: int, end: int) -> range:
    """Sequences of the last frames of all windows whose last frame e is in first <= e < end."""
    earliest = window - 1
    if first > earliest:
        earliest += -(-(first - earliest) // hop) * hop
    return range(earliest, max(earliest, end), hop)


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """One window.

    Attributes:
        first_sequence: its first frame.
        last_sequence: its last frame.
        counts: counts of the model's channels, frame by frame; empty where it is spoilt.
        spoilt: why it cannot be classified; None where it can.
    """

    first_sequence: int
    last_sequence: int
    counts: bytes
    spoilt: UnclassifiableReason | None


class WindowCutter:
    """Cuts the frames of one session into windows.

    It keeps the newest frames, so that a window can begin before the model that takes it came.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._capacity = max_window_frames(session.grid.rate_hz)
        self._frames = np.zeros(
            (2 * self._capacity, len(session.channels)), dtype=session.sample_format.dtype
        )
        self._end = self._capacity
        # The newest frames that spoil are all that need be known: windows come in order.
        self._last_missing = -1
        self._last_off = [-1] * len(session.channels)
        self._spec: ModelSpec | None = None
        self._columns: list[int] = []
        self.next_sequence = 0

    def select(self, spec: ModelSpec | None) -> None:
        """From the next frame on, cut for this model; None cuts nothing."""
        self._spec = spec
        names = [channel.name for channel in self._session.channels]
        self._columns = [names.index(name) for name in spec.channels] if spec else []
        self._columns = self._columns or [0]  # a model that names no channel takes the first

    def cut(self, tile: Block | Gap) -> Iterator[Window]:
        """Take the next tile and yield the windows that it completes, in order.

        `select` may be called between two of them; it counts from the frame after the window.
        """
        assert tile.first_sequence == self.next_sequence, "the tiles of a session are contiguous"
        frames = tile.array(self._session) if isinstance(tile, Block) else None
        while self.next_sequence < tile.next_sequence:
            start = self.next_sequence
            end = min(self._next_end(), tile.next_sequence, start + self._capacity)
            offset = start - tile.first_sequence
            self._extend(end - start, None if frames is None else frames[offset:])
            self._spoil(tile, start)
            if (spec := self._spec) and end >= spec.window and (end - spec.window) % spec.hop == 0:
                yield self._window(spec)

    def _next_end(self) -> int:
        """The sequence after the last frame of the next window."""
        spec = self._spec
        if spec is None:
            return self.next_sequence + self._capacity
        return window_ends(spec.window, spec.hop, self.next_sequence, 0).start + 1

    def _extend(self, count: int, frames: npt.NDArray[np.generic] | None) -> None:
        if self._end + count > len(self._frames):
            self._frames[: self._capacity] = self._frames[self._end - self._capacity : self._end]
            self._end = self._capacity
        self._frames[self._end : self._end + count] = 0 if frames is None else frames[:count]
        self._end += count
        self.next_sequence += count

    def _window(self, spec: ModelSpec) -> Window:
        first, last = self.next_sequence - spec.window, self.next_sequence - 1
        spoilt = self._spoilt_since(first)
        counts = b"" if spoilt else _columns(self._newest(spec.window), self._columns).tobytes()
        return Window(first, last, counts, spoilt)

    def _newest(self, count: int) -> npt.NDArray[np.generic]:
        return self._frames[self._end - count : self._end]

    def _spoil(self, tile: Block | Gap, start: int) -> None:
        """Note which of the frames from `start` to the newest one spoil a window."""
        if isinstance(tile, Gap):
            self._last_missing = self.next_sequence - 1
            return
        for run in tile.lead_off:
            last = min(run.next_sequence, self.next_sequence) - 1
            if last >= max(run.first_sequence, start):
                for channel in range(len(self._last_off)):
                    if not run.channel_mask or run.channel_mask >> channel & 1:
                        self._last_off[channel] = last

    def _spoilt_since(self, first: int) -> UnclassifiableReason | None:
        """Why a window from `first` to the newest frame has no class; of two reasons, the gap."""
        if self._last_missing >= first:
            return UnclassifiableReason.GAP
        if max(self._last_off[column] for column in self._columns) >= first:
            return UnclassifiableReason.LEADS_OFF
        return None


def _columns(frames: npt.NDArray[np.generic], columns: Sequence[int]) -> npt.NDArray[np.generic]:
    """The frames of some channels."""
    return frames[:, list(columns)] if frames.shape[1] > 1 else frames
