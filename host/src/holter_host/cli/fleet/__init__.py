"""The verbs about a fleet: what one does with a device, done with every one of an inventory."""

from __future__ import annotations

from typing import Final

import click

from holter_host.cli._verbs import Verbs

VERBS: Final = {
    "status": ("_status", "Show what each device is and how it does."),
    "watch": ("_watch", "Show what each device streams, merged."),
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
