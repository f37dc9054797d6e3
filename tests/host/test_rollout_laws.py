"""Laws of a rollout, whatever the devices do and wherever its host is killed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from holter_host.rollout.engine import Engine
from holter_host.rollout.plan import OnFailure, Plan, Share
from holter_host.rollout.record import RolloutState
from holter_host.rollout.rows import DeviceState, Row
from support.rollouts import (
    BEFORE,
    TARGET,
    Killed,
    KillingJournal,
    Kills,
    MemoryDevice,
    MemoryHands,
    created,
    engine_of,
)

HOWS = (
    *["takes"] * 4,
    *("refuses", "returns", "offline", "mute", "cut early", "cut late", "lost early", "lost late"),
)
SETTLED = {
    DeviceState.HEALTHY,
    DeviceState.FAILED,
    DeviceState.ROLLED_BACK,
    DeviceState.HELD,
    DeviceState.PLANNED,
}


class Watched(MemoryHands):
    """Hands that note how many had failed whenever a device was given the model."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.engine: Engine | None = None
        self.begun: list[tuple[int, float]] = []

    async def _moved(self, there, device, move, seconds):
        if move.upload:
            record, rows = self.engine.record, self.engine.rows.values()
            failures = sum(row.counts_as_failed for row in rows)
            self.begun.append(
                (failures, record.plan.max_failures.of(record.plan.waves[record.wave]))
            )
        return await super()._moved(there, device, move, seconds)


async def run_to_end(folder: Path, plan: Plan, devices, kills: Kills, concurrency: int):
    """Run a rollout, again after each kill, and again when everybody is there."""
    hands = Watched(devices, concurrency, kills)
    path = folder / "rollouts.db"
    async with KillingJournal(path, synchronous="OFF") as journal:
        number = await created(journal, plan)
    rows: dict[int, Row] = {}
    for time in range(2 + len(plan.waves)):  # each wave may wait for one whose link broke
        if time:
            for device in devices.values():
                device.how = {"offline": "takes", "mute": "takes"}.get(device.how, device.how)
        while True:
            async with KillingJournal(path, synchronous="OFF") as journal:
                engine = await engine_of(journal, number, hands)
                hands.engine = engine
                journal.at = kills
                try:
                    await engine.run()
                except Killed:
                    continue
                rows = await journal.rows(number)
                assert rows == engine.rows, "what is known is what is written down"
                break
    return engine.record, rows, hands.begun


plans = st.builds(
    Plan,
    waves=st.sampled_from([(1, 3, 6), (6,), (2, 6), (1, 2, 3, 6)]),
    max_failures=st.sampled_from([Share(0), Share(1), Share(34, True), Share(100, True)]),
    on_failure=st.sampled_from(OnFailure),
)
fleets = st.lists(
    st.builds(
        MemoryDevice,
        active=st.sampled_from([BEFORE, BEFORE, BEFORE, "", TARGET]),
        how=st.sampled_from(HOWS),
        looks=st.integers(0, 3),
    ),
    min_size=6,
    max_size=6,
)
kills_at = st.lists(st.integers(1, 60), max_size=5)


def check(record, rows: Sequence[Row], devices, before: Sequence[str]) -> None:
    """Each device is in exactly one state, and has what that state says."""
    for number, row in enumerate(rows):
        device = devices[str(number)]
        waits = record.state is RolloutState.HALTED and row.state is DeviceState.PENDING
        assert row.state in SETTLED or (waits and row.before is None), f"{row} is in doubt"
        assert device.swaps.count(TARGET) <= 1, "it was given the model twice"
        if row.state is DeviceState.HEALTHY:
            assert device.active == TARGET
        elif row.state is DeviceState.HELD:
            assert (row.reason, device.active, before[number]) == ("NO_MODEL_BEFORE", TARGET, "")
        else:
            assert device.active == before[number]
        if row.state is DeviceState.PLANNED:
            assert device.swaps == []
            assert record.state in (RolloutState.HALTED, RolloutState.ROLLED_BACK)
    if record.state is RolloutState.DONE:
        assert {row.state for row in rows} <= {DeviceState.HEALTHY, DeviceState.FAILED}
    if record.state is RolloutState.ROLLED_BACK:
        healthy = [row for row in rows if row.state is DeviceState.HEALTHY]
        assert all(row.before == TARGET for row in healthy), "what it changed, it took back"


@given(plan=plans, fleet=fleets, at=kills_at, concurrency=st.sampled_from([1, 3]))
@settings(max_examples=150, deadline=None)
async def test_every_device_ends_in_one_state(plan, fleet, at, concurrency) -> None:
    """However it is killed, each device ends in one state, which is true, and has one deploy."""
    devices = {str(number): device for number, device in enumerate(fleet)}
    before = [device.active for device in fleet]
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(at)
        record, rows, begun = await run_to_end(Path(folder), plan, devices, kills, concurrency)
    check(record, list(rows.values()), devices, before)
    for failures, allowed in begun:
        assert failures <= allowed + concurrency - 1, "one began when too many had failed"
