"""The verb `fleet status`."""

from __future__ import annotations

import asyncio

import click

from holter_host import DeviceStatus, Fleet, FleetDevice, Outcome, RecordingState, SamplerState
from holter_host.cli._common import emit_json, json_option, run_async
from holter_host.cli._output import plain, state
from holter_host.cli.fleet._common import (
    COLOURS,
    exit_code,
    fleet_options,
    outcome_json,
    summary,
    tell_summary,
    wants_json,
)
from holter_host.cli.fleet._table import Row, live_table

COLUMNS = ("device", "state", "sampler", "missing", "model", "classifier", "note")


@click.command
@fleet_options
@click.option(
    "--watch",
    "every",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Ask again and again, so many seconds apart, until Ctrl-C.",
)
@json_option("Print one JSON object a device: device, state, status or error, …")
def status(fleet: Fleet, every: float | None, as_json: bool) -> int:
    """Show what each device is and how it does; those that do not answer are offline.

    `missing` is how many frames of the last minute were not read.

    \b
    Example:
      holter fleet status
      holter fleet status --select site=a --json | jq -r 'select(.state != "OK").device'
    """
    as_json = wants_json(as_json)
    outcomes: dict[str, Outcome[DeviceStatus]] = {}
    run_async(_rounds(fleet, outcomes, every, as_json))
    states = [outcome.state for outcome in outcomes.values()]
    tell_summary(states, as_json)
    return exit_code(states)


async def _rounds(
    fleet: Fleet,
    outcomes: dict[str, Outcome[DeviceStatus]],
    every: float | None,
    as_json: bool,
) -> None:
    devices = fleet.inventory.devices

    def rows() -> list[Row]:
        return [_row(device, outcomes.get(device.name)) for device in devices]

    def foot() -> str:
        waiting = len(devices) - len(outcomes)
        known = summary([outcome.state for outcome in tuple(outcomes.values())])
        return ", ".join(filter(None, [known, f"{waiting} to come" if waiting else ""]))

    with live_table(COLUMNS, rows, foot=foot, whole=every is None, quiet=as_json):
        async with fleet:
            while True:
                async for outcome in fleet.status():
                    outcomes[outcome.device.name] = outcome
                    if as_json:
                        emit_json({**outcome_json(outcome), "status": plain(outcome.value)})
                if every is None:
                    return
                await asyncio.sleep(every)


def _row(device: FleetDevice, outcome: Outcome[DeviceStatus] | None) -> Row:
    if outcome is None:
        return Row((device.name, "…"))
    found, word, colour = outcome.value, state(outcome.state), COLOURS[outcome.state]
    if found is None:
        return Row((device.name, word, "", "", "", "", str(outcome.error)), colour, urgency=2)
    model, recent, note = found.active_model, found.quality.last_minute, _note(found)
    cells = (
        device.name,
        word,
        f"{found.session.rate_hz:g} Hz, {state(found.sampler_state)}",
        str(recent.missing_count),
        f"{model.spec.name} {model.spec.version} ({model.sha256[:8]})" if model else "none",
        state(found.classifier_state),
        note,
    )
    return Row(cells, colour, urgency=bool(note))


def _note(found: DeviceStatus) -> str:
    """What deserves attention."""
    notes = []
    if found.recording.state is RecordingState.STOPPED:
        notes.append(f"not recording: {found.recording.error or 'the disk takes no frames'}")
    if found.sampler_error and found.sampler_state is not SamplerState.RUNNING:
        notes.append(found.sampler_error)
    if found.classifier_error:
        notes.append(found.classifier_error)
    return "; ".join(notes)
