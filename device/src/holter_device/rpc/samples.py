"""SampleService: frames and gaps, from a place in the log."""

from __future__ import annotations

import grpc

from holter.v1 import sample_service_pb2 as pb
from holter.v1 import sample_service_pb2_grpc as pb_grpc

from ..core import Core
from . import convert
from .errors import translated
from .streams import Messages, serve


class SampleServicer(pb_grpc.SampleServiceServicer):
    """Serves the samples of one device."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._messages = Messages(core, pb.StreamSamplesResponse)

    @translated
    async def StreamSamples(  # noqa: N802 (the method's name is the wire's)
        self,
        request: pb.StreamSamplesRequest,
        context: grpc.aio.ServicerContext[pb.StreamSamplesRequest, pb.StreamSamplesResponse],
    ) -> None:
        """Follow a cursor on frames."""
        cursor = await self._core.log.samples(
            convert.start_from_pb(request.start),
            max_latency=convert.max_latency_from_pb(request),
        )
        await serve(cursor, self._core, self._messages, context)
