"""One connection to one device: it opens, asks, closes. What can be asked stands on top of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio

from holter.v1 import device_service_pb2 as device_pb
from holter.v1 import device_service_pb2_grpc as device_grpc
from holter_host import _convert
from holter_host._errors import translated
from holter_host._link import Link
from holter_host._reconnect import SILENCE_SECONDS
from holter_host._retry import Backoff
from holter_host.clock import ClockOffset, DeviceClock, measure
from holter_host.errors import BadInputError, DeadlineError, DeviceUnreachableError
from holter_host.status import DeviceStatus
from holter_host.streams import EventStream

CALL_SECONDS: Final = 10.0

_StubKind = Callable[[grpc.aio.Channel], Any]


class Connection:
    """A connection to a device, and what every device answers.

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
        self._opened_status: DeviceStatus | None = None
        # Closing a channel of grpc.aio leaves its calls waiting for ever; so they are ended here.
        self._streams: weakref.WeakSet[EventStream[Any]] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        """Connect, and ask the device who it is.

        Raises:
            DeviceUnreachableError: nothing answers at the address.
        """
        self.open()
        try:
            self._opened_status = await self.status()
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

    def open(self) -> None:
        """Open the connection without asking who is there, for streams that wait for a device.

        `close` it in the end. `async with` is this, and a question.
        """
        self._link.open()

    async def close(self) -> None:
        """Close the connection; its streams end."""
        for stream in tuple(self._streams):
            stream.cut()
        await self._link.close()

    def let_go(self) -> None:
        """Close the connection, on which nothing is asked any more and no stream is open."""
        self._link.let_go()

    @property
    def opened_status(self) -> DeviceStatus:
        """What the device said of itself when the connection was opened.

        Raises:
            DeviceUnreachableError: it was not.
        """
        if self._opened_status is None:
            raise self._link.not_open()
        return self._opened_status

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
