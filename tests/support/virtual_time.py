"""An event loop whose time passes only while nothing is to be done, in this thread or another."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 0. Where all wait for a timer it jumps there; a worker is waited for.

    So what a thread does takes no time, and what happens at which time is the same in every run.
    """

    def __init__(self) -> None:
        super().__init__(_JumpingSelector(self))
        self.now = 0.0
        self.working = 0

    def time(self) -> float:
        """Virtual seconds."""
        return self.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Run in a thread, while time stands still."""
        future = super().run_in_executor(executor, func, *args)
        self.working += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, future: asyncio.Future[Any]) -> None:
        self.working -= 1


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        """Look, without waiting; wait only for a thread."""
        if timeout != 0 and (self._loop.working or timeout is None):
            return super().select(None)
        if not (events := super().select(0)):
            self._loop.now += timeout or 0
        return events
