"""The client: one connection to one device.

async with connect("127.0.0.1:50051") as device:
    async for event in device.classifications():
        print(event)
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

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
from holter.v1 import stream_pb2 as stream_pb
from holter_host import _convert, _models, _windows, types
from holter_host._assembly import Progress, read_captures
from holter_host._channel import parse_address
from holter_host._convert import Start
from holter_host._errors import translated
from holter_host._event_stream import Source
from holter_host._link import Link
from holter_host._reconnect import SILENCE_SECONDS, OnConnection, Reconnection, limit_seconds
from holter_host._retry import Backoff
from holter_host.bundle import Bundle
from holter_host.capture import Capture
from holter_host.clock import ClockOffset, DeviceClock, measure
from holter_host.enums import ModelState, ProbationState
from holter_host.errors import (
    BadInputError,
    DeadlineError,
    DeployInProgressError,
    DeviceError,
    DeviceUnreachableError,
    NotFoundError,
)
from holter_host.status import DeployResult, DeviceStatus, Limits, Probation, StoredModel
from holter_host.streams import ClassificationStream, EventStream, SampleStream

CALL_SECONDS: Final = 10.0
CLOCK_SECONDS: Final = 2.0
DEPLOY_SECONDS: Final = 120.0
DEPLOY_RETRIES: Final = 5
VERDICT_POLL_SECONDS: Final = 0.5

_StubKind = Callable[[grpc.aio.Channel], Any]
_StreamT = TypeVar("_StreamT", bound=EventStream[Any])


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


class Device:
    """A device at the other end of a connection. Make it by `connect`, open it by `async with`.

    Every call raises DeviceUnreachableError when nothing answers, DeadlineError when the answer is
    late and ProtocolError when it is not holter.v1, beside what its own docstring names.

    Attributes:
        address: where the device is.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = CALL_SECONDS,
        silence: float = SILENCE_SECONDS,
        backoff: Backoff | None = None,
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._silence = silence
        self._backoff = backoff or Backoff()
        self._link = Link(address)
        self._limits = Limits(0, 0)
        # Closing a channel of grpc.aio leaves its calls waiting for ever; so they are ended here.
        self._streams: weakref.WeakSet[EventStream[Any]] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        """Connect, and ask the device who it is.

        Raises:
            DeviceUnreachableError: nothing answers at the address.
        """
        self._link.open()
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
        await self._link.close()

    async def status(self) -> DeviceStatus:
        """What the device is and how it does, now."""
        request = device_pb.GetDeviceRequest()
        response = await self._call(device_grpc.DeviceServiceStub, "GetDevice", request)
        return _convert.device_status(response)

    async def clock_offset(self, probes: int = 8, *, timeout: float | None = None) -> ClockOffset:
        """How this computer's wall clock and the device's monotonic clock differ, now.

        Args:
            probes: how often the device is asked; the quickest answer counts.
            timeout: seconds that each may take; by default those of the connection.

        Raises:
            BadInputError: `probes` is less than 1.
            DeviceError: the device's clock is simulated and does not run in real time.
        """
        if probes < 1:
            raise BadInputError(f"probes is {probes}: give 1 or more.")

        async def ask() -> DeviceClock:
            request = device_pb.GetClockRequest()
            kind = device_grpc.DeviceServiceStub
            return _convert.device_clock(await self._call(kind, "GetClock", request, timeout))

        return await measure(ask, probes)

    def samples(
        self,
        start: Start = "live",
        *,
        max_latency: float | None = None,
        reconnect: float | None = None,
        on_connection: OnConnection | None = None,
    ) -> SampleStream:
        """Every frame from `start` on, once and in order, as SessionStarted, SampleBlock and Gap.

        Args:
            start: "live" (frames that arrive from now on), "earliest" (the first that the device
                keeps), a LogPosition (inclusive), or a datetime with a time zone (approximate).
            max_latency: seconds, 0 to 10, that a frame may wait at the live edge for others to
                share its message; the device's default is 0.1.
            reconnect: seconds for which to go on trying after a break, before it is an error; 0 for
                never, None for ever. What the device refuses is an error at once.
            on_connection: told when the connection is lost, and when it is there again.

        Raises:
            BadInputError: an argument is none of these.
        """
        latency = _convert.max_latency(max_latency)

        def call(channel: grpc.aio.Channel, place: stream_pb.StreamStart) -> Any:
            request = sample_pb.StreamSamplesRequest(start=place, max_latency=latency)
            return sample_grpc.SampleServiceStub(channel).StreamSamples(request)

        return self._stream(SampleStream, call, start, reconnect, on_connection)

    def classifications(
        self,
        start: Start = "live",
        *,
        reconnect: float | None = None,
        on_connection: OnConnection | None = None,
    ) -> ClassificationStream:
        """Every window whose last frame is at or after `start`, as Classification.

        SessionStarted, ModelChanged and Gap (windows that the device no longer keeps) come between.
        The arguments are those of `samples`.

        Raises:
            BadInputError: an argument is none of those that `samples` takes.
        """

        def call(channel: grpc.aio.Channel, place: stream_pb.StreamStart) -> Any:
            request = classification_pb.StreamClassificationsRequest(start=place)
            stub = classification_grpc.ClassificationServiceStub(channel)
            return stub.StreamClassifications(request)

        return self._stream(ClassificationStream, call, start, reconnect, on_connection)

    async def capture(
        self,
        seconds: float = 10.0,
        start: Start = "live",
        *,
        progress: Progress | None = None,
        reconnect: float | None = None,
        on_connection: OnConnection | None = None,
    ) -> Capture:
        """The next `seconds` of the device's grid as arrays, gaps masked.

        It is shorter where the device's session ends before; `captures` goes on with the next.

        Args:
            seconds: how long, by the device's clock.
            start: as for `samples`.
            progress: called with the frames that came and the frames that are wanted.
            reconnect: as for `samples`.
            on_connection: as for `samples`.

        Raises:
            DeviceError: the stream ended before it gave a frame.
            BadInputError: `seconds` or `start` cannot be used.
        """
        parts = self.captures(
            seconds, start, progress=progress, reconnect=reconnect, on_connection=on_connection
        )
        async with contextlib.aclosing(parts):
            async for part in parts:
                return part
        raise DeviceError("The stream ended before it gave a frame; there is nothing to capture.")

    async def captures(
        self,
        seconds: float = 10.0,
        start: Start = "live",
        *,
        progress: Progress | None = None,
        reconnect: float | None = None,
        on_connection: OnConnection | None = None,
    ) -> AsyncGenerator[Capture, None]:
        """The next `seconds` of the device's grid, one capture for each session in them.

        The time between two sessions counts: they end `seconds` after the first frame that came.
        The arguments, and what is raised, are those of `capture`. Where the device runs in real
        time each capture has the offset between its clock and this computer's, measured before it
        and after it.
        """
        clock = await self._clock_offset_or_none()
        stream = self.samples(start, reconnect=reconnect, on_connection=on_connection)
        async with stream, contextlib.aclosing(read_captures(stream, seconds, progress)) as parts:
            async for part in parts:
                after = await self._clock_offset_or_none() if clock is not None else None
                found = [offset for offset in (clock, after) if offset is not None]
                boot_id = part.session.boot_id
                offsets = tuple(offset for offset in found if offset.boot_id == boot_id)
                clock = after or clock
                yield dataclasses.replace(part, clock_offsets=offsets)

    async def _clock_offset_or_none(self) -> ClockOffset | None:
        """The offset; None where there is none, or nobody answers at the moment."""
        try:
            return await self.clock_offset(timeout=min(self._timeout, CLOCK_SECONDS))
        except DeviceError:
            return None

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
        request = model_pb.ListModelsRequest()
        response = await self._call(model_grpc.ModelServiceStub, "ListModels", request)
        return tuple(map(_convert.stored_model, response.models))

    async def probation(self) -> Probation | None:
        """How the newest probation does, or did; None where the last swap had none."""
        request = model_pb.ListModelsRequest()
        response = await self._call(model_grpc.ModelServiceStub, "ListModels", request)
        return _convert.probation(response)

    async def verdict(
        self, sha256: str, on_window: Callable[[Probation], object] = lambda _: None
    ) -> Probation | None:
        """Wait for the verdict on a model that was deployed; cancel it to wait no longer.

        Args:
            sha256: the model's digest, whole.
            on_window: called with the probation whenever windows have been added to it.

        Returns:
            Its probation, over; None where it has none: there was no model before it, or another
            swap has come since.
        """
        shown = -1
        while True:
            found = await self.probation()
            if found is None or found.sha256 != sha256:
                return None
            if found.state is not ProbationState.RUNNING:
                return found
            if found.window_count != shown:
                shown = found.window_count
                on_window(found)
            await asyncio.sleep(VERDICT_POLL_SECONDS)

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
        data, sha256 = await asyncio.to_thread(
            _models.load, model, self._limits.max_model_bytes, self.address
        )
        request = model_pb.DeployModelRequest(
            model=data, sha256=sha256, validate_only=validate_only
        )

        async def attempt() -> DeployResult:
            kind = model_grpc.ModelServiceStub
            return _convert.deploy_result(await self._call(kind, "DeployModel", request, timeout))

        return await self._repeat(attempt, sha256)

    async def delete(self, sha256: str) -> StoredModel:
        """Delete a stored model; the active one and the one before it stay.

        Args:
            sha256: its digest, or 8 or more first digits of it that no other model has.

        Returns:
            It, as it was.

        Raises:
            NotFoundError: the device holds no such model.
            BadInputError: that is no digest, or more than one model begins like that.
            ModelRefusedError: it is in use (MODEL_IN_USE).
            DeployInProgressError: a deploy is running.
        """
        request = model_pb.DeleteModelRequest(sha256=await self._whole_digest(sha256))
        response = await self._call(model_grpc.ModelServiceStub, "DeleteModel", request)
        return _convert.stored_model(response.model)

    async def rollback(self, *, timeout: float = DEPLOY_SECONDS) -> DeployResult:
        """Go back to the model before: at once during a probation, later through the gate.

        Raises:
            NotFoundError: the device has none.
            ModelRefusedError, DeployInProgressError: as `deploy`.
        """
        for model in await self.models():
            if model.state is ModelState.PREVIOUS:
                return await self.activate(model.sha256, timeout=timeout)
        raise NotFoundError(
            f"The device at {self.address} has no model before the active one; see: holter models",
            reason="MODEL_NOT_FOUND",
        )

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
        request = model_pb.ActivateModelRequest(sha256=await self._whole_digest(sha256))
        kind = model_grpc.ModelServiceStub
        return _convert.deploy_result(await self._call(kind, "ActivateModel", request, timeout))

    async def _whole_digest(self, sha256: str) -> str:
        whole = _models.checked_prefix(sha256)
        if len(whole) == 64:
            return whole
        return _models.whole_digest(whole, await self.models(), self.address)

    async def _call(
        self, kind: _StubKind, method: str, request: Any, timeout: float | None = None
    ) -> Any:
        """The response to one call; a channel on which it broke is replaced."""
        channel = self._link.channel
        try:
            with translated(self.address):
                call = getattr(kind(channel), method)
                return await call(request, timeout=timeout or self._timeout)
        except (DeviceUnreachableError, DeadlineError) as error:
            if not error.reason:
                self._link.renew(channel)
            raise

    def _stream(
        self,
        kind: type[_StreamT],
        open_call: Callable[[grpc.aio.Channel, stream_pb.StreamStart], Any],
        start: Start,
        reconnect: float | None,
        on_connection: OnConnection | None,
    ) -> _StreamT:
        _convert.stream_start(start)
        assert self._link.channel is not None  # else it raises: the device is not open
        source = Source(self._link, self.address, open_call, self._silence)
        limit = limit_seconds(reconnect)
        stream = kind(source, start, Reconnection(self._backoff, limit, on_connection))
        self._streams.add(stream)
        return stream

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

    async def _repeat(
        self, attempt: Callable[[], Awaitable[DeployResult]], sha256: str
    ) -> DeployResult:
        """Try, and try again where the connection broke.

        After a cut upload the device may still be at work on it: a deploy in progress of this very
        digest is then ours, and worth waiting for.
        """
        cut = False
        for number in range(DEPLOY_RETRIES):
            try:
                return await attempt()
            except DeviceUnreachableError:
                cut = True
            except DeployInProgressError as error:
                if not cut or error.metadata.get("sha256") != sha256:
                    raise
            await self._backoff.sleep(self._backoff.wait(number))
        return await attempt()
