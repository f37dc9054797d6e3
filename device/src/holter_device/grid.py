"""The grid of sample times, and why a frame of it may be missing; imports nothing heavy."""

from __future__ import annotations

import dataclasses
import enum
import math

_NANOS = 1_000_000_000


class GapCause(enum.IntEnum):
    """Why frames are missing; the numbers are those of the wire."""

    BUS_ERROR = 1
    LATE = 2
    OVERRUN = 3
    SAMPLER_RESTARTED = 4
    RETENTION = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """The times of the ticks: frame k is at start_ns + round(k * 1e9 / rate_hz)."""

    start_ns: int
    rate_hz: float

    @property
    def period_ns(self) -> float:
        """Time between two ticks, in ns."""
        return _NANOS / self.rate_hz

    def time_ns(self, sequence: int) -> int:
        """Time of a frame on the device's monotonic clock, in ns."""
        return self.start_ns + round(sequence * _NANOS / self.rate_hz)

    def sequence_at(self, time_ns: int) -> int:
        """The first frame at or after a time, never below 0."""
        sequence = max(0, math.floor((time_ns - self.start_ns) * self.rate_hz / _NANOS) - 1)
        while self.time_ns(sequence) < time_ns:
            sequence += 1
        return sequence
