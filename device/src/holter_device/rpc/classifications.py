"""ClassificationService: what the active model says of each window."""

from __future__ import annotations

import grpc
import numpy as np

from holter.v1 import classification_service_pb2 as pb
from holter.v1 import classification_service_pb2_grpc as pb_grpc

from ..core import Core
from ..errors import InvalidFieldError
from . import convert
from .errors import translated
from .streams import Messages, serve


class ClassificationServicer(pb_grpc.ClassificationServiceServicer):
    """Serves the classifications of one device."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._messages = Messages(core, pb.StreamClassificationsResponse)

    @translated
    async def StreamClassifications(  # noqa: N802 (the method's name is the wire's)
        self,
        request: pb.StreamClassificationsRequest,
        context: grpc.aio.ServicerContext[
            pb.StreamClassificationsRequest, pb.StreamClassificationsResponse
        ],
    ) -> None:
        """Follow a cursor on windows."""
        cursor = await self._core.log.classifications(convert.start_from_pb(request.start))
        await serve(cursor, self._core, self._messages, context)

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
            if not np.isfinite(values).all():
                raise InvalidFieldError(
                    f"model_values.values holds {values[~np.isfinite(values)][0]}; each must be "
                    "a finite number",
                    field="model_values.values",
                )
            result = await self._core.pipeline.classify(values)
        return pb.ClassifyWindowResponse(classification=convert.classification_fields(result, None))
