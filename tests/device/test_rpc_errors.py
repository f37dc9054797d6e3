"""The table from holterd's exceptions to what a client is told."""

from __future__ import annotations

import inspect

import pytest

from holter.v1 import error_reason_pb2
from holter_device import errors
from holter_device.rpc.errors import TABLE

# These end holterd or its start, and never a call.
LOCAL = {
    errors.ConfigError,
    errors.DataDirectoryError,
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
