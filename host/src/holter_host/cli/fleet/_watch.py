"""The verb `fleet watch`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import click

from holter_host import (
    Classification,
    ConnectionChange,
    DeviceError,
    Fleet,
    FleetEvent,
    Gap,
    ModelChanged,
    OutcomeState,
    SampleBlock,
    StreamEnd,
)
from holter_host.cli._common import emit_json, json_option, run_async, within
from holter_host.cli._output import electrodes, event_json, plain, verdict
from holter_host.cli._streaming import watch_options
from holter_host.cli.fleet._common import (
    COLOURS,
    error_json,
    exit_code,
    fleet_options,
    summary,
    tell_summary,
    wants_json,
)
from holter_host.cli.fleet._table import Row, live_table

COLUMNS = ("device", "state", "class", "at", "windows", "no class", "missing", "note")


@click.command
@fleet_options
@watch_options
@json_option("Print one JSON object an event: device, time, and the event under its kind.")
def watch(
    fleet: Fleet,
    samples: bool,
    classifications: bool,
    start: Any,
    seconds: float | None,
    count: int | None,
    no_reconnect: bool,
    as_json: bool,
) -> int:
    """Show what the devices stream, merged, until all have ended, --seconds, --count or Ctrl-C.

    The table has a row a device: its last class and when that was, how many windows and frames had
    none, and what is wrong now. An electrode that is off is seen at once with --samples, and else
    by the windows that have no class for it.

    A JSON line has the device's name, the time by this computer's clock (null where the device's is
    simulated), and one of session_started, sample_block, gap, model_changed, classification, end as
    `holter watch --json` has them, or connection (connected, reason, seconds) or error.

    A device that is lost is tried again until it is back, and nothing that it keeps is missed. The
    exit code counts the devices that stream at the end.

    \b
    Example:
      holter fleet watch --select site=a
      holter fleet watch --json | jq -c 'select(.classification.label == "V") | [.device, .time]'
    """
    as_json = wants_json(as_json)
    reconnect = 0.0 if no_reconnect else None
    shown = {device.name: _Shown(device.name) for device in fleet.inventory.devices}

    def events() -> AsyncGenerator[FleetEvent, None]:
        if not samples:
            return fleet.classifications(start, reconnect=reconnect)
        if not classifications:
            return fleet.samples(start, reconnect=reconnect)
        return fleet.events(start, reconnect=reconnect)

    async def work() -> None:
        left = count
        async with fleet, contextlib.aclosing(events()) as stream:
            async for event in stream:
                shown[event.device.name].take(event)
                if as_json:
                    emit_json(_json(event))
                if left is not None and isinstance(event.event, SampleBlock | Classification):
                    left -= 1
                    if left == 0:
                        return

    def rows() -> list[Row]:
        return [each.row() for each in shown.values()]

    def states() -> list[OutcomeState]:
        return [each.outcome for each in shown.values()]

    def foot() -> str:
        return summary(states())

    with live_table(COLUMNS, rows, foot=foot, whole=False, quiet=as_json):
        run_async(within(seconds, work))
    tell_summary(states(), as_json)
    return exit_code(states())


def _json(event: FleetEvent) -> dict[str, Any]:
    head = {"device": event.device.name, "time": plain(event.time)}
    match event.event:
        case ConnectionChange() as change:
            return {**head, "connection": dataclasses.asdict(change)}
        case DeviceError() as error:
            return {**head, "error": error_json(error)}
        case found:
            return {**head, **event_json(found)}


class _Shown:
    """The row of one device.

    Attributes:
        outcome: OK while it streams, and where it has ended by itself.
    """

    def __init__(self, name: str) -> None:
        self.outcome = OutcomeState.OFFLINE
        self._name = name
        self._word = "waiting"
        self._verdict = self._at = ""
        self._windows = self._unclassified = self._missing = 0
        self._notes = {"connection": "", "window": "", "electrodes": "", "model": ""}

    def take(self, event: FleetEvent) -> None:
        """Note an event."""
        match event.event:
            case ConnectionChange(connected=False, reason=reason):
                self._state(OutcomeState.OFFLINE, "lost", reason)
            case DeviceError() as error:
                outcome = OutcomeState.of(error)
                self._state(outcome, outcome.value.lower(), str(error))
            case StreamEnd(reason=reason):
                self._state(OutcomeState.OK, "ended", reason.value)
            case _:
                self._state(OutcomeState.OK, "live", "")
                self._take_signal(event)

    def _take_signal(self, event: FleetEvent) -> None:
        match event.event:
            case Classification() as window:
                self._take_window(window, event)
            case SampleBlock() as block:
                self._notes["electrodes"] = electrodes(block).strip()
            case Gap(frame_count=count):
                self._missing += count
            case ModelChanged(model_sha256=sha256):
                self._notes["model"] = "" if sha256 else "no active model"

    def _take_window(self, window: Classification, event: FleetEvent) -> None:
        when = event.time or (event.session and event.session.time(window.last_sequence))
        self._at = f"{when.astimezone():%H:%M:%S}" if when else ""
        self._windows += 1
        self._unclassified += not window.label
        self._verdict = verdict(window) if window.label else ""
        self._notes["window"] = "" if window.label else verdict(window)

    def _state(self, outcome: OutcomeState, word: str, why: str) -> None:
        self.outcome, self._word, self._notes["connection"] = outcome, word, why

    def row(self) -> Row:
        """How it looks now; what is wrong comes first where not all fit."""
        note = "; ".join(filter(None, self._notes.values()))
        numbers = (str(n or "") for n in (self._windows, self._unclassified, self._missing))
        cells = (self._name, self._word, self._verdict, self._at, *numbers, note)
        waiting = self._word == "waiting"
        urgency = 2 * (self.outcome is not OutcomeState.OK) + bool(note)
        return Row(cells, "" if waiting else COLOURS[self.outcome], urgency)
