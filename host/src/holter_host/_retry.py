"""How long to wait before trying again."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """Bounded exponential waits with jitter, in seconds.

    Wait n is min(initial * factor**n, maximum) times a random number from 1 - jitter to 1 + jitter,
    so that many hosts which lost the same device do not come back at the same moment.
    """

    initial: float = 0.5
    factor: float = 2.0
    maximum: float = 5.0
    jitter: float = 0.3
    count: int = 5

    def delays(self) -> Iterator[float]:
        """The `count` waits."""
        for n in range(self.count):
            delay = min(self.initial * self.factor**n, self.maximum)
            yield delay * random.uniform(1 - self.jitter, 1 + self.jitter)
