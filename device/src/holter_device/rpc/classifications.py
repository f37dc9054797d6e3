"""ClassificationService: what the active model says of each window."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np

from holter.v1 import classification_service_pb2 as pb
from holter.v1 import classification_service_pb2_grpc as pb_grpc
from holter.v1 import stream_pb2 as stream_pb

from ..core import Core
from ..errors import InvalidFieldError
from ..log import CursorItem, End
from ..samples import Classification, Gap, ModelChange, Session
from . import convert
from .errors import translated
from .streams import follow


class ClassificationServicer(pb_grpc.ClassificationServiceServicer):
    """Serves the classifications of one device."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @translated
    async def StreamClassifications(  # noqa: N802 (the method's name is the wire's)
        self,
        request: pb.StreamClassificationsRequest,
        context: grpc.aio.ServicerContext[
            pb.StreamClassificationsRequest, pb.StreamClassificationsResponse
        ],
    ) -> None:
        """Follow a cursor; each write is awaited."""
        cursor = await self._core.log.classifications(convert.start_from_pb(request.start))
        session = self._core.session
        async for item in follow(cursor, self._core):
            if isinstance(item, Session):
                session = item
            await context.write(_response(item, session))
            if isinstance(item, End):
                return

    @translated
    async def ClassifyWindow(  # noqa: N802 (the method's name is the wire's)
        self,
        request: pb.ClassifyWindowRequest,
        context: grpc.aio.ServicerContext[pb.ClassifyWindowRequest, pb.ClassifyWindowResponse],
    ) -> pb.ClassifyWindowResponse:
        """Classify what the caller brought."""
        kind = request.WhichOneof("values")
        if kind is None:
            raise InvalidFieldError("counts or model_values must be set", field="values")
        if kind == "counts":
            result = await self._core.pipeline.classify(request.counts)
        else:
            values = np.array(request.model_values.values, dtype=np.float32)
            result = await self._core.pipeline.classify(values)
        return pb.ClassifyWindowResponse(classification=convert.classification_to_pb(result, None))


def _response(
    item: CursorItem | stream_pb.Heartbeat, session: Session
) -> pb.StreamClassificationsResponse:
    event: dict[str, Any]
    if isinstance(item, Classification):
        event = {"classification": convert.classification_to_pb(item, session)}
    elif isinstance(item, ModelChange):
        event = {"model_changed": convert.model_change_to_pb(item)}
    elif isinstance(item, Session):
        event = {"session_started": convert.session_started_to_pb(item)}
    elif isinstance(item, Gap):
        event = {"gap": convert.gap_to_pb(item)}
    elif isinstance(item, End):
        event = {"end": convert.end_to_pb(item)}
    else:
        event = {"heartbeat": item}
    return pb.StreamClassificationsResponse(**event)
