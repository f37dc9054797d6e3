"""What the verbs about a fleet share: its options, its exit codes, and how an outcome looks."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

import click

from holter_host import DeviceError, Fleet, HolterError, Outcome, OutcomeState
from holter_host.cli._common import NOTHING, note, note_json
from holter_host.cli._output import amount

PARTIAL: Final = 3
COLOURS: Final = {"OK": "green", "FAILED": "red", "OFFLINE": "yellow"}


def fleet_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """--inventory and --select, and `work_flags`."""
    for flag in (
        click.option(
            "--select",
            multiple=True,
            metavar="SELECTOR",
            help="Only devices that match, e.g. site=a,role!=test. See docs/fleet.md.",
        ),
        click.option(
            "--inventory",
            type=click.Path(path_type=Path),
            default=Path("fleet.toml"),
            envvar="HOLTER_FLEET",
            show_default=True,
            show_envvar=True,
            help="The file that lists the devices.",
        ),
    ):
        command = flag(command)
    return work_flags(command)


def work_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """--concurrency and --timeout."""
    for flag in (
        click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            default=10.0,
            show_default=True,
            help="Seconds within which a device has to answer.",
        ),
        click.option(
            "--concurrency",
            type=click.IntRange(min=1),
            default=64,
            show_default=True,
            help="How many devices are worked on at a time.",
        ),
    ):
        command = flag(command)
    return command


def fleet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The `fleet_flags`, which a verb gets as one `fleet`."""

    @fleet_flags
    @functools.wraps(command)
    def with_fleet(
        *args: Any,
        inventory: Path,
        select: tuple[str, ...],
        concurrency: int,
        timeout: float,
        **options: Any,
    ) -> Any:
        fleet = Fleet.load(inventory, select=select, concurrency=concurrency, timeout=timeout)
        return command(*args, fleet=fleet, **options)

    return with_fleet


def wants_json(as_json: bool) -> bool:
    """Whether to print JSON lines: it was asked for, or nobody looks."""
    return as_json or not sys.stdout.isatty()


def exit_code(states: Collection[str]) -> int:
    """What a verb ends with, from the state of each device: OK, FAILED or OFFLINE."""
    found = set(states)
    if found == {"OK"}:
        return 0
    if "OK" in found:
        return PARTIAL
    return 1 if "FAILED" in found else NOTHING


def summary(states: Collection[str]) -> str:
    """How many devices came to which end, e.g. "3 ok, 1 offline"."""
    counts = Counter(states)
    return ", ".join(f"{counts[s]} {str(s).lower()}" for s in OutcomeState if counts[s])


def tell_summary(states: Collection[str], as_json: bool) -> None:
    """Say on stderr how many devices came to which end."""
    if as_json:
        counts = Counter(states)
        facts = {str(state).lower(): counts[state] for state in OutcomeState}
        note_json({"fleet": {"devices": len(states), **facts}})
    else:
        note(f"{amount(len(states), 'device')}: {summary(states)}")


def outcome_json(outcome: Outcome[Any]) -> dict[str, Any]:
    """An outcome but for its value, as JSON values."""
    return {
        "device": outcome.device.name,
        "address": outcome.device.address,
        "labels": dict(outcome.device.labels),
        "state": outcome.state.value,
        "seconds": round(outcome.seconds, 3),
        "error": error_json(outcome.error),
    }


def error_json(error: HolterError | None) -> Mapping[str, Any] | None:
    """An error, as the command prints one."""
    if error is None:
        return None
    if isinstance(error, DeviceError):
        reason, metadata = error.reason or error.code, error.metadata
    else:
        reason, metadata = "FAILED", {}
    return {"reason": reason, "message": str(error), "metadata": metadata}
