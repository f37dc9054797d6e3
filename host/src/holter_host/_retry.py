"""How long to wait before trying again."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Awaitable, Callable


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """Bounded exponential waits with full jitter, in seconds.

    Wait n, from 0, is a random time between 0 and min(cap, base * 2**n), so that many hosts which
    lost the same device come back spread out. It is "full jitter" of M. Brooker, Exponential
    Backoff And Jitter, AWS Architecture Blog, 2015.

    Attributes:
        base: bound of the first wait.
        cap: bound of every wait.
        uniform: gives a random number between two.
        sleep: waits.
        clock: the time by which waits are counted.
    """

    base: float = 0.25
    cap: float = 3.0
    uniform: Callable[[float, float], float] = random.uniform
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic

    def wait(self, n: int) -> float:
        """Wait n."""
        # 2.0**1024 is an error, and no cap is that far away.
        return self.uniform(0.0, min(self.cap, self.base * 2.0 ** min(n, 64)))
