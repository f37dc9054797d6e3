"""One stream that is read in the background for as long as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from holter_host.streams import EventStream

_E = TypeVar("_E")


class Follower(Generic[_E]):
    """Takes the events of a stream, which goes on by itself whatever breaks.

    Args:
        stream: the stream.
        take: is given each event; what it raises is raised by `until`.
        gate: is awaited before each further event is asked for; it makes a slow reader.
    """

    def __init__(
        self,
        stream: EventStream[_E],
        take: Callable[[_E], None],
        gate: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.stream = stream
        self._take = take
        self._gate = gate
        self._came = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stream.aclose()
        self._task.cancel()
        await asyncio.wait({self._task})

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until the events that came make this true.

        Raises:
            AssertionError: the stream ended before.
        """
        while not reached():
            self._came.clear()
            coming = asyncio.create_task(self._came.wait())
            await asyncio.wait({self._task, coming}, return_when=asyncio.FIRST_COMPLETED)
            coming.cancel()
            if self._task.done() and not reached():
                self._task.result()
                raise AssertionError("the stream ended")

    async def _follow(self) -> None:
        async for event in self.stream:
            self._take(event)
            self._came.set()
            if self._gate is not None:
                await self._gate()
