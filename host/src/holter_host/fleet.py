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
from typing import Any, Final, Generic, Self, TypeVar, Unpack

from holter_host._connection import CALL_SECONDS
from holter_host._fan_out import fan_out
from holter_host._fleet_feed import FleetStart, Kind, Wanted, merged
from holter_host._many_calls import many_calls
from holter_host._reconnect import SILENCE_SECONDS
from holter_host.bundle import Bundle, read_bundle
from holter_host.client import Device, connect
from holter_host.errors import BadInputError, DeadlineError, DeviceUnreachableError, HolterError
from holter_host.fleet_streams import FleetEvent
from holter_host.inventory import FleetDevice, Inventory, load_inventory
from holter_host.preflight import check
from holter_host.rollout import start
from holter_host.rollout.api import Rollout
from holter_host.rollout.hands import Hands, LocalHands
from holter_host.rollout.start import Model, RolloutOptions
from holter_host.status import DeployResult, DeviceStatus

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


class Fleet:
    """The devices of an inventory, to be worked with inside `async with`.

    Args:
        inventory: the devices.
        concurrency: how many are worked on at a time.
        timeout: seconds that a call to a device may take, and that a connection may take to come.
        silence: seconds after which a stream that gives nothing counts as broken.

    Attributes:
        inventory: the devices.

    Raises:
        BadInputError: one of them cannot be used.
    """

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

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        select: str | Sequence[str] = (),
        **options: Any,
    ) -> Self:
        """The fleet of an inventory's file.

        Args:
            path: the file.
            select: as for `Inventory.select`.
            options: as for the class.

        Raises:
            BadInputError: the file, the selector or an option cannot be used.
            NothingSelectedError: the selector means no device.
        """
        inventory = load_inventory(path)
        if select:
            inventory = inventory.select(*([select] if isinstance(select, str) else select))
        return cls(inventory, **options)

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
        async with (
            many_calls(min(self._concurrency, len(self))),
            contextlib.aclosing(fan_out(chosen, one, self._concurrency)) as outcomes,
        ):
            async for outcome in outcomes:
                yield outcome

    def status(self) -> AsyncGenerator[Outcome[DeviceStatus], None]:
        """What each device is and how it does, now."""
        return self.each(_status)

    def samples(
        self,
        start: FleetStart = "live",
        *,
        max_latency: float | None = None,
        reconnect: float | None = None,
    ) -> AsyncGenerator[FleetEvent, None]:
        """Every frame of every device from `start` on, each device's once and in order.

        The devices' events come as they come; `FleetEvent.time` tells when they were by one clock.
        A device that is not there is waited for and does not hold up the others; what it recorded
        meanwhile follows when it is back. It ends when the streams of all devices have ended.

        Args:
            start: as for `Device.samples`; or one for each device by its name, as `position` of its
                last event, where those that are not in it start live.
            max_latency: as for `Device.samples`.
            reconnect: as for `Device.samples`, from the first try on.

        Raises:
            BadInputError: an argument is none of these.
        """
        return self.streams(Wanted(("samples",), start, max_latency, reconnect))

    def classifications(
        self, start: FleetStart = "live", *, reconnect: float | None = None
    ) -> AsyncGenerator[FleetEvent, None]:
        """What the model of every device says of its windows; the rest is as for `samples`.

        Raises:
            BadInputError: an argument is none of those that `samples` takes.
        """
        return self.streams(Wanted(("classifications",), start, None, reconnect))

    def events(
        self,
        start: FleetStart = "live",
        *,
        max_latency: float | None = None,
        reconnect: float | None = None,
    ) -> AsyncGenerator[FleetEvent, None]:
        """Both `samples` and `classifications` of every device, each in its own order.

        Raises:
            BadInputError: an argument is none of those that `samples` takes.
        """
        kinds: tuple[Kind, ...] = ("samples", "classifications")
        return self.streams(Wanted(kinds, start, max_latency, reconnect))

    def streams(self, wanted: Wanted) -> AsyncGenerator[FleetEvent, None]:
        """The events of these streams; what `samples`, `classifications` and `events` have."""
        wanted.check()
        return self._merged(wanted)

    def _merged(self, wanted: Wanted) -> AsyncGenerator[FleetEvent, None]:
        return merged(self.inventory.devices, self._connect, wanted)

    def _connect(self, device: FleetDevice) -> Device:
        return connect(device.address, timeout=self._timeout, silence=self._silence)

    async def judge(self, model: Model) -> AsyncGenerator[Outcome[DeployResult], None]:
        """Let every device judge a model; nothing is stored and nothing swapped.

        What is known beforehand to misfit a device (`preflight`) is not sent to it.

        Raises:
            BadInputError: the path holds no model file.
        """
        bundle = model if isinstance(model, Bundle) else await asyncio.to_thread(read_bundle, model)
        async with contextlib.aclosing(self.each(Judge(bundle))) as outcomes:
            async for outcome in outcomes:
                yield outcome

    def deploy(self, model: Model, **options: Unpack[RolloutOptions]) -> Rollout:
        """Bring a model to every device, in waves; iterate over what this gives to run it.

            rollout = fleet.deploy("rhythm.tflite", waves="1,10%,100%", max_failures="2%")
            async for device in rollout:
                print(device.device.name, device.state, device.message)

        Each wave waits until the devices of the one before have ended the model's probation. What
        is done is in a journal before it is done, so a rollout that was cut off, by whatever, goes
        on by `resume_rollout`, which also asks again who was offline.

        Args:
            model: a model file by its path, or as `read_bundle` gave it.
            options: the attributes of `RolloutOptions`.

        Raises:
            BadInputError: an option cannot be used; when it is iterated over: the path holds no
                model file.
            NothingSelectedError: no device is a canary.

        Raises (when it is iterated over):
            RolloutBusyError: a rollout that runs has one of the devices.
            JournalError: the journal cannot be used.
        """
        return start.deploy(self.inventory, model, self.hands, **options)

    def activate(self, sha256: str, **options: Unpack[RolloutOptions]) -> Rollout:
        """Make a model that the devices have stored the active one of each, as `deploy`.

        Args:
            sha256: its digest, or 8 or more first digits of it.
            options: as for `deploy`.
        """
        return start.activate(self.inventory, sha256, self.hands, **options)

    def rollback(self, **options: Unpack[RolloutOptions]) -> Rollout:
        """Take each device back to the model before its active one, as `deploy`.

        To take back what one rollout changed, and nothing else, there is `undo_rollout`. As the
        devices do not depend on each other here, any number of them may fail, if nothing else is
        said.
        """
        options.setdefault("max_failures", "100%")
        return start.rollback(self.inventory, self.hands, **options)

    def hands(self, model: Bundle | None) -> Hands:
        """What works on the devices in a rollout that brings a model, or none."""
        return LocalHands(model, concurrency=self._concurrency, timeout=self._timeout)

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


@dataclasses.dataclass(frozen=True, slots=True)
class Judge:
    """Asks a device what it thinks of a model."""

    model: Bundle

    async def __call__(self, connection: Device) -> DeployResult:
        """What the gate found; raises what it refuses."""
        check(self.model, connection.opened_status)
        return await connection.deploy(self.model, validate_only=True)


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
