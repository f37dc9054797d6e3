"""The client: one connection to one device.

async with connect("127.0.0.1:50051") as device:
    async for event in device.classifications():
        print(event)
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from holter.v1 import classification_service_pb2 as classification_pb
from holter.v1 import classification_service_pb2_grpc as classification_grpc
from holter_host import _convert, _windows, types
from holter_host._channel import parse_address
from holter_host._connection import CALL_SECONDS
from holter_host._model_calls import ModelCalls
from holter_host._reconnect import SILENCE_SECONDS
from holter_host._stream_calls import StreamCalls
from holter_host.capture import Capture
from holter_host.errors import BadInputError


def connect(
    address: str, *, timeout: float = CALL_SECONDS, silence: float = SILENCE_SECONDS
) -> Device:
    """A connection to the device at `address`, to be opened by `async with`.

    Args:
        address: HOST:PORT, HOST (port 50051) or unix:PATH.
        timeout: seconds that a call may take; a deploy and an activation have their own.
        silence: seconds after which a stream that gives nothing, not even the heartbeat of each
            second, counts as broken.

    Raises:
        BadInputError: the address is none of these, or `silence` is not more than 0.
    """
    if not silence > 0:
        raise BadInputError(f"silence is {silence!r}: give seconds, more than 0.")
    return Device(parse_address(address), timeout=timeout, silence=silence)


class Device(StreamCalls, ModelCalls):
    """A device at the other end of a connection. Make it by `connect`, open it by `async with`.

    Every call raises DeviceUnreachableError when nothing answers, DeadlineError when the answer is
    late and ProtocolError when it is not holter.v1, beside what its own docstring names.

    Attributes:
        address: where the device is.
    """

    async def classify(self, window: npt.ArrayLike | Capture) -> types.Classification:
        """Ask the active model for one window.

        Args:
            window: as many values as the model takes, frame by frame, in the shape (frames,) or
                (frames, channels). uint8 or int16: counts as this device's converter gives them.
                float: values in the model's unit. A Capture: its channels are picked by the model's
                names and brought to its unit by the capture's own map; the classification gets its
                session and sequences. As on the device, a window that touches a gap or a lead off
                has no class, and the model is not asked.

        Raises:
            NoActiveModelError: the device has no active model.
            InvalidRequestError: the model takes another number of values.
            BadInputError: the values are of another type, or the capture does not fit the model.
        """
        if isinstance(window, Capture):
            return await self._classify_capture(window)
        array = np.asarray(window)
        if array.dtype.type in (np.uint8, np.int16):  # of either byte order
            return await self._classify(counts=_windows.counts_bytes(array))
        return await self._classify(model_values=_windows.model_values(array))

    async def _classify_capture(self, window: Capture) -> types.Classification:
        model = (await self.status()).active_model
        values = _windows.capture_values(window, model)
        last = window.first_sequence + len(window) - 1
        place: dict[str, Any] = {
            "session_id": window.session.session_id,
            "first_sequence": window.first_sequence,
            "last_sequence": last,
            "monotonic_time_nanos": window.session.monotonic_nanos(last),
        }
        if isinstance(values, types.Classification):
            return dataclasses.replace(values, **place)
        return dataclasses.replace(await self._classify(model_values=values), **place)

    async def _classify(self, **values: Any) -> types.Classification:
        request = classification_pb.ClassifyWindowRequest(**values)
        kind = classification_grpc.ClassificationServiceStub
        response = await self._call(kind, "ClassifyWindow", request)
        return _convert.classification(response.classification)
