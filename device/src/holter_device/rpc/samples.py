"""SampleService: frames and gaps, from a place in the log."""

from __future__ import annotations

from typing import Any

import grpc

from holter.v1 import sample_service_pb2 as pb
from holter.v1 import sample_service_pb2_grpc as pb_grpc
from holter.v1 import stream_pb2 as stream_pb

from ..core import Core
from ..log import CursorItem, End
from ..samples import Block, Gap, Session
from . import convert
from .errors import translated
from .streams import follow


class SampleServicer(pb_grpc.SampleServiceServicer):
    """Serves the samples of one device."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @translated
    async def StreamSamples(  # noqa: N802 (the method's name is the wire's)
        self,
        request: pb.StreamSamplesRequest,
        context: grpc.aio.ServicerContext[pb.StreamSamplesRequest, pb.StreamSamplesResponse],
    ) -> None:
        """Follow a cursor; each write is awaited, so that a slow reader's buffer is gRPC's own."""
        cursor = await self._core.log.samples(
            convert.start_from_pb(request.start),
            max_latency=convert.max_latency_from_pb(request),
        )
        session = self._core.session
        async for item in follow(cursor, self._core):
            if isinstance(item, Session):
                session = item
            await context.write(_response(item, session))
            if isinstance(item, End):
                return


def _response(item: CursorItem | stream_pb.Heartbeat, session: Session) -> pb.StreamSamplesResponse:
    event: dict[str, Any]
    if isinstance(item, Block):
        event = {"sample_block": convert.block_to_pb(item, session)}
    elif isinstance(item, Gap):
        event = {"gap": convert.gap_to_pb(item)}
    elif isinstance(item, Session):
        event = {"session_started": convert.session_started_to_pb(item)}
    elif isinstance(item, End):
        event = {"end": convert.end_to_pb(item)}
    else:
        event = {"heartbeat": item}
    return pb.StreamSamplesResponse(**event)
