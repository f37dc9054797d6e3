"""Devices that live in memory, and hands that work on them, for the laws of rollouts.

They do what a device does to a rollout: take a model and put it on probation, refuse it, go back
from it, be offline, or lose the connection before or after the deed.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from holter.signature import ModelSignature
from holter_host import (
    DeviceUnreachableError,
    FleetDevice,
    HolterError,
    ModelRefusedError,
    Probation,
    ProbationState,
    ReturnCause,
)
from holter_host.rollout.columns import now
from holter_host.rollout.engine import Engine
from holter_host.rollout.hands import LocalHands
from holter_host.rollout.journal import Journal
from holter_host.rollout.plan import Plan, wave_of
from holter_host.rollout.record import Kind, RolloutRecord
from holter_host.rollout.rows import Move, Report, Row, Seen

TARGET = "t" * 64
BEFORE = "b" * 64


class Killed(Exception):  # noqa: N818 (it is no error of the code under test)
    """The host was killed here."""


@dataclasses.dataclass
class MemoryDevice:
    """A device.

    Attributes:
        active: the digest of its active model.
        how: "takes", "refuses", "returns" (goes back in its probation), "offline", "mute" (gives no
            verdict), "cut early" and "cut late" (loses the connection once, before or after it has
            done what it was told), "lost early" and "lost late" (the same, and is offline then).
        looks: how often its probation is asked for before it is over.
        swaps: the digests that it was given, in order, but for what it did by itself.
    """

    active: str = BEFORE
    how: str = "takes"
    looks: int = 0
    previous: str = ""
    probation: Probation | None = None
    swaps: list[str] = dataclasses.field(default_factory=list)
    _left: int = 0

    def look(self) -> Seen:
        """What it says of its models; time goes by."""
        if self.how == "offline":
            raise DeviceUnreachableError("nobody answers")
        probation = self.probation
        if probation is not None and probation.state is ProbationState.RUNNING:
            self._left -= 1
            if self._left < 0 and self.how == "returns":
                self._over(ProbationState.RETURNED)
            elif self._left < 0 and self.how != "mute":
                self._over(ProbationState.PASSED)
        stored = tuple(filter(None, (self.active, self.previous)))
        return Seen(self.active, self.previous, stored, self.probation)

    def let_go(self) -> None:
        """As of a connection."""

    def move(self, sha256: str) -> None:
        """Take a model, if it is not the active one."""
        if self.how == "offline":
            raise DeviceUnreachableError("nobody answers")
        if self.how == "refuses" and sha256 == TARGET:
            raise ModelRefusedError("it does not fit", reason="MODEL_UNFIT")
        if sha256 == self.active:
            return
        self.swaps.append(sha256)
        probation = self.probation
        if probation is not None and probation.state is ProbationState.RUNNING:
            assert sha256 == self.previous, "only the model before can be activated in a probation"
            self._over(ProbationState.RETURNED)
            return
        self.previous, self.active = self.active, sha256
        if self.previous:
            self._left = self.looks
            self.probation = Probation(
                sha256,
                self.previous,
                ProbationState.RUNNING,
                ReturnCause.UNSPECIFIED,
                "",
                None,
                None,
                len(self.swaps),
            )

    def _over(self, state: ProbationState) -> None:
        assert self.probation is not None
        returned = state is ProbationState.RETURNED
        cause = ReturnCause.MODEL_FAILED if returned else ReturnCause.UNSPECIFIED
        self.probation = dataclasses.replace(self.probation, state=state, return_cause=cause)
        if returned:
            self.active, self.previous = self.previous, ""


class MemoryHands(LocalHands):
    """Hands on devices in memory.

    Args:
        devices: by address.
        concurrency: how many are worked on at a time.
        at: called with the name of each place at which a kill is of interest.
    """

    def __init__(
        self,
        devices: dict[str, MemoryDevice],
        concurrency: int = 1,
        at: Callable[[str], object] = lambda _: None,
    ) -> None:
        super().__init__(concurrency=concurrency)
        self.devices = devices
        self._at = at

    async def _looked(self, stack: Any, device: FleetDevice) -> Any:
        await asyncio.sleep(0)
        there = self.devices[device.address]
        try:
            return there, there.look()
        except HolterError as error:
            return None, error

    async def _moved(self, there: Any, device: FleetDevice, move: Move, seconds: float) -> Report:
        await asyncio.sleep(0)
        self._at("before the move")
        how = there.how
        is_cut, is_lost = how.startswith("cut"), how.startswith("lost")
        if is_cut or is_lost:
            there.how = "takes"
        try:
            if not how.endswith("early"):
                there.move(move.sha256)
        except HolterError as error:
            return Report(error=error)
        self._at("after the move")
        lost = DeviceUnreachableError("the connection broke")
        if is_lost:
            there.how = "offline"
            return Report(error=lost)
        return Report(seen=there.look(), error=lost if is_cut else None)


class KillingJournal(Journal):
    """A journal whose host is killed before or after its n-th write, if n is given."""

    at: Callable[[str], object] = staticmethod(lambda _: None)

    async def record(self, rollout_id: int, rows: Iterable[tuple[int, Row]]) -> None:
        """Write, or be killed."""
        self.at("before a write of rows")
        await super().record(rollout_id, rows)
        self.at("after a write of rows")

    async def change(self, rollout_id: int, **values: object) -> RolloutRecord:
        """Write, or be killed."""
        self.at("before a write of the rollout")
        record = await super().change(rollout_id, **values)
        self.at("after a write of the rollout")
        return record


class Kills:
    """Kills the host at some of the places that it comes to, counted from 1.

    Attributes:
        count: places so far.
        killed: where it did.
    """

    def __init__(self, at: Iterable[int] = ()) -> None:
        self._at = frozenset(at)
        self.count = 0
        self.killed: list[str] = []

    def __call__(self, place: str) -> None:
        """Come to a place, and die there if it is one of them."""
        self.count += 1
        if self.count in self._at:
            self.killed.append(place)
            raise Killed(place)


def devices_of(count: int) -> Iterator[FleetDevice]:
    """Devices d0, d1, … at the addresses 0, 1, …"""
    return (FleetDevice(f"d{number}", str(number)) for number in range(count))


async def created(
    journal: Journal,
    plan: Plan,
    target: str = TARGET,
    signature: ModelSignature | None = None,
) -> int:
    """A new rollout of as many devices as the plan has; its number in the journal."""
    rows = [
        Row(device, wave=wave_of(position, plan.waves), target=target)
        for position, device in enumerate(devices_of(plan.waves[-1]))
    ]
    record = RolloutRecord(Kind.DEPLOY, target, "m", "fleet.toml", plan, "me@here", now())
    record, lock = await journal.create(record, rows, b"model", signature)
    lock.release()
    return record.id


async def engine_of(journal: Journal, number: int, hands: MemoryHands) -> Engine:
    """What goes on with a rollout of a journal; its clock goes on with its sleep."""
    now_seconds = [0.0]

    async def sleep(seconds: float) -> None:
        now_seconds[0] += seconds
        await asyncio.sleep(0)

    return Engine(
        await journal.load(number),
        await journal.rows(number),
        journal,
        hands,
        clock=lambda: now_seconds[0],
        sleep=sleep,
    )
