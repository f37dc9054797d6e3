"""Lets any number of readers wait until a rising number has come far enough."""

from __future__ import annotations

import asyncio
import math


class Wakeups:
    """A level that only rises, on one event loop.

    A reader compares and registers without an await in between, so that no rise is ever missed; it
    is woken once, when its own target is reached, however often the level rises before.
    """

    def __init__(self) -> None:
        self.level = 0
        self._waiting: dict[asyncio.Future[None], int] = {}

    @property
    def waiting_count(self) -> int:
        """How many are waiting now."""
        return len(self._waiting)

    def reach(self, level: int) -> None:
        """Raise the level, and wake those whose target it reaches."""
        self.level = max(self.level, level)
        for future, target in self._waiting.items():
            if target <= self.level and not future.done():
                future.set_result(None)

    async def wait(self, target: int, until: float = math.inf) -> None:
        """Return when the level is at `target` or above, or when it is `until` by the loop's time.

        Args:
            target: the level that is waited for.
            until: when to stop waiting, on the event loop's clock.
        """
        if self.level >= target:
            return
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting[future] = target
        timer = loop.call_at(until, _set, future) if until < math.inf else None
        try:
            await future
        finally:
            del self._waiting[future]
            if timer is not None:
                timer.cancel()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
