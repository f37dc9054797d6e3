"""The table from holterd's exceptions to what a client is told."""

from __future__ import annotations

import inspect
from typing import Any

import grpc.aio
import pytest
from google.protobuf import timestamp_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc._cython import cygrpc
from hypothesis import example, given
from hypothesis import strategies as st

from holter.v1 import error_reason_pb2, stream_pb2
from holter_device import errors
from holter_device.log import StartTime
from holter_device.rpc import convert
from holter_device.rpc.errors import TABLE, translated

# What gRPC lets through as metadata of a status, whoever is at the other end.
METADATA_BYTES = 8192
# Of the years 1 to 9999, which is what a Timestamp holds.
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799

# These end holterd or its start, and never a call.
LOCAL = {
    errors.ConfigError,
    errors.DataDirectoryError,
    errors.LeadOffLinesError,
    errors.SourceError,
    errors.ListenError,
}


def _leaves() -> list[type[errors.DeviceError]]:
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.DeviceError) and not issubclass(kind, tuple(LOCAL))
    ]
    return [kind for kind in kinds if not any(k is not kind and issubclass(k, kind) for k in kinds)]


@pytest.mark.parametrize("kind", _leaves())
def test_every_error_of_a_call_has_a_reason(kind: type[errors.DeviceError]) -> None:
    """Each error that a call can end in is in the table, once, with a reason of its own."""
    assert [row[0] for row in TABLE].count(kind) == 1


def test_every_reason_is_served() -> None:
    """Each reason of the wire belongs to exactly one error; INTERNAL to all that are unexpected."""
    served = [row[2] for row in TABLE]
    reasons = set(error_reason_pb2.ErrorReason.values())
    unserved = {
        error_reason_pb2.ErrorReason.ERROR_REASON_UNSPECIFIED,
        error_reason_pb2.ErrorReason.ERROR_REASON_INTERNAL,
    }
    assert len(served) == len(set(served))
    assert set(served) == reasons - unserved


class Context:
    """Keeps how a call was aborted."""

    async def abort(self, code: object, message: str, metadata: Any) -> None:
        """Take note."""
        self.code, self.message, self.metadata = code, message, metadata


@given(st.text(max_size=3000), st.dictionaries(st.sampled_from("abcd"), st.text(max_size=3000)))
async def test_any_error_fits_a_status(message: str, facts: dict[str, str]) -> None:
    """However long or odd the words are that a model brought in, the client gets the reason."""

    @translated
    async def method(self: object, request: object, context: Context) -> None:
        raise errors.ModelMalformedError(message, **facts)

    context = Context()
    await method(None, None, context)
    ((_, details),) = context.metadata
    status = status_pb2.Status.FromString(details)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "MODEL_MALFORMED"
    assert set(info.metadata) == set(facts)
    # Each byte of the message may be three on the wire.
    assert len(details) + 3 * len(context.message.encode()) < METADATA_BYTES
    if len(message.encode("utf-8", "backslashreplace")) <= 1024:
        assert context.message == message.encode("utf-8", "backslashreplace").decode()


async def test_a_client_that_went_away_is_left_to_grpc(caplog: pytest.LogCaptureFixture) -> None:
    """What a write raises where its client is gone is no error of the device's, and not logged."""

    @translated
    async def method(self: object, request: object, context: Context) -> None:
        raise cygrpc.ExecuteBatchError("a write that failed")

    context = Context()
    with pytest.raises(grpc.aio.InternalError):
        await method(None, None, context)
    assert not vars(context)
    assert not caplog.records


@given(
    st.integers(-(2**63), 2**63 - 1) | st.integers(FIRST_SECOND, LAST_SECOND),
    st.integers(-(2**31), 2**31 - 1) | st.integers(0, 10**9 - 1),
)
@example(FIRST_SECOND, 0)
@example(LAST_SECOND, 10**9 - 1)
@example(LAST_SECOND + 1, 0)
def test_any_time_is_a_start_or_an_invalid_field(seconds: int, nanos: int) -> None:
    """A start by time is one that the log's 64 bits hold, or INVALID_FIELD that names it."""
    time = timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)
    request = stream_pb2.StreamStart(time=time)
    if not (FIRST_SECOND <= seconds <= LAST_SECOND and 0 <= nanos < 10**9):
        with pytest.raises(errors.InvalidFieldError) as caught:
            convert.start_from_pb(request)
        assert caught.value.facts == {"field": "start.time"}
        return
    start = convert.start_from_pb(request)
    assert isinstance(start, StartTime)
    assert start.utc_ns == max(-(2**63), min(seconds * 10**9 + nanos, 2**63 - 1))
