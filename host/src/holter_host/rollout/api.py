"""Rollouts as a script sees them: something to iterate over, which can be taken up again.

rollout = fleet.deploy("rhythm.tflite", waves="1,10%,100%")
async for device in rollout:
    print(device.device.name, device.state, device.message)
print(rollout.id, rollout.state)

async for device in resume(rollout.id): ...
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from holter_host._connection import CALL_SECONDS
from holter_host.bundle import Bundle, parse_bundle
from holter_host.errors import BadInputError
from holter_host.rollout.engine import Engine
from holter_host.rollout.hands import CONCURRENCY, Hands, LocalHands
from holter_host.rollout.journal import Journal, default_path
from holter_host.rollout.lock import Lock, RolloutBusyError
from holter_host.rollout.plan import OnFailure, Plan, Share
from holter_host.rollout.record import (
    OVER,
    Kind,
    RolloutRecord,
    RolloutState,
    RolloutSummary,
    exit_code,
)
from holter_host.rollout.rows import DeviceState, Row

__all__ = [
    "DeviceState",
    "OnFailure",
    "Plan",
    "Rollout",
    "RolloutBusyError",
    "RolloutDevice",
    "RolloutRecord",
    "RolloutState",
    "RolloutSummary",
    "approve_rollout",
    "default_hands",
    "resume_rollout",
    "rollout_devices",
    "rollouts",
    "undo_rollout",
]

RolloutDevice = Row
JournalPath = str | os.PathLike[str] | None

# In these a device is told: whatever comes next, if anything, it is another outcome.
_TOLD: Final = (
    DeviceState.HEALTHY,
    DeviceState.FAILED,
    DeviceState.PENDING,
    DeviceState.ROLLED_BACK,
    DeviceState.HELD,
)

MakeHands = Callable[[Bundle | None], Hands]


@dataclasses.dataclass(slots=True)
class Begun:
    """A rollout that is held, and what is needed to run it."""

    record: RolloutRecord
    rows: dict[int, Row]
    model: Bundle | None
    lock: Lock


Begin = Callable[[Journal], Awaitable[Begun]]


class Rollout:
    """A rollout. It runs while it is iterated over, which gives the devices as they are settled.

    A device is given when it is HEALTHY, FAILED, PENDING, HELD or ROLLED_BACK, or gave no verdict
    in time (DEPLOYED, with a reason); so one that is taken back later is given again, and the last
    time counts. Who stops iterating stops the rollout; `resume_rollout` takes it up again.

    Attributes:
        journal: the file of its journal.
        hands: makes what works on the devices.
        record: the rollout as a whole; None before it has begun.
        devices: what is known of each device, by its name, in the order of their turn.
    """

    def __init__(
        self,
        begin: Begin,
        journal: JournalPath,
        hands: MakeHands = LocalHands,
        planned: Iterable[Row] = (),
        undo: bool = False,
    ) -> None:
        self._begin = begin
        self.journal = Path(journal) if journal is not None else default_path()
        self.hands = hands
        self._undo = undo
        self.record: RolloutRecord | None = None
        self.devices: Mapping[str, Row] = {row.device.name: row for row in planned}

    @property
    def id(self) -> int:
        """Its number in its journal; 0 before it has begun."""
        return self.record.id if self.record else 0

    @property
    def state(self) -> RolloutState:
        """How far it is."""
        return self.record.state if self.record else RolloutState.RUNNING

    @property
    def exit_code(self) -> int:
        """What `holter fleet` ends with: 0 ok, 1 nothing was done, 3 partial, 4 halted.

        Where it was to be taken back (`undo_rollout`): 0 it is, 3 not on every device.
        """
        return exit_code(self.state, self.devices.values(), self._undo)

    async def run(self) -> RolloutState:
        """Run it to where it ends, and tell nothing meanwhile."""
        async for _ in self:
            pass
        return self.state

    async def __aiter__(self) -> AsyncGenerator[Row, None]:
        async with Journal(self.journal) as journal:
            begun = await self._begin(journal)
            try:
                async with contextlib.aclosing(self._run(journal, begun)) as rows:
                    async for row in rows:
                        yield row
            finally:
                begun.lock.release()

    async def _run(self, journal: Journal, begun: Begun) -> AsyncGenerator[Row, None]:
        told: asyncio.Queue[Row | None] = asyncio.Queue()
        self.record = begun.record
        self.devices = devices = {row.device.name: row for row in begun.rows.values()}

        def tell(row: Row) -> None:
            devices[row.device.name] = row
            self.record = engine.record  # its wave is that of what is told
            if row.state in _TOLD or row.counts_as_failed:
                told.put_nowait(row)

        hands, begun.model = self.hands(begun.model), None
        engine = Engine(begun.record, begun.rows, journal, hands, tell=tell)

        async def run() -> None:
            async with hands:
                await (engine.undo() if self._undo else engine.run())

        work = asyncio.create_task(run())
        work.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (row := await told.get()) is not None:
                yield row
            await work
        finally:
            work.cancel()
            await asyncio.wait([work])
            self.record = engine.record


def default_hands(*, concurrency: int = CONCURRENCY, timeout: float = CALL_SECONDS) -> MakeHands:
    """What makes the hands of a rollout: this process, on so many devices at a time.

    Args:
        concurrency: how many are worked on at a time.
        timeout: seconds that a call to a device may take, but for the deploy itself.
    """
    return functools.partial(LocalHands, concurrency=concurrency, timeout=timeout)


def resume_rollout(
    rollout_id: int,
    *,
    journal: JournalPath = None,
    approve: bool = False,
    max_failures: str | None = None,
    hands: MakeHands = LocalHands,
) -> Rollout:
    """Go on with a rollout that was cut off, paused or halted, or ask again who was offline.

    What is in doubt is settled by asking the devices; none is done twice and none left out. One
    that is over gives nothing.

    Args:
        rollout_id: its number.
        journal: the journal's file; by default the user's own.
        approve: whether the next wave may begin, where it wants an approval.
        max_failures: how many may fail from now on; see `Fleet.deploy`.
        hands: makes what works on the devices.

    Raises (when it is iterated over):
        RolloutNotFoundError: the journal has none of this number.
        RolloutBusyError: it runs, or another one that has a device in common.
        JournalError: the journal cannot be used.
    """
    share = Share.parse(max_failures, "max_failures") if max_failures is not None else None

    async def begin(journal: Journal) -> Begun:
        begun = await _held(journal, rollout_id)
        plan = begun.record.plan
        if share is not None:
            plan = dataclasses.replace(plan, max_failures=share)
            begun.record = await journal.change(rollout_id, plan=plan)
        if approve and begun.record.state is RolloutState.PAUSED:
            begun.record = await journal.change(rollout_id, approved=begun.record.wave)
        return begun

    return Rollout(begin, journal, hands)


def undo_rollout(
    rollout_id: int, *, journal: JournalPath = None, hands: MakeHands = LocalHands
) -> Rollout:
    """Take back what a rollout changed: each device gets the model that it had before.

    A device that had none keeps the new one, and one that has another by now is left as it is: they
    are HELD. The rest is as for `resume_rollout`.
    """

    async def begin(journal: Journal) -> Begun:
        return await _held(journal, rollout_id)

    return Rollout(begin, journal, hands, undo=True)


async def approve_rollout(rollout_id: int, *, journal: JournalPath = None) -> RolloutRecord:
    """Let the next wave of a paused rollout begin, when somebody resumes it.

    Raises:
        BadInputError: it does not wait for an approval.
        RolloutNotFoundError: the journal has none of this number.
    """
    async with _opened(journal) as opened:
        record = await opened.load(rollout_id)
        if record.state is not RolloutState.PAUSED:
            raise BadInputError(
                f"Rollout {rollout_id} is {record.state.lower().replace('_', ' ')} and waits for "
                "no approval."
            )
        return await opened.change(rollout_id, approved=record.wave)


async def rollouts(*, journal: JournalPath = None, limit: int = 20) -> list[RolloutSummary]:
    """The newest rollouts of a journal, the newest first."""
    async with _opened(journal) as opened:
        return await opened.history(limit)


async def rollout_devices(
    rollout_id: int, *, journal: JournalPath = None
) -> tuple[RolloutRecord, list[Row]]:
    """A rollout, and what is known of its devices.

    Raises:
        RolloutNotFoundError: the journal has none of this number.
    """
    async with _opened(journal) as opened:
        return await opened.load(rollout_id), list((await opened.rows(rollout_id)).values())


def _opened(journal: JournalPath) -> Journal:
    return Journal(journal if journal is not None else default_path())


async def _held(journal: Journal, rollout_id: int) -> Begun:
    """A rollout of the journal, held."""
    lock = await journal.hold(rollout_id)
    try:
        record = await journal.load(rollout_id)
        model = None
        if record.kind is Kind.DEPLOY and record.state not in OVER:
            data, signature = await journal.model(record.target)
            bare = await asyncio.to_thread(parse_bundle, data, Path(record.label))
            model = dataclasses.replace(bare, signature=signature)
        return Begun(record, await journal.rows(rollout_id), model, lock)
    except BaseException:
        lock.release()
        raise
