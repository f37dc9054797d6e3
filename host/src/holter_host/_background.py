"""The event loop of the client without async, in a thread of its own.

All devices that are open at a time share it. gRPC has one poller for a process: what comes for one
of several loops wakes them all, and those that find nothing print a traceback each.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any, TypeVar

from holter_host._event_stream import EventStream
from holter_host.errors import DeviceUnreachableError

T = TypeVar("T")

_lock = threading.Lock()
_users = 0
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


class Runner:
    """Runs in the loop, for one device, what the threads of its user wait for."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: set[concurrent.futures.Future[Any]] = set()

    def start(self) -> None:
        """Begin to use the loop."""
        self._loop = _acquire()

    def stop(self) -> None:
        """End the calls of other threads, and use the loop no longer."""
        self._loop = None
        for call in tuple(self._calls):
            call.cancel()
        _release()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop's thread and wait; an interrupt here ends it there.

        Raises:
            DeviceUnreachableError: the runner was stopped meanwhile.
            RuntimeError: it does not run, or this is the loop's thread.
        """
        loop = self._loop
        if loop is None or _runs_here(loop):
            work.close()
            raise RuntimeError(
                "The connection is not open; use: with connect_sync(...) as device"
                if loop is None
                else "A callback of this device cannot wait for another of its calls."
            )
        future = asyncio.run_coroutine_threadsafe(work, loop)
        self._calls.add(future)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise DeviceUnreachableError(
                f"The connection to {self._address} was closed during a call."
            ) from None
        except BaseException:
            future.cancel()
            raise
        finally:
            self._calls.discard(future)

    def events(self, source: EventStream[T] | AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """What a source gives; it is closed with the generator."""
        try:
            while True:
                try:
                    event = self.run(_next(source))
                except StopAsyncIteration:
                    return
                yield event
        finally:
            self._finish(source)

    def _finish(self, source: EventStream[T] | AsyncGenerator[T, None]) -> None:
        loop = self._loop
        if loop is None:
            return  # the source went with its connection
        if _runs_here(loop):  # the garbage collector runs in any thread
            asyncio.run_coroutine_threadsafe(_close(source), loop)
        else:
            self.run(_close(source))


def _acquire() -> asyncio.AbstractEventLoop:
    """The loop, which runs until each of its users has released it."""
    global _loop, _thread, _users
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="holter-host", daemon=True)
            _thread.start()
        _users += 1
        return _loop


def _release() -> None:
    """Be one user of the loop less."""
    global _loop, _thread, _users
    with _lock:
        _users -= 1
        if _users or _loop is None or _thread is None:
            return
        loop, thread = _loop, _thread
        _loop = _thread = None
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end_tasks() -> None:
    """End what nobody waits for any more, as `asyncio.run` does."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


async def _next(source: EventStream[T] | AsyncGenerator[T, None]) -> T:
    return await source.__anext__()


async def _close(source: EventStream[T] | AsyncGenerator[T, None]) -> None:
    await source.aclose()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop() is loop
    return False
