"""From a gRPC status to an exception, in one place: by ErrorInfo first, then by code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from holter_host import errors

DOMAIN: Final = "holter.v1"
DETAILS_KEY: Final = "grpc-status-details-bin"

GRPC_ERRORS: Final = (grpc.aio.AioRpcError, grpc.aio.UsageError)

# Every reason of error_reason.proto; a test compares them.
REASONS: Final[dict[str, type[errors.DeviceError]]] = {
    "INTERNAL": errors.DeviceError,
    "INVALID_FIELD": errors.InvalidRequestError,
    "SESSION_NOT_FOUND": errors.NotFoundError,
    "LOG_NOT_FOUND": errors.NotFoundError,
    "SEQUENCE_OUT_OF_RANGE": errors.InvalidRequestError,
    "DIGEST_MISMATCH": errors.ModelRefusedError,
    "MODEL_MALFORMED": errors.ModelRefusedError,
    "MODEL_TOO_LARGE": errors.ModelRefusedError,
    "MODEL_UNFIT": errors.ModelRefusedError,
    "GOLDEN_MISMATCH": errors.ModelRefusedError,
    "MODEL_CRASHED": errors.ModelRefusedError,
    "MODEL_TIMEOUT": errors.ModelRefusedError,
    "OP_UNSUPPORTED": errors.ModelRefusedError,
    "OP_VERSION_UNSUPPORTED": errors.ModelRefusedError,
    "FLEX_OP_UNSUPPORTED": errors.ModelRefusedError,
    "CUSTOM_OP_UNSUPPORTED": errors.ModelRefusedError,
    "MODEL_TOO_SLOW": errors.ModelRefusedError,
    "MODEL_MEMORY_EXCEEDED": errors.ModelRefusedError,
    "STORE_FULL": errors.ModelRefusedError,
    "MODEL_IN_USE": errors.ModelRefusedError,
    "MODEL_UNSIGNED": errors.ModelRefusedError,
    "SIGNATURE_INVALID": errors.ModelRefusedError,
    "SIGNER_UNTRUSTED": errors.ModelRefusedError,
    "MODEL_DOWNGRADED": errors.ModelRefusedError,
    "DEPLOY_IN_PROGRESS": errors.DeployInProgressError,
    "MODEL_NOT_FOUND": errors.NotFoundError,
    "NO_ACTIVE_MODEL": errors.NoActiveModelError,
    "WINDOW_SIZE_MISMATCH": errors.InvalidRequestError,
    "CLASSIFIER_UNAVAILABLE": errors.ClassifierUnavailableError,
}

CODES: Final[dict[grpc.StatusCode, type[errors.DeviceError]]] = {
    # The host raises no error for a call that it cancelled itself.
    grpc.StatusCode.CANCELLED: errors.DeviceUnreachableError,
    grpc.StatusCode.UNAVAILABLE: errors.DeviceUnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequestError,
    grpc.StatusCode.UNIMPLEMENTED: errors.ProtocolError,
}


@contextlib.contextmanager
def translated(address: str) -> Iterator[None]:
    """Turn a gRPC error of a call to `address` into a DeviceError that is chained to it."""
    try:
        yield
    except GRPC_ERRORS as error:
        raise exception(error, address) from error


def exception(error: Exception, address: str, *, answered: bool = False) -> errors.DeviceError:
    """The exception for any of GRPC_ERRORS that a call to `address` raised.

    `answered` says that the device had answered on this call before.
    """
    if isinstance(error, grpc.aio.AioRpcError):
        return device_error(error, address, answered=answered)
    return errors.DeviceUnreachableError(f"The connection to {address} is closed; open a new one.")


def device_error(
    error: grpc.aio.AioRpcError, address: str, *, answered: bool = False
) -> errors.DeviceError:
    """The exception for a gRPC error, most specific first: its reason, its code, any."""
    info = error_info(error)
    reason = info.reason if info else ""
    kind = REASONS.get(reason) or CODES.get(error.code(), errors.DeviceError)
    return kind(
        error.details() or reason if info else _message(error, address, answered),
        reason=reason,
        metadata=dict(info.metadata) if info else {},
        code=error.code().name,
    )


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    """The ErrorInfo of holter.v1 that a gRPC error carries; None where it carries none."""
    for key, value in error.trailing_metadata() or ():
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        info = error_details_pb2.ErrorInfo()
        try:
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info) and info.domain == DOMAIN:
                    return info
        except DecodeError:
            return None
    return None


def _message(error: grpc.aio.AioRpcError, address: str, answered: bool) -> str:
    """One sentence for a status that came from gRPC itself, not from holterd."""
    details = (error.details() or "").rstrip(".")
    match error.code():
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED if answered:
            return f"The connection to {address} was lost; is holterd still running there?"
        case grpc.StatusCode.UNAVAILABLE if "DNS" in details or "resol" in details:
            return f"The name in {address} cannot be resolved; check the address."
        case grpc.StatusCode.UNAVAILABLE:
            return f"No Holter device answers at {address}; is holterd running there?"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"The device at {address} did not answer in time."
        case grpc.StatusCode.UNIMPLEMENTED:
            return (
                f"What answers at {address} does not serve this call ({details}); "
                "is it a holterd of this version?"
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return f"The device at {address} took the message for too large: {details}."
    return f"The device at {address} failed: {error.code().name}: {details}."
