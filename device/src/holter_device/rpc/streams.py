"""What the two streams share: follow a cursor of the log, with a heartbeat a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc

from holter.v1 import stream_pb2 as stream_pb

from ..core import Core
from ..log import Cursor, CursorItem, End, Position
from ..samples import Block, Classification, Gap, Session
from . import convert

HEARTBEAT_SECONDS = 1.0

# Blocks up to so many bytes of counts are near the live edge, where many readers get the same one.
_SHARED_BYTES = 4096
_SHARED_BLOCKS = 64
# How old what a heartbeat tells of the device may be.
_BEAT_SECONDS = 0.1


class Messages:
    """Makes the messages of one service's streams. What many readers get is made once.

    Args:
        core: the device.
        response: the message of the service's stream; both have the same events.
    """

    def __init__(self, core: Core, response: Callable[..., Any]) -> None:
        self._core = core
        self._response = response
        self._blocks: dict[int, tuple[Block, Any]] = {}
        self._beat: dict[str, Any] = {}
        self._beat_until = 0.0
        self._beat_sequence = 0  # the frames that it tells of are at least those below

    def of(self, item: CursorItem, session: Session) -> Any:
        """The message of an item of a session."""
        if not isinstance(item, Block) or len(item.counts) > _SHARED_BYTES:
            return self._response(**_event(item, session))
        # The block is kept with its message, so that no other one gets its id meanwhile.
        if (made := self._blocks.get(id(item))) is None:
            if len(self._blocks) >= _SHARED_BLOCKS:
                self._blocks.clear()
            made = self._blocks[id(item)] = item, self._response(**_event(item, session))
        return made[1]

    def heartbeat(self, place: Position) -> Any:
        """The heartbeat of a reader that has all below a place; it tells of all of that."""
        core, now = self._core, time.monotonic()
        running = place.session_id == core.session.session_id
        if now >= self._beat_until or (running and place.next_sequence > self._beat_sequence):
            self._beat_until = now + _BEAT_SECONDS
            self._beat_sequence = core.pipeline.next_sequence
            self._beat = {
                "utc": convert.utc_to_pb(core.clock.utc()),
                "quality": convert.quality_to_pb(core.sampler.quality),
                "recording_state": convert.recording_state(core.log.recording),
            }
        beat = stream_pb.Heartbeat(
            session_id=place.session_id, next_sequence=place.next_sequence, **self._beat
        )
        return self._response(heartbeat=beat)


async def serve(
    cursor: Cursor,
    core: Core,
    messages: Messages,
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
            await context.write(messages.of(item, session))
            if isinstance(item, End):
                return
        if loop.time() >= beat or not (placed or items):
            placed = True
            await context.write(messages.heartbeat(cursor.position))
            beat = loop.time() + HEARTBEAT_SECONDS


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
