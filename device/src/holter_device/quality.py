"""How well the grid is kept: counted as tiles come, since the session's start and lately."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from .lateness import Lateness
from .samples import Block, Gap, RecentQuality, SessionQuality

# Seconds of the grid that the recent quality is about: the newest, which is not over, and those
# before it. Each has an entry of its own, so that the memory is bounded.
RECENT_SECONDS = 60


class QualityCounter:
    """The quality of one session, tile by tile.

    Args:
        rate_hz: the grid's rate.

    Attributes:
        restart_count: sampler processes after the first; counted by who starts them.
    """

    def __init__(self, rate_hz: float) -> None:
        self.restart_count = 0
        self._rate_hz = rate_hz
        self._session = _Counts()
        self._recent = _Counts()
        self._seconds: deque[_Counts] = deque([_Counts()])
        self._told: SessionQuality | None = None

    @property
    def quality(self) -> SessionQuality:
        """The quality so far. It is made at most once between two changes, whoever asks."""
        told = self._told
        if told is None or told.sampler_restart_count != self.restart_count:
            told = self._told = SessionQuality(
                **self._session.fields(),
                sampler_restart_count=self.restart_count,
                last_minute=self._recent_quality(),
            )
        return told

    def tile(self, tile: Block | Gap) -> None:
        """Count the frames of the next tile, each in its second of the grid."""
        first = tile.first_sequence
        while first < tile.next_sequence:
            second = int(first / self._rate_hz)
            end = max(first + 1, math.ceil((second + 1) * self._rate_hz))
            end = min(end, tile.next_sequence)
            self._begin(second)
            for counts in self._all():
                counts.frames(end - first, received=isinstance(tile, Block))
            first = end
        if isinstance(tile, Block):
            for counts in self._all():
                counts.late += tile.late_count
        self._told = None

    def bus(self, sequence: int, retry_count: int, errors: Mapping[int, int]) -> None:
        """Count reads that were tried again, and reads that failed by errno.

        Args:
            sequence: the newest of their frames, which may be one to come.
            retry_count: reads that were tried again.
            errors: reads that failed, by errno.
        """
        self._begin(int(sequence / self._rate_hz))
        for counts in self._all():
            counts.retries += retry_count
            counts.bus_errors.update(errors)
        self._told = None

    def lateness(self, data: bytes) -> None:
        """Add what `take` of a Lateness gave; it is of the second of the last tile."""
        for counts in self._all():
            counts.merge(data)
        self._told = None

    def _all(self) -> tuple[_Counts, ...]:
        return self._session, self._recent, self._seconds[-1]

    def _begin(self, second: int) -> None:
        """Have an entry for this second, and none that is a minute older."""
        if second > self._seconds[-1].second:
            self._seconds.append(_Counts(second))
            while self._seconds[0].second <= second - RECENT_SECONDS:
                self._recent.remove(self._seconds.popleft())
            self._recent.lateness.max_ns = max(each.lateness.max_ns for each in self._seconds)

    def _recent_quality(self) -> RecentQuality:
        recent = self._recent
        frame_count = recent.received + recent.missing
        return RecentQuality(
            **recent.fields(),
            duration_ns=round(frame_count * 1e9 / self._rate_hz),
            achieved_rate_hz=self._rate_hz * recent.received / frame_count if frame_count else 0.0,
        )


class _Counts:
    """What is counted, of some frames."""

    __slots__ = (
        "_quantiles_ns",
        "bus_errors",
        "late",
        "lateness",
        "missing",
        "received",
        "retries",
        "second",
    )

    def __init__(self, second: int = 0) -> None:
        self.second = second
        self.received = 0
        self.missing = 0
        self.late = 0
        self.retries = 0
        self.bus_errors: Counter[int] = Counter()
        self.lateness = Lateness()
        # They change once a second, and are most of what an answer costs.
        self._quantiles_ns: tuple[int, ...] | None = None

    def frames(self, count: int, *, received: bool) -> None:
        """Count frames of one kind."""
        if received:
            self.received += count
        else:
            self.missing += count

    def merge(self, data: bytes) -> None:
        """Add what `take` of a Lateness gave."""
        self.lateness.merge(data)
        self._quantiles_ns = None

    def remove(self, older: _Counts) -> None:
        """Take away what is among these; all but the greatest lateness."""
        self.received -= older.received
        self.missing -= older.missing
        self.late -= older.late
        self.retries -= older.retries
        self.bus_errors -= older.bus_errors
        self.lateness.remove(older.lateness)
        self._quantiles_ns = None

    def fields(self) -> dict[str, Any]:
        """The fields of a Quality."""
        if self._quantiles_ns is None:
            self._quantiles_ns = self.lateness.quantiles_ns(0.5, 0.99, 0.999)
        p50_ns, p99_ns, p999_ns = self._quantiles_ns
        return {
            "received_count": self.received,
            "missing_count": self.missing,
            "late_count": self.late,
            "retry_count": self.retries,
            "bus_errors": dict(self.bus_errors.most_common()),
            "lateness_p50_ns": p50_ns,
            "lateness_p99_ns": p99_ns,
            "lateness_p999_ns": p999_ns,
            "lateness_max_ns": self.lateness.max_ns,
        }
