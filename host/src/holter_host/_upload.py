"""A model as it goes over the wire: made once, sent to any number of devices."""

from __future__ import annotations

import dataclasses
from typing import Any, Final, Self

import grpc.aio

from holter.signature import ModelSignature
from holter.v1 import model_service_pb2 as model_pb
from holter_host import _convert

_METHOD: Final = f"/{model_pb.DESCRIPTOR.services_by_name['ModelService'].full_name}/DeployModel"


@dataclasses.dataclass(frozen=True, slots=True)
class Upload:
    """The request of a deploy, serialised: to do that for each device costs more than to send it.

    Attributes:
        sha256: digest of the model.
        size_bytes: size of its file.
        request: the DeployModelRequest.
    """

    sha256: str
    size_bytes: int
    request: bytes = dataclasses.field(repr=False)

    @classmethod
    def of(
        cls,
        data: bytes,
        sha256: str,
        signature: ModelSignature | None = None,
        *,
        validate_only: bool = False,
    ) -> Self:
        """The request to deploy, or only to judge, these bytes of a model file."""
        request = model_pb.DeployModelRequest(
            model=data,
            sha256=sha256,
            validate_only=validate_only,
            signature=_convert.signature_to_pb(signature),
        )
        return cls(sha256, len(data), request.SerializeToString())


class UploadStub:
    """The stub of DeployModel for a request that is serialised."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.DeployModel: Any = channel.unary_unary(
            _METHOD, response_deserializer=model_pb.DeployModelResponse.FromString
        )
