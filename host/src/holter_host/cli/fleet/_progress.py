"""How a rollout looks while it runs and when it is over: a table, or JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import click

from holter_host import DeviceState, Rollout, RolloutDevice, RolloutState, resume_rollout
from holter_host.cli._common import emit_json, note, note_json, run_async
from holter_host.cli._output import amount, state
from holter_host.cli.fleet._table import Row, live_table

COLUMNS: Final = ("device", "state", "wave", "model before", "note")
WHOLE: Final = 40  # devices that are all shown at the end

_LOOKS: Final = {
    DeviceState.PLANNED: ("", 0),
    DeviceState.STARTED: ("cyan", 2),
    DeviceState.DEPLOYED: ("cyan", 1),
    DeviceState.HEALTHY: ("green", 0),
    DeviceState.FAILED: ("red", 5),
    DeviceState.PENDING: ("yellow", 3),
    DeviceState.UNDOING: ("magenta", 4),
    DeviceState.ROLLED_BACK: ("magenta", 1),
    DeviceState.HELD: ("yellow", 4),
}


def follow(rollout: Rollout, as_json: bool) -> int:
    """Run a rollout, show it, ask for approvals where somebody can; its exit code."""
    while True:
        _run(rollout, as_json)
        _tell(rollout, as_json)
        if rollout.state is not RolloutState.PAUSED or as_json:
            return rollout.exit_code
        if not click.confirm(f"Begin wave {_wave(rollout)}?", err=True):
            _tell_how_to_go_on(rollout)
            return rollout.exit_code
        rollout = resume_rollout(
            rollout.id, journal=rollout.journal, approve=True, hands=rollout.hands
        )


def _run(rollout: Rollout, as_json: bool) -> None:
    async def work() -> None:
        async for device in rollout:
            if as_json:
                emit_json(device_json(device))

    def rows() -> list[Row]:
        return [_row(device) for device in rollout.devices.values()]

    whole = len(rollout.devices) <= WHOLE
    try:
        with live_table(COLUMNS, rows, foot=lambda: _foot(rollout), whole=whole, quiet=as_json):
            run_async(work())
    except KeyboardInterrupt:
        if rollout.id:
            note(f"stopped; go on with: holter fleet resume {rollout.id}")
        raise


def device_json(device: RolloutDevice) -> dict[str, Any]:
    """What a rollout knows of a device, as JSON values; waves count from 1."""
    return {
        "device": device.device.name,
        "address": device.device.address,
        "labels": dict(device.device.labels),
        "wave": device.wave + 1,
        "state": device.state.value,
        "target": device.target,
        "before": device.before,
        "reason": device.reason,
        "message": device.message,
        "facts": dict(device.facts),
    }


def counted(counts: Mapping[DeviceState, int]) -> str:
    """How many devices are in each state, e.g. "3 healthy, 1 pending"."""
    return ", ".join(f"{counts[s]} {state(s)}" for s in DeviceState if counts.get(s))


def _counts(rollout: Rollout) -> Counter[DeviceState]:
    return Counter(device.state for device in rollout.devices.values())


def _tell(rollout: Rollout, as_json: bool) -> None:
    """Say how it ended, and what can be done then."""
    record = rollout.record
    assert record is not None
    found = _counts(rollout)
    if as_json:
        counts = {s.value: found[s] for s in DeviceState if found[s]}
        facts = {"id": record.id, "kind": record.kind.value, "target": record.target}
        note_json(
            {
                "rollout": facts
                | {"state": record.state.value, "note": record.note, "devices": counts}
            }
        )
        return
    text = f"rollout {record.id} ({record.label}) is {state(record.state)}"
    note(f"{text}{record.note and ': '}{record.note}")
    note(f"{amount(found.total(), 'device')}: {counted(found)}")
    if record.state is not RolloutState.PAUSED:
        _tell_how_to_go_on(rollout)


def _tell_how_to_go_on(rollout: Rollout) -> None:
    hints = {
        RolloutState.PAUSED: f"when it may: holter fleet resume {rollout.id} --approve",
        RolloutState.PARTIAL: f"to ask the others again: holter fleet resume {rollout.id}",
        RolloutState.UNDOING: f"to ask the others again: holter fleet resume {rollout.id}",
        RolloutState.HALTED: f"to go on: holter fleet resume {rollout.id}; to take it back: "
        f"holter fleet rollback {rollout.id}",
    }
    if rollout.state in hints:
        note(hints[rollout.state])


def _row(device: RolloutDevice) -> Row:
    colour, urgency = _LOOKS[device.state]
    before = "" if device.before is None else device.before[:12] or "none"
    cells = (device.device.name, state(device.state), str(device.wave + 1), before, device.message)
    return Row(cells, colour, urgency)


def _foot(rollout: Rollout) -> str:
    if rollout.record is None:
        return ""
    waves = len(rollout.record.plan.waves)
    of_waves = f"wave {_wave(rollout)} of {waves}: " if waves > 1 else ""
    return f"{of_waves}{counted(_counts(rollout))}"


def _wave(rollout: Rollout) -> int:
    return rollout.record.wave + 1 if rollout.record else 1
