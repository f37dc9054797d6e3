"""Who carries out the steps of a rollout: this process, or workers that do the same elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from holter_host._connection import CALL_SECONDS
from holter_host._fan_out import fan_out
from holter_host._upload import Upload
from holter_host.bundle import Bundle
from holter_host.client import Device, connect
from holter_host.errors import DeadlineError, DeviceUnreachableError, HolterError
from holter_host.inventory import FleetDevice
from holter_host.rollout.rows import Move, Report, Seen
from holter_host.rollout.states import OFFLINE
from holter_host.rollout.steps import act, look

CONCURRENCY: Final = 64
UPLOAD_BYTES: Final = 256 * 2**20  # at a time, all devices together

# What a device has, or why it cannot tell.
Look = tuple[FleetDevice, Seen | HolterError]
# Called with what devices have, before anything is done with them: what is to be done, if anything.
Begun = Callable[[Sequence[Look]], Awaitable[Sequence[Move | None]]]
# Called with what became of it.
Ended = Callable[[Sequence[tuple[FleetDevice, Report]]], Awaitable[None]]


class Hands(Protocol):
    """Looks at devices and does what it is told with them, many at a time.

    Devices are taken from an iterator when there is room for them, so that a rollout can stop
    giving them out. For each, `begun` is awaited with what was seen of it, alone or together with
    others; then what it said to do is done, and `ended` is awaited with what became of it. What the
    callbacks raise ends everything. A device of which `begun` wants nothing has no `ended`.

    They are used inside `async with`.
    """

    async def __aenter__(self) -> Self:
        """Get ready."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of what was needed."""

    async def carry(
        self, devices: Iterable[FleetDevice], begun: Begun, ended: Ended, seconds: float
    ) -> None:
        """Look at each device, ask what is to be done, and do it within so many seconds."""

    async def look(
        self, devices: Iterable[FleetDevice], seen: Callable[[Sequence[Look]], Awaitable[None]]
    ) -> None:
        """Look at each device, and await `seen` with what was seen."""


class LocalHands:
    """This process.

    Args:
        model: what moves upload; None where none does.
        concurrency: how many devices are worked on at a time.
        timeout: seconds that a call to a device may take, but for the move itself.

    Attributes:
        concurrency: how many devices are worked on at a time, as uploads are copies.
    """

    def __init__(
        self,
        model: Bundle | None = None,
        *,
        concurrency: int = CONCURRENCY,
        timeout: float = CALL_SECONDS,
    ) -> None:
        self._upload = Upload.of(model.data, model.sha256, model.signature) if model else None
        self._timeout = timeout
        # Every upload is copied in gRPC while it is sent; so its size limits how many there are.
        size = self._upload.size_bytes if self._upload else 0
        self.concurrency = max(1, min(concurrency, UPLOAD_BYTES // max(size, 1)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    async def carry(
        self, devices: Iterable[FleetDevice], begun: Begun, ended: Ended, seconds: float
    ) -> None:
        """As `Hands.carry`."""

        async def one(device: FleetDevice) -> None:
            async with contextlib.AsyncExitStack() as stack:
                connection, seen = await self._looked(stack, device)
                (move,) = await begun([(device, seen)])
                if move is None or connection is None:
                    return
                report = await self._moved(connection, device, move, seconds)
            await ended([(device, report)])

        await self._all(devices, one)

    async def look(
        self, devices: Iterable[FleetDevice], seen: Callable[[Sequence[Look]], Awaitable[None]]
    ) -> None:
        """As `Hands.look`."""

        async def one(device: FleetDevice) -> None:
            await seen([(device, await self._looked_anew(device))])

        await self._all(devices, one)

    async def _all(
        self, devices: Iterable[FleetDevice], one: Callable[[FleetDevice], Awaitable[None]]
    ) -> None:
        async with contextlib.aclosing(fan_out(devices, one, self.concurrency)) as running:
            async for _ in running:
                pass

    async def _looked(
        self, stack: contextlib.AsyncExitStack, device: FleetDevice
    ) -> tuple[Device | None, Seen | HolterError]:
        """A connection, which the stack closes, and what the device says on it.

        A connection that breaks is tried once more; it may have been the network.
        """
        connection = connect(device.address, timeout=self._timeout)
        # What `look` asks is all that need be known, so that is the first question.
        connection.open()
        stack.push_async_callback(connection.close)
        try:
            try:
                return connection, await look(connection)
            except DeviceUnreachableError:
                return connection, await look(connection)
        except HolterError as error:
            return None, error

    async def _looked_anew(self, device: FleetDevice) -> Seen | HolterError:
        async with contextlib.AsyncExitStack() as stack:
            connection, seen = await self._looked(stack, device)
            if connection is not None:
                connection.let_go()
            return seen

    async def _moved(
        self, connection: Device, device: FleetDevice, move: Move, seconds: float
    ) -> Report:
        """What became of a move; where it broke off, the device is asked once more."""
        error: HolterError
        try:
            async with asyncio.timeout(seconds):
                report = await act(connection, move, self._upload, seconds)
            connection.let_go()
            return report
        except HolterError as raised:
            error = raised
        except TimeoutError:
            error = DeadlineError(
                f"{device.name} at {device.address} was not done within {seconds:g} s.",
                code="DEADLINE_EXCEEDED",
            )
        if not isinstance(error, OFFLINE):
            return Report(error=error)
        seen = await self._looked_anew(device)
        return Report(seen=seen if isinstance(seen, Seen) else None, error=error)
