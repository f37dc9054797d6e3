"""The verbs that begin a rollout: `fleet deploy`, `fleet activate` and `fleet rollback`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import click

from holter_host import (
    DeployResult,
    Fleet,
    Outcome,
    Rollout,
    RolloutOptions,
    read_bundle,
    undo_rollout,
)
from holter_host.cli._common import emit, emit_json, json_option, run_async
from holter_host.cli._output import amount, plain, state
from holter_host.cli.fleet._common import (
    COLOURS,
    Workers,
    exit_code,
    fleet_flags,
    fleet_options,
    outcome_json,
    tell_summary,
    wants_json,
)
from holter_host.cli.fleet._progress import follow
from holter_host.cli.fleet._table import Row, live_table

JUDGED: Final = ("device", "verdict", "wave", "note")
JSON: Final = "Print one JSON object a device and change: device, wave, state, reason, message, …"


def journal_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--journal FILE."""
    return click.option(
        "--journal",
        type=click.Path(path_type=Path),
        envvar="HOLTER_JOURNAL",
        show_envvar=True,
        help="Where rollouts are written down.  [default: ~/.local/state/holter/rollouts.db]",
    )(command)


def rollout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a rollout goes; a verb gets them as RolloutOptions, but for those that are not given."""
    flags = (
        click.option(
            "--waves",
            metavar="N,N%,…",
            help="How many devices have had their turn by the end of each wave.  [default: 100%]",
        ),
        click.option(
            "--canary", metavar="SELECTOR", help="Devices that are the first wave by themselves."
        ),
        click.option(
            "--max-failures",
            metavar="N|N%",
            help="How many may fail: in all, or of those in the waves so far.  [default: 0]",
        ),
        click.option(
            "--on-failure",
            type=click.Choice(["rollback", "hold"]),
            help="When more fail: take everything back, or stop.  [default: rollback]",
        ),
        click.option(
            "--approve",
            is_flag=True,
            default=None,
            help="Ask before each wave after the first; where nobody can answer, exit with 4.",
        ),
        click.option(
            "--health-timeout",
            "health_seconds",
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="How long a wave's verdicts are waited for.  [default: 300, or twice a probation]",
        ),
        click.option(
            "--deploy-timeout",
            "deploy_seconds",
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="How long one device may take for the model.  [default: 120]",
        ),
        journal_option,
    )
    for flag in reversed(flags):
        command = flag(command)
    return command


@click.command
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show the waves and let every device judge; no more.")
@rollout_options
@fleet_options
@json_option(JSON)
def deploy(fleet: Fleet, model: Path, dry_run: bool, as_json: bool, **options: Any) -> int:
    """Bring a model to every device, in waves, each behind the health of the one before.

    A wave is healthy when its devices have ended the model's probation. Too many failures end the
    rollout, and it takes back what it changed. Who is offline is pending: `holter fleet resume`
    asks again. It also goes on with a rollout that was cut off, by whatever.

    Exit codes: 0 every device has the model, 3 some, 1 none, 4 halted or taken back.

    \b
    Example:
      holter fleet deploy rhythm.tflite --dry-run
      holter fleet deploy rhythm.tflite --canary role=canary --waves 10%,100% --max-failures 2%
    """
    as_json = wants_json(as_json)
    rollout = fleet.deploy(model, **_given(options))
    return _dry_run(fleet, model, rollout, as_json) if dry_run else follow(rollout, as_json)


@click.command
@click.argument("sha256")
@rollout_options
@fleet_options
@json_option(JSON)
def activate(fleet: Fleet, sha256: str, as_json: bool, **options: Any) -> int:
    """Make a stored model the active one of every device, as a rollout.

    SHA256 is its digest, or 8 or more first digits of it.

    \b
    Example:
      holter fleet activate 3fa9c2d1 --waves 1,100%
    """
    return follow(fleet.activate(sha256, **_given(options)), wants_json(as_json))


@click.command
@click.argument("rollout_id", metavar="[ROLLOUT]", type=int, required=False)
@journal_option
@fleet_flags
@json_option(JSON)
def rollback(
    rollout_id: int | None,
    journal: Path | None,
    inventory: Path,
    select: tuple[str, ...],
    workers: Workers,
    as_json: bool,
) -> int:
    """Take back what a rollout changed, or take every device to its model before.

    With the number of a ROLLOUT each device gets the model that it had before it; one that had none
    keeps the new one, and one that has another one by now is left as it is. Without, every device
    of the inventory goes back to the model before its active one.

    \b
    Example:
      holter fleet rollback 7
      holter fleet rollback --select site=a
    """
    as_json = wants_json(as_json)
    if rollout_id is not None:
        hands = workers.hands()
        return follow(undo_rollout(rollout_id, journal=journal, hands=hands), as_json)
    fleet = workers.fleet(inventory, select)
    return follow(fleet.rollback(**_given({"journal": journal})), as_json)


def _given(options: dict[str, Any]) -> RolloutOptions:
    given = {key: value for key, value in options.items() if value is not None}
    return cast(RolloutOptions, given)


def _dry_run(fleet: Fleet, model: Path, rollout: Rollout, as_json: bool) -> int:
    """Show the plan, and what every device thinks of the model."""
    devices = rollout.devices
    outcomes: dict[str, Outcome[DeployResult]] = {}
    bundle = read_bundle(model)
    if not as_json:
        for wave, members in itertools.groupby(devices.values(), lambda device: device.wave):
            names = [member.device.name for member in members]
            more = f" and {len(names) - 5} more" if names[5:] else ""
            emit(f"wave {wave + 1}: {amount(len(names), 'device')}: {', '.join(names[:5])}{more}")

    async def work() -> None:
        async with fleet:
            async for outcome in fleet.judge(bundle):
                name = outcome.device.name
                outcomes[name] = outcome
                if as_json:
                    value = {"wave": devices[name].wave + 1, "result": plain(outcome.value)}
                    emit_json({**outcome_json(outcome), **value})

    def row(name: str) -> Row:
        wave, outcome = str(devices[name].wave + 1), outcomes.get(name)
        if outcome is None:
            return Row((name, "…", wave, ""))
        word = "would pass" if outcome.ok else state(outcome.state)
        message = str(outcome.error or "")
        return Row((name, word, wave, message), COLOURS[outcome.state], urgency=not outcome.ok)

    with live_table(
        ("device", "verdict", "wave", "note"),
        lambda: [row(name) for name in devices],
        quiet=as_json,
    ):
        run_async(work())
    states = [outcome.state for outcome in outcomes.values()]
    tell_summary(states, as_json)
    return exit_code(states)
