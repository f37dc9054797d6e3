"""A fleet: what one does with a device, done with many.

    async with Fleet.load("fleet.toml", select="site=a,role!=test") as fleet:
        async for outcome in fleet.status():
            print(outcome.device.name, outcome.state, outcome.value)

There is one engine below all of it, `Fleet.each`: a piece of work on each device, a bounded number
at a time, with a deadline each, and exactly one outcome a device.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from holter_host._connection import CALL_SECONDS
from holter_host._fan_out import fan_out
from holter_host.client import Device, connect
from holter_host.errors import BadInputError, DeadlineError, DeviceUnreachableError, HolterError
from holter_host.inventory import FleetDevice, Inventory, load_inventory
from holter_host.status import DeviceStatus

CONCURRENCY: Final = 64

T = TypeVar("T")


class OutcomeState(enum.StrEnum):
    """How it went with one device."""

    OK = "OK"
    FAILED = "FAILED"  # it answered, and refused or failed
    OFFLINE = "OFFLINE"  # it did not answer, or not in time


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


class Fleet:
    """The devices of an inventory, to be worked with inside `async with`.

    Args:
        inventory: the devices.
        concurrency: how many are worked on at a time.
        timeout: seconds that a call to a device may take, and that a connection may take to come.

    Attributes:
        inventory: the devices.

    Raises:
        BadInputError: `concurrency` or `timeout` cannot be used.
    """

    def __init__(
        self,
        inventory: Inventory,
        *,
        concurrency: int = CONCURRENCY,
        timeout: float = CALL_SECONDS,
    ) -> None:
        if concurrency < 1:
            raise BadInputError(f"concurrency is {concurrency}: give 1 or more.")
        if not timeout > 0:
            raise BadInputError(f"timeout is {timeout!r}: give seconds, more than 0.")
        self.inventory = inventory
        self._concurrency = concurrency
        self._timeout = timeout

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        select: str | Sequence[str] = (),
        concurrency: int = CONCURRENCY,
        timeout: float = CALL_SECONDS,
    ) -> Self:
        """The fleet of an inventory's file; `select` is as for `Inventory.select`.

        Raises:
            BadInputError: the file, the selector or another argument cannot be used.
            NothingSelectedError: the selector means no device.
        """
        inventory = load_inventory(path)
        if select:
            inventory = inventory.select(*([select] if isinstance(select, str) else select))
        return cls(inventory, concurrency=concurrency, timeout=timeout)

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
        pass

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
        outcomes = fan_out(chosen, one, self._concurrency)
        try:
            async for outcome in outcomes:
                yield outcome
        finally:
            await outcomes.aclose()

    def status(self) -> AsyncGenerator[Outcome[DeviceStatus], None]:
        """What each device is and how it does, now."""
        return self.each(_status)

    async def _outcome(
        self, device: FleetDevice, work: Work[T], deadline: float | None
    ) -> Outcome[T]:
        began = time.monotonic()

        def ended(state: OutcomeState, value: T | None, error: HolterError | None) -> Outcome[T]:
            return Outcome(device, state, value, error, time.monotonic() - began)

        try:
            async with (
                _within(deadline, device),
                connect(device.address, timeout=self._timeout) as connection,
            ):
                return ended(OutcomeState.OK, await work(connection), None)
        except (DeviceUnreachableError, DeadlineError) as error:
            return ended(OutcomeState.OFFLINE, None, error)
        except HolterError as error:
            return ended(OutcomeState.FAILED, None, error)


async def _status(connection: Device) -> DeviceStatus:
    return connection.opened_status


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
