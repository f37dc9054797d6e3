"""How late reads begin: a histogram that is small, adds up, and keeps its precision."""

from __future__ import annotations

import itertools
import struct
from collections import Counter

_LINEAR = 32  # below this, one bucket a microsecond; above, 16 for each doubling
_SUB_BITS = 4
_MOST_NS = 3_600 * 10**9  # all above is one bucket
_MAX = struct.Struct("<q")
_BUCKET = struct.Struct("<HI")


class Lateness:
    """Counts of lateness by bucket; a bucket is at most 1/16 of its value wide."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.max_ns = 0

    def add(self, lateness_ns: int) -> None:
        """Count one read."""
        self._buckets[_bucket(min(max(0, lateness_ns), _MOST_NS))] += 1
        self.max_ns = max(self.max_ns, lateness_ns)

    def merge(self, data: bytes) -> None:
        """Add what `take` of another one gave."""
        (max_ns,) = _MAX.unpack_from(data)
        for bucket, count in _BUCKET.iter_unpack(data[_MAX.size :]):
            self._buckets[bucket] += count
        self.max_ns = max(self.max_ns, max_ns)

    def take(self) -> bytes:
        """Everything counted so far, in less than PIPE_BUF bytes; this one is empty afterwards."""
        buckets = b"".join(itertools.starmap(_BUCKET.pack, self._buckets.items()))
        data = _MAX.pack(self.max_ns) + buckets
        self._buckets.clear()
        self.max_ns = 0
        return data

    def remove(self, older: Lateness) -> None:
        """Take away what is among these; `max_ns` is left to who knows what remains."""
        self._buckets -= older._buckets

    def quantiles_ns(self, *fractions: float) -> tuple[int, ...]:
        """The lateness that each fraction of the reads does not exceed, rounded up to its bucket.

        Args:
            fractions: in ascending order.

        Returns:
            One for each, in ns; 0 where nothing was counted.
        """
        total = self._buckets.total()
        if not total:
            return (0,) * len(fractions)
        found: list[int] = []
        seen = 0
        for bucket, count in sorted(self._buckets.items()):
            seen += count
            while len(found) < len(fractions) and seen >= fractions[len(found)] * total:
                found.append(min(_upper_ns(bucket), self.max_ns))
        return tuple(found)


def _bucket(lateness_ns: int) -> int:
    micros = lateness_ns // 1000
    if micros < _LINEAR:
        return micros
    shift = micros.bit_length() - _SUB_BITS - 1
    return (shift << _SUB_BITS) + (micros >> shift)


def _upper_ns(bucket: int) -> int:
    """The lateness below which all of a bucket lies."""
    if bucket < _LINEAR:
        return (bucket + 1) * 1000
    shift = (bucket >> _SUB_BITS) - 1
    return ((bucket + 1 - (shift << _SUB_BITS)) << shift) * 1000
