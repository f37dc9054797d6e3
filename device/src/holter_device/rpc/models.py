"""ModelService: which models the device holds, and which one classifies."""

from __future__ import annotations

import grpc

from holter.v1 import model_service_pb2 as pb
from holter.v1 import model_service_pb2_grpc as pb_grpc

from ..core import Core
from . import convert
from .errors import translated


class ModelServicer(pb_grpc.ModelServiceServicer):
    """Serves the models of one device."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @translated
    async def DeployModel(  # noqa: N802 (the method's name is the wire's)
        self,
        request: pb.DeployModelRequest,
        context: grpc.aio.ServicerContext[pb.DeployModelRequest, pb.DeployModelResponse],
    ) -> pb.DeployModelResponse:
        """Judge a model, and swap it in."""
        outcome = await self._core.deployer.deploy(
            request.model,
            convert.sha256_from_pb(request.sha256),
            signature=convert.signature_from_pb(request),
            validate_only=request.validate_only,
            peer=context.peer(),
        )
        return pb.DeployModelResponse(**convert.outcome_fields(outcome))

    @translated
    async def ListModels(  # noqa: N802 (the method's name is the wire's)
        self,
        request: pb.ListModelsRequest,
        context: grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse],
    ) -> pb.ListModelsResponse:
        """List what the store has."""
        models = await self._core.deployer.models()
        probation = await self._core.deployer.probation()
        return pb.ListModelsResponse(
            models=[convert.model_to_pb(model) for model in models],
            probation=convert.probation_to_pb(probation) if probation else None,
        )

    @translated
    async def ActivateModel(  # noqa: N802 (the method's name is the wire's)
        self,
        request: pb.ActivateModelRequest,
        context: grpc.aio.ServicerContext[pb.ActivateModelRequest, pb.ActivateModelResponse],
    ) -> pb.ActivateModelResponse:
        """Swap a stored model in, through the same gate."""
        sha256 = convert.sha256_from_pb(request.sha256)
        outcome = await self._core.deployer.activate(sha256, peer=context.peer())
        return pb.ActivateModelResponse(**convert.outcome_fields(outcome))

    @translated
    async def DeleteModel(  # noqa: N802 (the method's name is the wire's)
        self,
        request: pb.DeleteModelRequest,
        context: grpc.aio.ServicerContext[pb.DeleteModelRequest, pb.DeleteModelResponse],
    ) -> pb.DeleteModelResponse:
        """Delete a stored model."""
        sha256 = convert.sha256_from_pb(request.sha256)
        model = await self._core.deployer.delete(sha256, peer=context.peer())
        return pb.DeleteModelResponse(model=convert.model_to_pb(model))
