"""Ctrl-C ends a verb once, and lets it tidy up."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

# A wrapper passes the signal on that the terminal has sent already: one Ctrl-C may come twice.
SAME_SECONDS: Final = 1.0


def run_interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; the first SIGINT cancels it.

    Those within a second after it are the same one. Later ones, where tidying up takes so long, are
    KeyboardInterrupt wherever they find the process.

    Raises:
        KeyboardInterrupt: it was cancelled by SIGINT, and has tidied up.
    """
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not default or threading.current_thread() is not threading.main_thread():
        return asyncio.run(work)
    interruption = _Interruption()
    signal.signal(signal.SIGINT, interruption)
    try:
        return asyncio.run(interruption.cancelling(work))
    except asyncio.CancelledError:
        if interruption.since is None:
            raise
        raise KeyboardInterrupt from None
    finally:
        if interruption.since is None:  # else what ends the process is not to be interrupted either
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Interruption:
    """What handles SIGINT.

    Attributes:
        since: when the first one came, by time.monotonic(); None before.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    async def cancelling(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work, as the task that a signal cancels."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self.since is not None:
            work.close()
            raise asyncio.CancelledError
        return await work

    def __call__(self, number: int, frame: object) -> None:
        """Handle a signal, between any two instructions of the main thread."""
        now = time.monotonic()
        if self.since is None:
            self.since = now
            if self._loop is not None and self._task is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._task.cancel)
        elif now - self.since > SAME_SECONDS:
            raise KeyboardInterrupt
