"""Work on the devices of a fleet: so many at a time, a deadline each, one outcome a device."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from holter_host._connection import CALL_SECONDS
from holter_host._fan_out import fan_out
from holter_host._many_calls import many_calls
from holter_host._reconnect import SILENCE_SECONDS
from holter_host.client import Device, connect
from holter_host.errors import BadInputError, DeadlineError, DeviceUnreachableError, HolterError
from holter_host.inventory import FleetDevice, Inventory

CONCURRENCY: Final = 64

T = TypeVar("T")


class OutcomeState(enum.StrEnum):
    """How it went with one device."""

    OK = "OK"
    FAILED = "FAILED"  # it answered, and refused or failed
    OFFLINE = "OFFLINE"  # it did not answer, or not in time

    @classmethod
    def of(cls, error: HolterError) -> OutcomeState:
        """How it went where this was raised."""
        offline = isinstance(error, DeviceUnreachableError | DeadlineError)
        return cls.OFFLINE if offline else cls.FAILED


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of a piece of work on one device.

    Attributes:
        device: the device.
        state: how it went.
        value: what the work gave; None where it went wrong.
        error: what went wrong; None where nothing did.
        seconds: how long it took.
    """

    device: FleetDevice
    state: OutcomeState
    value: T | None
    error: HolterError | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return self.state is OutcomeState.OK


Work = Callable[[Device], Awaitable[T]]


class FleetWork:
    """The devices of an inventory, and work on them; see `Fleet`."""

    def __init__(
        self,
        inventory: Inventory,
        *,
        concurrency: int = CONCURRENCY,
        timeout: float = CALL_SECONDS,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        if concurrency < 1:
            raise BadInputError(f"concurrency is {concurrency}: give 1 or more.")
        for name, seconds in (("timeout", timeout), ("silence", silence)):
            if not seconds > 0:
                raise BadInputError(f"{name} is {seconds!r}: give seconds, more than 0.")
        self.inventory = inventory
        self._concurrency = concurrency
        self._timeout = timeout
        self._silence = silence
        self._streams: list[Any] = []  # asynchronous generators that may go on

    def __len__(self) -> int:
        return len(self.inventory)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for stream in self._streams:
            if not stream.ag_running:  # whoever waits for its next event ends it
                await stream.aclose()
        self._streams.clear()

    async def each(
        self,
        work: Work[T],
        *,
        devices: Iterable[FleetDevice] | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Outcome[T], None]:
        """Do something with each device; one outcome a device, in the order in which they end.

        A device is connected to when it is its turn, and disconnected after it. What Holter raises
        becomes the device's outcome; any other exception is a fault of `work`, and ends it all.

        Args:
            work: gets the open connection to a device; what it gives is the outcome's value.
            devices: those that are meant, by default all; they are taken as there is room.
            deadline: seconds that one device may take altogether; by default only calls have one.
        """

        async def one(device: FleetDevice) -> Outcome[T]:
            return await self._outcome(device, work, deadline)

        chosen = self.inventory.devices if devices is None else devices
        async with (
            many_calls(min(self._concurrency, len(self))),
            contextlib.aclosing(fan_out(chosen, one, self._concurrency)) as outcomes,
        ):
            async for outcome in outcomes:
                yield outcome

    def _connect(self, device: FleetDevice) -> Device:
        return connect(device.address, timeout=self._timeout, silence=self._silence)

    async def _outcome(
        self, device: FleetDevice, work: Work[T], deadline: float | None
    ) -> Outcome[T]:
        began = time.monotonic()

        def ended(state: OutcomeState, value: T | None, error: HolterError | None) -> Outcome[T]:
            return Outcome(device, state, value, error, time.monotonic() - began)

        try:
            async with (
                _within(deadline, device),
                self._connect(device) as connection,
            ):
                return ended(OutcomeState.OK, await work(connection), None)
        except HolterError as error:
            return ended(OutcomeState.of(error), None, error)


@contextlib.asynccontextmanager
async def _within(seconds: float | None, device: FleetDevice) -> AsyncIterator[None]:
    """A DeadlineError where the block takes longer."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError as error:  # a device's DeadlineError is one too
        if not limit.expired():
            raise
        raise DeadlineError(
            f"{device.name} at {device.address} was not done within {seconds:g} s.",
            code="DEADLINE_EXCEEDED",
        ) from error
