"""Frames that are all known beforehand: what a simulated and a replayed source have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from holter.frontend import FULL_SCALE_COUNTS, FrontEnd

from . import AdcInfo, Input


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


class TableAdc:
    """A BlockAdc whose counts are all known once it is open; `open` is its heir's."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._rate_hz = float(settings["rate"])
        self._front_end = FrontEnd(
            reference_volts=settings["reference_volts"],
            gain=settings["gain"],
            baseline_volts=settings["baseline_volts"],
        )
        self._table = CountsTable(np.zeros((0, 1), np.uint8), loop=False)

    def read(self, sequence: int) -> bytes:
        """The counts of one frame; b"" where the recording is over."""
        return self._table.read(sequence)

    def read_many(self, sequence: int, frame_count: int) -> bytes:
        """The counts of many frames; fewer where the recording is over."""
        return self._table.read(sequence, frame_count)

    def close(self) -> None:
        """Nothing is held."""

    def _info(self, kind: str, description: str, names: Sequence[str]) -> AdcInfo:
        """What `open` returns: U8 counts of the front end's converter, one input a name."""
        volts_per_count = self._front_end.reference_volts / FULL_SCALE_COUNTS
        return AdcInfo(
            kind=kind,
            description=description,
            inputs=tuple(Input(name, volts_per_count) for name in names),
            sample_format="U8",
            frame_size=self._table.frame_size,
        )
