"""The verbs about rollouts that have begun: `fleet resume`, `fleet approve`, `fleet history`."""

from __future__ import annotations

import datetime
from collections import Counter
from pathlib import Path
from typing import Any

import click

from holter_host import (
    RolloutSummary,
    approve_rollout,
    resume_rollout,
    rollout_devices,
    rollouts,
)
from holter_host.cli._common import NOTHING, emit, emit_json, json_option, note, run_async
from holter_host.cli._output import plain, state, table
from holter_host.cli.fleet._common import Workers, wants_json, work_flags
from holter_host.cli.fleet._deploy import JSON, journal_option
from holter_host.cli.fleet._progress import counted, device_json, follow


@click.command
@click.argument("rollout_id", metavar="ROLLOUT", type=int)
@click.option("--approve", is_flag=True, help="Let the next wave begin, if it waits for that.")
@click.option("--max-failures", metavar="N|N%", help="How many may fail from now on.")
@journal_option
@work_flags
@json_option(JSON)
def resume(
    rollout_id: int,
    approve: bool,
    max_failures: str | None,
    journal: Path | None,
    workers: Workers,
    as_json: bool,
) -> int:
    """Go on with a rollout that was cut off, paused or halted, or ask again who was offline.

    What is in doubt is settled by asking the devices: none is done twice and none left out. It
    needs neither the inventory nor the model file: both are in the journal.

    \b
    Example:
      holter fleet resume 7
      holter fleet resume 7 --approve
    """
    hands = workers.hands()
    rollout = resume_rollout(
        rollout_id, journal=journal, approve=approve, max_failures=max_failures, hands=hands
    )
    return follow(rollout, wants_json(as_json))


@click.command
@click.argument("rollout_id", metavar="ROLLOUT", type=int)
@journal_option
@json_option("Print one JSON object: the rollout.")
def approve(rollout_id: int, journal: Path | None, as_json: bool) -> None:
    """Let the next wave of a rollout that waits for it begin, when somebody resumes it.

    \b
    Example:
      holter fleet approve 7
    """
    record = run_async(approve_rollout(rollout_id, journal=journal))
    if as_json:
        emit_json(plain(record))
    else:
        emit(
            f"wave {record.wave + 1} of rollout {record.id} may begin: "
            f"holter fleet resume {record.id}"
        )


@click.command
@click.argument("rollout_id", metavar="[ROLLOUT]", type=int, required=False)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@journal_option
@json_option("Print one JSON object a rollout, or a device of the ROLLOUT.")
def history(rollout_id: int | None, limit: int, journal: Path | None, as_json: bool) -> int:
    """List the newest rollouts, or show what is known of the devices of one.

    Exit code 5 says that there are none.

    \b
    Example:
      holter fleet history
      holter fleet history 7 --json | jq -r 'select(.state == "PENDING").device'
    """
    as_json = wants_json(as_json)
    if rollout_id is not None:
        return _devices(rollout_id, journal, as_json)
    found = run_async(rollouts(journal=journal, limit=limit))
    if as_json:
        for summary in found:
            emit_json(_summary_json(summary))
    elif found:
        for line in table(map(_line, found)):
            emit(line)
    else:
        note("there was no rollout yet; begin one with: holter fleet deploy OUT.tflite")
    return 0 if found else NOTHING


def _devices(rollout_id: int, journal: Path | None, as_json: bool) -> int:
    record, devices = run_async(rollout_devices(rollout_id, journal=journal))
    if as_json:
        for device in devices:
            emit_json(device_json(device))
        return 0
    counts = counted(Counter(device.state for device in devices))
    emit(
        f"rollout {record.id}: {record.kind} of {record.label} by {record.started_by}, "
        f"{_time(record.start_time)}, {state(record.state)}; {counts}"
    )
    rows = [
        (device.device.name, str(device.wave + 1), state(device.state), device.message)
        for device in devices
    ]
    for line in table(rows):
        emit(line)
    return 0


def _summary_json(summary: RolloutSummary) -> dict[str, Any]:
    values: dict[str, Any] = plain(summary.rollout)
    devices = {key.value: count for key, count in summary.devices.items()}
    plan = summary.rollout.plan.as_json()
    return values | {"plan": plan, "devices": devices, "runner": summary.runner}


def _line(summary: RolloutSummary) -> tuple[str, ...]:
    record = summary.rollout
    return (
        str(record.id),
        _time(record.start_time),
        f"{record.kind} of {record.label}",
        "cut off" if summary.is_cut_off else state(record.state),
        counted(summary.devices),
        record.started_by,
    )


def _time(text: str) -> str:
    return f"{datetime.datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"
