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
import os
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Self, Unpack

from holter_host._fleet_stream_calls import FleetStreamCalls
from holter_host._fleet_work import CONCURRENCY, Outcome, OutcomeState, Work
from holter_host.bundle import Bundle, read_bundle
from holter_host.client import Device
from holter_host.inventory import load_inventory
from holter_host.preflight import check
from holter_host.rollout import start
from holter_host.rollout.api import Rollout
from holter_host.rollout.hands import Hands, LocalHands
from holter_host.rollout.start import Model, RolloutOptions
from holter_host.status import DeployResult, DeviceStatus

__all__ = ["CONCURRENCY", "Fleet", "Outcome", "OutcomeState", "Work"]


class Fleet(FleetStreamCalls):
    """The devices of an inventory, to be worked with inside `async with`.

    Leaving it ends the streams that were begun in it.

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

    def status(self) -> AsyncGenerator[Outcome[DeviceStatus], None]:
        """What each device is and how it does, now."""
        return self.each(_status)

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
