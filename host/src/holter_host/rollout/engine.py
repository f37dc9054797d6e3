"""Runs a rollout: wave after wave, each behind the health of the one before.

It holds the rows of all devices, writes each down before and after something is done with its
device, and decides; what is done, `Hands` do. Whoever runs it again after it was cut off at any
point gets to the same end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from holter_host.errors import HolterError
from holter_host.inventory import FleetDevice
from holter_host.rollout import states
from holter_host.rollout.hands import Hands, Look
from holter_host.rollout.journal import Journal
from holter_host.rollout.plan import OnFailure
from holter_host.rollout.record import OVER, Kind, RolloutRecord, RolloutState
from holter_host.rollout.rows import UNSETTLED, DeviceState, Move, Report, Row, Seen

POLL_SECONDS: Final = 0.5
MOST_POLL_SECONDS: Final = 5.0
LOOKS_A_SECOND: Final = 100  # at most, or thousands of devices would be asked all the time

Tell = Callable[[Row], object]


class Engine:
    """A rollout that is held by a lock, and what runs it.

    Args:
        record: the rollout, as the journal has it.
        rows: its devices by their position, as the journal has them.
        journal: where everything is written down.
        hands: what works on the devices.
        tell: called with each row that has changed.
        clock: seconds that never go back.
        sleep: waits.

    Attributes:
        record: the rollout, now.
        rows: its devices, now.
    """

    def __init__(
        self,
        record: RolloutRecord,
        rows: dict[int, Row],
        journal: Journal,
        hands: Hands,
        *,
        tell: Tell = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.record = record
        self.rows = rows
        self._journal = journal
        self._hands = hands
        self._tell = tell
        self._clock = clock
        self._sleep = sleep
        self._positions = {row.device.address: position for position, row in rows.items()}
        self._wave = 0
        self._failures = sum(row.counts_as_failed for row in rows.values())

    async def run(self) -> RolloutState:
        """Go on with the rollout, as far as it goes; how far that was.

        Raises:
            JournalError: the journal cannot be written; nothing more was done then.
        """
        if self.record.state in OVER:
            return self.record.state
        if self.record.state is not RolloutState.UNDOING:
            await self._settle()
            await self._run_waves()
        if self.record.state is RolloutState.UNDOING:
            await self._undo()
        return self.record.state

    async def undo(self) -> RolloutState:
        """Take back what the rollout changed."""
        if self.record.state is not RolloutState.ROLLED_BACK:
            await self._change(RolloutState.UNDOING)
        return await self.run()

    async def _settle(self) -> None:
        """Find out what became of devices whose rollout was cut off, or gave no verdict in time."""
        overdue = [
            (position, row.to(row.state))
            for position, row in self.rows.items()
            if row.state is DeviceState.DEPLOYED and row.reason
        ]
        await self._write(overdue)
        doubtful = [row.device for row in self.rows.values() if row.is_in_doubt]
        await self._hands.look(doubtful, self._settled)

    async def _run_waves(self) -> None:
        for wave in range(len(self.record.plan.waves)):
            self._wave = wave
            await self._change(RolloutState.RUNNING, wave=max(wave, self.record.wave))
            if not await self._run_wave():
                return
        await self._finish()

    async def _run_wave(self) -> bool:
        """Give every device up to this wave its turn; whether the next wave may begin."""
        if not await self._may_begin():
            return False
        await self._hands.carry(
            self._turns(), self._begun, self._ended, self.record.plan.deploy_seconds
        )
        await self._wait_for_verdicts()
        return await self._is_healthy()

    async def _may_begin(self) -> bool:
        """Whether a wave needs no approval, or has it."""
        if not self.record.plan.approve or not self._of_wave(UNSETTLED):
            return True
        if (await self._journal.load(self.record.id)).approved >= self._wave:
            return True
        await self._change(RolloutState.PAUSED, note=f"wave {self._wave + 1} waits for an approval")
        return False

    def _turns(self) -> Iterator[FleetDevice]:
        """The devices of the wave whose turn it is, until too many have failed."""
        for _, row in self._of_wave(UNSETTLED):
            if self._exceeded():
                return
            yield row.device

    async def _begun(self, looks: Sequence[Look]) -> list[Move | None]:
        def begin(row: Row, seen: Seen) -> tuple[Row, Move | None]:
            began, move = states.begin(row, seen, self.record.kind is Kind.DEPLOY)
            # Too many may have failed since it got its turn.
            return (row, None) if move is not None and self._exceeded() else (began, move)

        return await self._write_looks(looks, begin, states.not_asked)

    async def _ended(self, reports: Sequence[tuple[FleetDevice, Report]]) -> None:
        await self._write_reports(reports, states.end)

    async def _settled(self, looks: Sequence[Look]) -> None:
        await self._write_looks(looks, lambda row, seen: (states.settle(row, seen), None))

    async def _judged(self, looks: Sequence[Look]) -> None:
        await self._write_looks(
            looks, lambda row, seen: (states.verdict(row, seen), None), states.no_verdict
        )

    async def _begun_undo(self, looks: Sequence[Look]) -> list[Move | None]:
        return await self._write_looks(looks, states.begin_undo, states.not_asked_undo)

    async def _ended_undo(self, reports: Sequence[tuple[FleetDevice, Report]]) -> None:
        await self._write_reports(reports, states.end_undo)

    async def _wait_for_verdicts(self) -> None:
        """Ask the devices that have the model for their verdicts until all have one, or too late.

        Who gives none in time counts as failed, and is asked again by a resume.
        """
        end = self._clock() + self.record.plan.health_seconds
        pause = POLL_SECONDS
        asked = False
        while waiting := self._in((DeviceState.STARTED, DeviceState.DEPLOYED)):
            if self._undoes():
                return
            if asked and self._clock() >= end:
                await self._write([(position, states.overdue(row)) for position, row in waiting])
                return
            if asked:
                await self._sleep(max(pause, len(waiting) / LOOKS_A_SECOND))
                pause = min(pause * 1.5, MOST_POLL_SECONDS)
            asked = True
            await self._hands.look([row.device for _, row in waiting], self._judged)

    async def _is_healthy(self) -> bool:
        """Whether the waves so far let the next one begin; else the rollout ends here."""
        if self._exceeded():
            allowed = self.record.plan.max_failures
            note = f"{self._failures} failed, of which {allowed} may"
            await self._change(
                RolloutState.UNDOING if self._undoes() else RolloutState.HALTED, note=note
            )
            return False
        last = self._wave == len(self.record.plan.waves) - 1
        if not last and not self._of_wave((DeviceState.HEALTHY,)):
            note = f"no device of wave {self._wave + 1} took the model, so nothing is known of it"
            await self._change(RolloutState.HALTED, note=note)
            return False
        return True

    async def _finish(self) -> None:
        """Every wave has had its turn."""
        is_open = any(map(states.is_open, self.rows.values()))
        await self._change(RolloutState.PARTIAL if is_open else RolloutState.DONE)

    async def _undo(self) -> None:
        """Take back what the rollout changed; who is offline is asked again by a resume."""
        await self._write([(n, states.leave(row)) for n, row in self.rows.items()])
        changed = [row.device for row in self.rows.values() if row.may_be_changed]
        await self._hands.carry(
            changed, self._begun_undo, self._ended_undo, self.record.plan.deploy_seconds
        )
        if not any(row.state is DeviceState.UNDOING for row in self.rows.values()):
            await self._change(RolloutState.ROLLED_BACK, note=self.record.note)

    def _of_wave(self, wanted: Sequence[DeviceState]) -> list[tuple[int, Row]]:
        """The devices of this wave that are in one of these states."""
        return [item for item in self._in(wanted) if item[1].wave == self._wave]

    def _in(self, wanted: Sequence[DeviceState]) -> list[tuple[int, Row]]:
        """The devices that are in one of these states, by their position."""
        return [item for item in self.rows.items() if item[1].state in wanted]

    def _undoes(self) -> bool:
        """Whether what was done is to be taken back."""
        return self._exceeded() and self.record.plan.on_failure is OnFailure.ROLLBACK

    def _exceeded(self) -> bool:
        # Also where a resume is at an earlier wave: by the last one that had its turn.
        return self.record.plan.exceeded(self._failures, self.record.wave)

    async def _write_looks(
        self,
        looks: Sequence[Look],
        follow: Callable[[Row, Seen], tuple[Row, Move | None]],
        unknown: Callable[[Row, HolterError], Row] = states.not_asked,
    ) -> list[Move | None]:
        """Write down what follows from what devices have, and give what is to be done with them."""
        rows: list[tuple[int, Row]] = []
        moves: list[Move | None] = []
        for device, seen in looks:
            position = self._positions[device.address]
            row, move = self.rows[position], None
            if isinstance(seen, Seen):
                row, move = follow(row, seen)
            else:
                row = unknown(row, seen)
            rows.append((position, row))
            moves.append(move)
        await self._write(rows)
        return moves

    async def _write_reports(
        self,
        reports: Sequence[tuple[FleetDevice, Report]],
        end: Callable[[Row, Report], Row],
    ) -> None:
        """Write down what follows from what became of moves."""
        positions = [self._positions[device.address] for device, _ in reports]
        ended = [
            (position, end(self.rows[position], report))
            for position, (_, report) in zip(positions, reports, strict=True)
        ]
        await self._write(ended)

    async def _write(self, rows: Sequence[tuple[int, Row]]) -> None:
        """Write rows down, and let them be what is known from then on."""
        changed = [(position, row) for position, row in rows if row != self.rows[position]]
        await self._journal.record(self.record.id, changed)
        for position, row in changed:
            self._failures += row.counts_as_failed - self.rows[position].counts_as_failed
            self.rows[position] = row
            self._tell(row)

    async def _change(self, state: RolloutState, **values: Any) -> None:
        values.setdefault("note", "")
        self.record = await self._journal.change(self.record.id, state=state, **values)
