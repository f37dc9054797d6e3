"""The verbs about a fleet: what one does with a device, done with every one of an inventory."""

from __future__ import annotations

from typing import Final

import click

from holter_host.cli._verbs import Verbs

VERBS: Final = {
    "status": ("_status", "Show what each device is and how it does."),
    "watch": ("_watch", "Show what each device streams, merged."),
    "deploy": ("_deploy", "Bring a model to every device, in waves."),
    "activate": ("_deploy", "Make a stored model the active one of every device."),
    "rollback": ("_deploy", "Take back a rollout, or every device to its model before."),
    "resume": ("_rollouts", "Go on with a rollout that did not get to its end."),
    "approve": ("_rollouts", "Let the next wave of a rollout begin."),
    "history": ("_rollouts", "List rollouts, or show the devices of one."),
}


@click.group(cls=Verbs, package=__name__, verbs=VERBS)
def fleet() -> None:
    """Do it on every device of an inventory, fleet.toml, or on those that --select means.

    A device that does not answer is told offline and holds up nobody. On a terminal there is a
    table; elsewhere, and with --json, one JSON object a line.

    Exit codes: 0 all went well, 3 some did, 1 none did, 5 no device answered or none is meant, 2
    bad usage or inventory.

    \b
    Example:
      holter fleet status
      holter fleet status --select site=a,role!=test --json
      holter fleet watch
    """
