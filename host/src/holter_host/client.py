"""The client: one connection to one device.

async with connect("127.0.0.1:50051") as device:
    async for event in device.classifications():
        print(event)
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import re
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt

from holter.v1 import classification_service_pb2 as classification_pb
from holter.v1 import classification_service_pb2_grpc as classification_grpc
from holter.v1 import device_service_pb2 as device_pb
from holter.v1 import device_service_pb2_grpc as device_grpc
from holter.v1 import model_service_pb2 as model_pb
from holter.v1 import model_service_pb2_grpc as model_grpc
from holter.v1 import sample_service_pb2 as sample_pb
from holter.v1 import sample_service_pb2_grpc as sample_grpc
from holter_host import _convert, _windows, types
from holter_host._channel import CHANNEL_OPTIONS, parse_address
from holter_host._convert import Start
from holter_host._errors import translated
from holter_host._retry import Backoff
from holter_host.bundle import Bundle, read_bundle
from holter_host.capture import Capture, Progress, read_capture
from holter_host.errors import (
    BadInputError,
    DeadlineError,
    DeployInProgressError,
    DeviceUnreachableError,
    ModelRefusedError,
    NotFoundError,
)
from holter_host.status import DeployResult, DeviceStatus, Limits, StoredModel
from holter_host.streams import ClassificationStream, EventStream, SampleStream

CALL_SECONDS: Final = 10.0
DEPLOY_SECONDS: Final = 120.0
MIN_PREFIX: Final = 8


def connect(address: str, *, timeout: float = CALL_SECONDS) -> Device:
    """A connection to the device at `address`, to be opened by `async with`.

    Args:
        address: HOST:PORT, HOST (port 50051) or unix:PATH.
        timeout: seconds that a call may take; a deploy and an activation have their own.

    Raises:
        BadInputError: the address is none of these.
    """
    return Device(parse_address(address), timeout=timeout)


class Device:
    """A device at the other end of a connection. Make it by `connect`, open it by `async with`.

    Every call raises DeviceUnreachableError when nothing answers, DeadlineError when the answer is
    late and ProtocolError when it is not holter.v1, beside what its own docstring names.

    Attributes:
        address: where the device is.
    """

    def __init__(
        self, address: str, *, timeout: float = CALL_SECONDS, backoff: Backoff | None = None
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._backoff = backoff or Backoff()
        self._channel: grpc.aio.Channel | None = None
        self._limits = Limits(0, 0)
        # Closing a channel of grpc.aio leaves its calls waiting for ever; so they are ended here.
        self._streams: weakref.WeakSet[EventStream[Any]] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        """Connect, and ask the device who it is.

        Raises:
            DeviceUnreachableError: nothing answers at the address.
        """
        self._channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        try:
            self._limits = (await self.status()).limits
        except DeadlineError as error:
            await self.close()
            raise DeviceUnreachableError(
                f"Nothing answered at {self.address} within {self._timeout:g} s; "
                "is holterd running there?",
                code=error.code,
            ) from error
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; its streams end."""
        for stream in tuple(self._streams):
            stream.cut()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def status(self) -> DeviceStatus:
        """What the device is and how it does, now."""
        stub = self._stub(device_grpc.DeviceServiceStub)
        with translated(self.address):
            response = await stub.GetDevice(device_pb.GetDeviceRequest(), timeout=self._timeout)
        return _convert.device_status(response)

    def samples(self, start: Start = "live", *, max_latency: float | None = None) -> SampleStream:
        """Every frame from `start` on, once and in order, as SessionStarted, SampleBlock and Gap.

        Args:
            start: "live" (frames that arrive from now on), "earliest" (the first that the device
                keeps), a LogPosition (inclusive), or a datetime with a time zone (approximate).
            max_latency: seconds, 0 to 10, that a frame may wait at the live edge for others to
                share its message; the device's default is 0.1.

        Raises:
            BadInputError: `start` or `max_latency` is none of these.
        """
        stub = self._stub(sample_grpc.SampleServiceStub)
        request = sample_pb.StreamSamplesRequest(
            start=_convert.stream_start(start), max_latency=_convert.max_latency(max_latency)
        )
        stream = SampleStream(lambda: stub.StreamSamples(request), self.address, start)
        self._streams.add(stream)
        return stream

    def classifications(self, start: Start = "live") -> ClassificationStream:
        """Every window whose last frame is at or after `start`, as Classification.

        SessionStarted, ModelChanged and Gap (windows that the device no longer keeps) come between.

        Raises:
            BadInputError: `start` is none of those that `samples` takes.
        """
        stub = self._stub(classification_grpc.ClassificationServiceStub)
        request = classification_pb.StreamClassificationsRequest(start=_convert.stream_start(start))
        stream = ClassificationStream(
            lambda: stub.StreamClassifications(request), self.address, start
        )
        self._streams.add(stream)
        return stream

    async def capture(
        self,
        seconds: float = 10.0,
        start: Start = "live",
        *,
        progress: Progress | None = None,
    ) -> Capture:
        """The next `seconds` of the device's grid as arrays, gaps masked.

        It is shorter where the device's session ends before.

        Args:
            seconds: how long, by the device's clock.
            start: as for `samples`.
            progress: called with the frames that came and the frames that are wanted.

        Raises:
            DeviceError: the stream ended before it gave a frame.
            BadInputError: `seconds` or `start` cannot be used.
        """
        async with self.samples(start) as stream:
            return await read_capture(stream, seconds, progress)

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

    async def models(self) -> tuple[StoredModel, ...]:
        """The models that the device holds, the active one first, then the newest first."""
        stub = self._stub(model_grpc.ModelServiceStub)
        with translated(self.address):
            response = await stub.ListModels(model_pb.ListModelsRequest(), timeout=self._timeout)
        return tuple(map(_convert.stored_model, response.models))

    async def deploy(
        self,
        model: str | os.PathLike[str] | bytes | Bundle,
        *,
        validate_only: bool = False,
        timeout: float = DEPLOY_SECONDS,
    ) -> DeployResult:
        """Send a model; the device judges it and, if it passes, swaps it in.

        The digest names the model, so an upload that was cut is sent again, a bounded number of
        times: a device that took the first one answers that the model is active already.

        Args:
            model: a model file by its path, its bytes, or as `read_bundle` gave it.
            validate_only: only judge; nothing is stored and nothing swapped.
            timeout: seconds that one try may take, the gate included.

        Raises:
            BadInputError: the path holds no model file.
            ModelRefusedError: the device refused it; `reason` and `metadata` say why. It is raised
                before anything is sent when the file is over the device's limit.
            DeployInProgressError: another deploy is running.
        """
        data, sha256 = await asyncio.to_thread(self._load, model)
        request = model_pb.DeployModelRequest(
            model=data, sha256=sha256, validate_only=validate_only
        )
        stub = self._stub(model_grpc.ModelServiceStub)

        async def attempt() -> DeployResult:
            with translated(self.address):
                return _convert.deploy_result(await stub.DeployModel(request, timeout=timeout))

        return await self._repeat(attempt, sha256)

    async def activate(self, sha256: str, *, timeout: float = DEPLOY_SECONDS) -> DeployResult:
        """Make a stored model the active one, through the same gate as a deploy.

        Args:
            sha256: its digest, or 8 or more first digits of it that no other model has.
            timeout: seconds that it may take, the gate included.

        Raises:
            NotFoundError: the device holds no such model.
            BadInputError: that is no digest, or more than one model begins like that.
            ModelRefusedError, DeployInProgressError: as `deploy`.
        """
        whole = await self._whole_digest(sha256)
        stub = self._stub(model_grpc.ModelServiceStub)
        request = model_pb.ActivateModelRequest(sha256=whole)
        with translated(self.address):
            return _convert.deploy_result(await stub.ActivateModel(request, timeout=timeout))

    def _stub(self, kind: Callable[[grpc.aio.Channel], Any]) -> Any:
        if self._channel is None:
            raise DeviceUnreachableError(
                f"The connection to {self.address} is not open; "
                "use: async with connect(address) as device"
            )
        return kind(self._channel)

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
        stub = self._stub(classification_grpc.ClassificationServiceStub)
        request = classification_pb.ClassifyWindowRequest(**values)
        with translated(self.address):
            response = await stub.ClassifyWindow(request, timeout=self._timeout)
        return _convert.classification(response.classification)

    def _load(self, model: str | os.PathLike[str] | bytes | Bundle) -> tuple[bytes, str]:
        """The bytes and the digest of a model that is not over the device's limit."""
        if isinstance(model, Bundle):
            self._check_size(len(model.data))
            return model.data, model.sha256
        if isinstance(model, bytes):
            self._check_size(len(model))
            return model, hashlib.sha256(model).hexdigest()
        path = Path(model)
        if path.is_file():
            self._check_size(path.stat().st_size)
        bundle = read_bundle(path)
        return bundle.data, bundle.sha256

    def _check_size(self, size: int) -> None:
        limit = self._limits.max_model_bytes
        if 0 < limit < size:
            raise ModelRefusedError(
                f"The model has {size} bytes and the device at {self.address} takes at most "
                f"{limit}; make it smaller, or raise the device's limit.",
                reason="MODEL_TOO_LARGE",
                metadata={"size_bytes": str(size), "max_bytes": str(limit)},
            )

    async def _repeat(
        self, attempt: Callable[[], Awaitable[DeployResult]], sha256: str
    ) -> DeployResult:
        """Try, and try again where the connection broke.

        After a cut upload the device may still be at work on it: a deploy in progress of this very
        digest is then ours, and worth waiting for.
        """
        cut = False
        for delay in self._backoff.delays():
            try:
                return await attempt()
            except DeviceUnreachableError:
                cut = True
            except DeployInProgressError as error:
                if not cut or error.metadata.get("sha256") != sha256:
                    raise
            await asyncio.sleep(delay)
        return await attempt()

    async def _whole_digest(self, text: str) -> str:
        prefix = text.lower()
        if not re.fullmatch(rf"[0-9a-f]{{{MIN_PREFIX},64}}", prefix):
            raise BadInputError(
                f"{text!r} is not the SHA-256 of a model: give all its 64 hex digits, or at least "
                f"the first {MIN_PREFIX}."
            )
        if len(prefix) == 64:
            return prefix
        found = [m.sha256 for m in await self.models() if m.sha256.startswith(prefix)]
        if not found:
            raise NotFoundError(
                f"The device at {self.address} holds no model {prefix}; see: holter models",
                reason="MODEL_NOT_FOUND",
                metadata={"sha256": prefix},
            )
        if len(found) > 1:
            raise BadInputError(
                f"{len(found)} models begin with {prefix}: {', '.join(found)}; give more digits."
            )
        return found[0]
