"""One piece of work on many devices, so many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def fan_out(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], concurrency: int
) -> AsyncGenerator[R, None]:
    """What `work` gives for each item, as it comes; at most `concurrency` are at work.

    An item is taken when there is room for it, so `items` may be endless, and a consumer that takes
    its time holds it all up. An exception of `work` ends it; who closes it early ends what runs.
    """
    waiting = iter(items)
    running: set[asyncio.Future[R]] = set()
    done: set[asyncio.Future[R]] = set()
    try:
        while True:
            for item in islice(waiting, concurrency - len(running)):
                running.add(asyncio.ensure_future(work(item)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                yield finished.result()
    finally:
        for unfinished in running:
            unfinished.cancel()
        # Also of those that ended together: else asyncio logs each error that nobody looked at.
        await asyncio.gather(*running, *done, return_exceptions=True)
