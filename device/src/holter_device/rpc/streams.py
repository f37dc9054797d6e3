"""What the two streams share: follow a cursor of the log, with a heartbeat a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from holter.v1 import stream_pb2 as stream_pb

from ..core import Core
from ..log import Cursor, CursorItem
from . import convert

HEARTBEAT_SECONDS = 1.0


async def follow(cursor: Cursor, core: Core) -> AsyncIterator[CursorItem | stream_pb.Heartbeat]:
    """Yield the log's items as they come, and a heartbeat once a second."""
    loop = asyncio.get_running_loop()
    beat = loop.time() + HEARTBEAT_SECONDS
    while True:
        for item in await cursor.next(timeout=max(0.0, beat - loop.time())):
            yield item
        if loop.time() >= beat:
            yield stream_pb.Heartbeat(
                session_id=cursor.position.session_id,
                next_sequence=cursor.position.next_sequence,
                utc=convert.utc_to_pb(core.clock.utc()),
                quality=convert.quality_to_pb(core.sampler.quality),
            )
            beat = loop.time() + HEARTBEAT_SECONDS
