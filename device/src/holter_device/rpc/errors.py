"""What a client is told of an error: one table from holterd's exceptions to status and reason."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from holter.v1 import error_reason_pb2

from .. import errors

DOMAIN: Final = "holter.v1"
_DETAILS: Final = "grpc-status-details-bin"
# gRPC drops a status whose metadata is over 8 KiB; the message is in it twice, once in escapes.
_MESSAGE_BYTES: Final = 1024
_FACT_BYTES: Final = 512
_REASON = error_reason_pb2.ErrorReason

_log = logging.getLogger(__name__)

#: Most specific first: the first class that an error is an instance of speaks for it.
TABLE: Final[tuple[tuple[type[errors.DeviceError], StatusCode, int], ...]] = (
    (errors.InvalidFieldError, StatusCode.INVALID_ARGUMENT, _REASON.ERROR_REASON_INVALID_FIELD),
    (errors.SessionNotFoundError, StatusCode.NOT_FOUND, _REASON.ERROR_REASON_SESSION_NOT_FOUND),
    (errors.LogNotFoundError, StatusCode.NOT_FOUND, _REASON.ERROR_REASON_LOG_NOT_FOUND),
    (
        errors.SequenceOutOfRangeError,
        StatusCode.OUT_OF_RANGE,
        _REASON.ERROR_REASON_SEQUENCE_OUT_OF_RANGE,
    ),
    (errors.DigestMismatchError, StatusCode.INVALID_ARGUMENT, _REASON.ERROR_REASON_DIGEST_MISMATCH),
    (errors.ModelMalformedError, StatusCode.INVALID_ARGUMENT, _REASON.ERROR_REASON_MODEL_MALFORMED),
    (
        errors.ModelTooLargeError,
        StatusCode.RESOURCE_EXHAUSTED,
        _REASON.ERROR_REASON_MODEL_TOO_LARGE,
    ),
    (errors.ModelUnfitError, StatusCode.FAILED_PRECONDITION, _REASON.ERROR_REASON_MODEL_UNFIT),
    (
        errors.OpVersionUnsupportedError,
        StatusCode.FAILED_PRECONDITION,
        _REASON.ERROR_REASON_OP_VERSION_UNSUPPORTED,
    ),
    (
        errors.FlexOpUnsupportedError,
        StatusCode.FAILED_PRECONDITION,
        _REASON.ERROR_REASON_FLEX_OP_UNSUPPORTED,
    ),
    (
        errors.CustomOpUnsupportedError,
        StatusCode.FAILED_PRECONDITION,
        _REASON.ERROR_REASON_CUSTOM_OP_UNSUPPORTED,
    ),
    (
        errors.ModelTooSlowError,
        StatusCode.FAILED_PRECONDITION,
        _REASON.ERROR_REASON_MODEL_TOO_SLOW,
    ),
    (
        errors.ModelMemoryError,
        StatusCode.FAILED_PRECONDITION,
        _REASON.ERROR_REASON_MODEL_MEMORY_EXCEEDED,
    ),
    (
        errors.OpUnsupportedError,
        StatusCode.FAILED_PRECONDITION,
        _REASON.ERROR_REASON_OP_UNSUPPORTED,
    ),
    (
        errors.GoldenMismatchError,
        StatusCode.FAILED_PRECONDITION,
        _REASON.ERROR_REASON_GOLDEN_MISMATCH,
    ),
    (errors.ModelCrashedError, StatusCode.FAILED_PRECONDITION, _REASON.ERROR_REASON_MODEL_CRASHED),
    (errors.ModelTimeoutError, StatusCode.FAILED_PRECONDITION, _REASON.ERROR_REASON_MODEL_TIMEOUT),
    (errors.DeployInProgressError, StatusCode.ABORTED, _REASON.ERROR_REASON_DEPLOY_IN_PROGRESS),
    (errors.ModelNotFoundError, StatusCode.NOT_FOUND, _REASON.ERROR_REASON_MODEL_NOT_FOUND),
    (
        errors.ModelInUseError,
        StatusCode.FAILED_PRECONDITION,
        _REASON.ERROR_REASON_MODEL_IN_USE,
    ),
    (
        errors.ModelUnsignedError,
        StatusCode.PERMISSION_DENIED,
        _REASON.ERROR_REASON_MODEL_UNSIGNED,
    ),
    (
        errors.SignatureInvalidError,
        StatusCode.INVALID_ARGUMENT,
        _REASON.ERROR_REASON_SIGNATURE_INVALID,
    ),
    (
        errors.SignerUntrustedError,
        StatusCode.PERMISSION_DENIED,
        _REASON.ERROR_REASON_SIGNER_UNTRUSTED,
    ),
    (
        errors.ModelDowngradedError,
        StatusCode.FAILED_PRECONDITION,
        _REASON.ERROR_REASON_MODEL_DOWNGRADED,
    ),
    (errors.StoreFullError, StatusCode.RESOURCE_EXHAUSTED, _REASON.ERROR_REASON_STORE_FULL),
    (
        errors.NoActiveModelError,
        StatusCode.FAILED_PRECONDITION,
        _REASON.ERROR_REASON_NO_ACTIVE_MODEL,
    ),
    (
        errors.WindowSizeMismatchError,
        StatusCode.INVALID_ARGUMENT,
        _REASON.ERROR_REASON_WINDOW_SIZE_MISMATCH,
    ),
    (
        errors.ClassifierUnavailableError,
        StatusCode.UNAVAILABLE,
        _REASON.ERROR_REASON_CLASSIFIER_UNAVAILABLE,
    ),
)

_Method = TypeVar("_Method", bound=Callable[..., Awaitable[Any]])


def translated(method: _Method) -> _Method:
    """Make a servicer's method end in the status of the table, whatever it raises."""

    @functools.wraps(method)
    async def wrapper(
        self: object, request: object, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        try:
            return await method(self, request, context)
        except (grpc.aio.AbortError, grpc.aio.InternalError):
            raise  # the latter where the client of a write is gone: gRPC knows, and says nothing
        except Exception as error:  # the border: nothing unexpected goes further
            await _abort(error, context)

    return wrapper  # type: ignore[return-value]


async def _abort(error: Exception, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
    code, reason, message, facts = _describe(error)
    message = _clip(message, _MESSAGE_BYTES)
    facts = {name: _clip(fact, _FACT_BYTES) for name, fact in facts.items()}
    info = error_details_pb2.ErrorInfo(
        reason=_REASON.Name(reason).removeprefix("ERROR_REASON_"), domain=DOMAIN, metadata=facts
    )
    detail = any_pb2.Any()
    detail.Pack(info)
    status = status_pb2.Status(code=code.value[0], message=message, details=[detail])
    await context.abort(code, message, ((_DETAILS, status.SerializeToString()),))


def _clip(text: str, most: int) -> str:
    """Text that fits a message of gRPC, whatever a hostile model put into it."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= most:
        return data.decode()
    return data[: most - 3].decode("utf-8", "ignore") + "..."


def _describe(error: Exception) -> tuple[StatusCode, int, str, dict[str, str]]:
    for kind, code, reason in TABLE:
        if isinstance(error, kind):
            return code, reason, str(error), error.facts
    _log.error("an unexpected error in a call", exc_info=error)
    message = "something unexpected happened on the device; its log says what"
    return StatusCode.INTERNAL, _REASON.ERROR_REASON_INTERNAL, message, {}
