"""What the two streams share: follow a cursor of the log, with a heartbeat a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from holter.v1 import stream_pb2 as stream_pb

from ..core import Core
from ..log import Cursor, CursorItem, End
from ..samples import Block, Classification, Gap, Session
from . import convert

HEARTBEAT_SECONDS = 1.0


async def serve(
    cursor: Cursor,
    core: Core,
    response: Callable[..., Any],
    context: grpc.aio.ServicerContext[Any, Any],
) -> None:
    """Write what a cursor gives until its end, and a heartbeat once a second.

    The first one comes when there is nothing else to write: it tells where a live stream begins, so
    that whoever is cut off before the first frame comes back without a loss. Each write is awaited,
    so that a slow reader's only buffer is gRPC's own.
    """
    loop = asyncio.get_running_loop()
    session = core.session
    beat = loop.time() + HEARTBEAT_SECONDS
    placed = False
    while True:
        items = await cursor.next(timeout=max(0.0, beat - loop.time()) if placed else 0.0)
        for item in items:
            if isinstance(item, Session):
                session = item
            await context.write(response(**_event(item, session)))
            if isinstance(item, End):
                return
        if loop.time() >= beat or not (placed or items):
            placed = True
            await context.write(response(heartbeat=_heartbeat(cursor, core)))
            beat = loop.time() + HEARTBEAT_SECONDS


def _heartbeat(cursor: Cursor, core: Core) -> stream_pb.Heartbeat:
    return stream_pb.Heartbeat(
        session_id=cursor.position.session_id,
        next_sequence=cursor.position.next_sequence,
        utc=convert.utc_to_pb(core.clock.utc()),
        quality=convert.quality_to_pb(core.sampler.quality),
        recording_state=convert.recording_state(core.log.recording),
    )


def _event(item: CursorItem, session: Session) -> dict[str, Any]:
    """The one field of a response that holds an item; both streams name them alike."""
    if isinstance(item, Block):
        return {"sample_block": convert.block_fields(item, session)}
    if isinstance(item, Classification):
        return {"classification": convert.classification_fields(item, session)}
    if isinstance(item, Gap):
        return {"gap": convert.gap_to_pb(item)}
    if isinstance(item, Session):
        return {"session_started": convert.session_started_to_pb(item)}
    if isinstance(item, End):
        return {"end": convert.end_to_pb(item)}
    return {"model_changed": convert.model_change_to_pb(item)}
