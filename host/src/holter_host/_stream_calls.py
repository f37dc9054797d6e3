"""The calls of a device that stream: samples, classifications, and captures of samples."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from holter.v1 import classification_service_pb2 as classification_pb
from holter.v1 import classification_service_pb2_grpc as classification_grpc
from holter.v1 import sample_service_pb2 as sample_pb
from holter.v1 import sample_service_pb2_grpc as sample_grpc
from holter.v1 import stream_pb2 as stream_pb
from holter_host import _convert
from holter_host._assembly import Progress, read_captures
from holter_host._connection import Connection
from holter_host._convert import Start
from holter_host._event_stream import Source
from holter_host._reconnect import OnConnection, Reconnection, limit_seconds
from holter_host.capture import Capture
from holter_host.clock import ClockOffset
from holter_host.errors import DeviceError
from holter_host.streams import ClassificationStream, EventStream, SampleStream

CLOCK_SECONDS: Final = 2.0

_StreamT = TypeVar("_StreamT", bound=EventStream[Any])


class StreamCalls(Connection):
    """What a device streams."""

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
        clock = await self.try_clock_offset()
        stream = self.samples(start, reconnect=reconnect, on_connection=on_connection)
        async with stream, contextlib.aclosing(read_captures(stream, seconds, progress)) as parts:
            async for part in parts:
                after = await self.try_clock_offset()
                found = [offset for offset in (clock, after) if offset is not None]
                boot_id = part.session.boot_id
                offsets = tuple(offset for offset in found if offset.boot_id == boot_id)
                clock = after or clock
                yield dataclasses.replace(part, clock_offsets=offsets)

    async def try_clock_offset(self, probes: int = 8) -> ClockOffset | None:
        """The offset; None where there is none, or nobody answers at the moment."""
        try:
            return await self.clock_offset(probes, timeout=min(self._timeout, CLOCK_SECONDS))
        except DeviceError:
            return None

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
