"""What the verbs that stream share: where they start, and what they say of the connection."""

from __future__ import annotations

import dataclasses
import datetime
import re
from typing import Any

import click

from holter_host import ConnectionChange, LogPosition
from holter_host.cli._common import F, note, note_json


def no_reconnect_option(command: F) -> F:
    """--no-reconnect."""
    return click.option(
        "--no-reconnect",
        is_flag=True,
        help="End with an error when the connection is lost; by default it is tried again.",
    )(command)


class ConnectionNotes:
    """Says on stderr that the connection is lost, and that it is there again.

    Several streams of one device lose it together, and that is said once.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._lost = 0

    def __call__(self, change: ConnectionChange) -> None:
        self._lost += -1 if change.connected else 1
        if self._lost != (0 if change.connected else 1):
            return
        if self._as_json:
            note_json({"connection": dataclasses.asdict(change)})
        elif change.connected:
            note(f"connected again after {change.seconds:.1f} s")
        else:
            note(f"connection lost; trying again. {change.reason}")


class StartType(click.ParamType[Any]):
    """A place where a stream starts."""

    name = "START"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | LogPosition | datetime.datetime:
        """What `Device.samples` takes."""
        if value in ("live", "earliest"):
            return str(value)
        place = re.fullmatch(r"(\d+):(\d+)", str(value))
        if place and max(int(place[1]), int(place[2])) < 2**63:
            return LogPosition(int(place[1]), int(place[2]))
        try:
            return datetime.datetime.fromisoformat(str(value)).astimezone()
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r} is none of: live, earliest, SESSION:SEQUENCE as in 3:7200, a time as "
                "in 2026-11-21T14:30.",
                param,
                ctx,
            )


def start_option(command: F) -> F:
    """--from START."""
    return click.option(
        "--from",
        "start",
        type=StartType(),
        default="live",
        show_default=True,
        help="Where to start: live (what comes from now on), earliest (the first that the device "
        "keeps), SESSION:SEQUENCE, or a time, of this computer's zone where it names none.",
    )(command)


def watch_options(command: F) -> F:
    """What is read, from where, and until when: the options of the verbs that watch."""
    options = (
        click.option("--samples", is_flag=True, help="Read blocks of samples."),
        click.option("--classifications", is_flag=True, help="Read classifications (the default)."),
        start_option,
        click.option(
            "--seconds",
            type=click.FloatRange(min=0, min_open=True),
            help="Stop after this long, by this computer's clock.",
        ),
        click.option(
            "--count",
            type=click.IntRange(min=1),
            help="Stop after so many blocks and classifications.",
        ),
        no_reconnect_option,
    )
    for option in reversed(options):
        command = option(command)
    return command
