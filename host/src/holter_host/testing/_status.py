"""How a fake device ends a call with an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """A status that a call ends with; a stream ends with it before the event `after`.

    A stream that fails with OK breaks off without its `end`.
    """

    code: grpc.StatusCode
    message: str = "it failed"
    reason: str = ""
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    after: int = 0


def abort(context: grpc.ServicerContext, failure: Failure) -> NoReturn:
    """End a call with a status, and with ErrorInfo where the failure has a reason."""
    if failure.reason:
        info = error_details_pb2.ErrorInfo(
            domain="holter.v1", reason=failure.reason, metadata=failure.metadata
        )
        detail = any_pb2.Any()
        detail.Pack(info)
        status = status_pb2.Status(
            code=failure.code.value[0], message=failure.message, details=[detail]
        )
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(failure.code, failure.message)
    raise AssertionError
