"""holterd as a process: the core and its server, from start to signal."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from .config import Config
from .core import Core
from .parts import DeviceParts
from .rpc.server import Server

GRACE_SECONDS = 3.0

_log = logging.getLogger(__name__)


async def serve(config: Config, data_dir: Path, ready: Callable[[list[str]], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: the settings.
        data_dir: where the log and the models are.
        ready: called with the addresses once every call is answered.

    Raises:
        DeviceError: the address, the data directory or the source cannot be used.
    """
    server = Server(config)
    core = Core(config, DeviceParts(data_dir))
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if not await _unless(stopped, core.open()):
        return
    try:
        await server.start(core)
        ready(server.addresses)
        await _run(core, server, stopped)
    finally:
        core.stop()
        await server.stop(GRACE_SECONDS)
        await core.close()


async def _unless(stopped: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, unless a signal comes first: then it is given up and the result is False."""
    working = asyncio.create_task(work)
    signalled = asyncio.create_task(stopped.wait())
    await asyncio.wait({working, signalled}, return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if working.done():
        working.result()
        return True
    working.cancel()
    await asyncio.wait({working})
    return False


async def _run(core: Core, server: Server, stopped: asyncio.Event) -> None:
    """Run the core until a signal comes; where its source is over, go on serving what there is."""
    running = asyncio.create_task(core.run(), name="core")
    signalled = asyncio.create_task(stopped.wait())
    await asyncio.wait({running, signalled}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    await signalled
    _log.info("stopping")
    await server.leave()
    core.stop()
    await running
