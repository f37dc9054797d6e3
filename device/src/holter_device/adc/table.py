"""Frames that are all known beforehand: what a simulated and a replayed source have in common."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class CountsTable:
    """The counts of a recording by sequence, once or again and again."""

    def __init__(self, counts: npt.NDArray[np.uint8], *, loop: bool) -> None:
        self._bytes = np.ascontiguousarray(counts).tobytes()
        self._frame_count, self._frame_size = counts.shape
        self._loop = loop

    @property
    def frame_size(self) -> int:
        """Bytes of one frame."""
        return int(self._frame_size)

    def read(self, sequence: int, frame_count: int = 1) -> bytes:
        """The frames from `sequence` on; fewer than `frame_count` where the recording is over."""
        parts: list[bytes] = []
        while frame_count:
            first = sequence % self._frame_count if self._loop else sequence
            count = min(frame_count, max(0, self._frame_count - first))
            if not count:
                break
            size = self._frame_size
            parts.append(self._bytes[first * size : (first + count) * size])
            sequence += count
            frame_count -= count
        return b"".join(parts)
