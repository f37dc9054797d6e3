"""What the two streams share: follow a cursor of the log, with a heartbeat a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from holter.v1 import stream_pb2 as stream_pb

from ..core import Core
from ..log import Item
from . import convert

HEARTBEAT_SECONDS = 1.0


class Cursor(Protocol):
    """A place in the log that moves on as it is read."""

    async def next(self, *, timeout: float) -> list[Item]:
        """The next items; none where the timeout passed."""

    @property
    def position(self) -> tuple[int, int]:
        """(session_id, next_sequence): everything below has been given."""


async def follow(cursor: Cursor, core: Core) -> AsyncIterator[Item | stream_pb.Heartbeat]:
    """Yield the log's items as they come, and a heartbeat once a second."""
    loop = asyncio.get_running_loop()
    beat = loop.time() + HEARTBEAT_SECONDS
    while True:
        for item in await cursor.next(timeout=max(0.0, beat - loop.time())):
            yield item
        if loop.time() >= beat:
            session_id, next_sequence = cursor.position
            yield stream_pb.Heartbeat(
                session_id=session_id,
                next_sequence=next_sequence,
                utc=convert.utc_to_pb(core.clock.utc()),
                quality=convert.quality_to_pb(core.sampler.quality),
            )
            beat = loop.time() + HEARTBEAT_SECONDS
