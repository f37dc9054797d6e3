"""The event loop of the client without async, in a thread of its own.

All devices that are open at a time share it. gRPC has one poller for a process: what comes for one
of several loops wakes them all, and those that find nothing print a traceback each.
"""

from __future__ import annotations

import asyncio
import threading

_lock = threading.Lock()
_users = 0
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def acquire() -> asyncio.AbstractEventLoop:
    """The loop, which runs until each of its users has released it."""
    global _loop, _thread, _users
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="holter-host", daemon=True)
            _thread.start()
        _users += 1
        return _loop


def release() -> None:
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
