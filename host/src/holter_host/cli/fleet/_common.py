"""What the verbs about a fleet share: its options, its exit codes, and how an outcome looks."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

import click

from holter_host import DeviceError, Fleet, HolterError, Outcome, OutcomeState, default_hands
from holter_host.cli._common import NOTHING, note, note_json, run_async
from holter_host.cli._output import amount
from holter_host.rollout.api import MakeHands

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


@dataclasses.dataclass(frozen=True, slots=True)
class Workers:
    """Who works on the devices, as flags say: this process, or those of a cluster.

    Attributes:
        concurrency: how many devices each works on at a time.
        timeout: seconds within which a device has to answer.
        cluster: the address of the cluster's scheduler; "" for this process.
    """

    concurrency: int
    timeout: float
    cluster: str

    def fleet(self, inventory: Path, select: tuple[str, ...]) -> Fleet:
        """The fleet of an inventory.

        Raises:
            HolterError: the inventory or the cluster cannot be used.
        """
        options = {"concurrency": self.concurrency, "timeout": self.timeout}
        if not self.cluster:
            return Fleet.load(inventory, select=select, **options)
        from holter_host.cluster import ClusterFleet  # Dask is for who has a cluster

        fleet = ClusterFleet.load(inventory, select=select, scheduler=self.cluster, **options)
        self._check()
        return fleet

    def hands(self) -> MakeHands:
        """What makes the hands of a rollout.

        Raises:
            ClusterError: the cluster cannot be used.
        """
        if not self.cluster:
            return default_hands(concurrency=self.concurrency, timeout=self.timeout)
        from holter_host.cluster import cluster_hands

        self._check()
        return cluster_hands(self.cluster, concurrency=self.concurrency, timeout=self.timeout)

    def _check(self) -> None:
        """Connect once, before anything is written down."""
        from holter_host.cluster import check_cluster

        run_async(check_cluster(self.cluster))


def work_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """--concurrency, --timeout and --cluster, which a verb gets as one `workers`."""

    @functools.wraps(command)
    def with_workers(
        *args: Any, concurrency: int, timeout: float, cluster: str, **options: Any
    ) -> Any:
        return command(*args, workers=Workers(concurrency, timeout, cluster), **options)

    flagged: Callable[..., Any] = with_workers
    for flag in (
        click.option(
            "--cluster",
            metavar="ADDRESS",
            default="",
            envvar="HOLTER_CLUSTER",
            show_envvar=True,
            help="Have the workers of a Dask scheduler do it, e.g. tcp://10.0.0.1:8786.",
        ),
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
            help="How many devices are worked on at a time; with --cluster, by each worker.",
        ),
    ):
        flagged = flag(flagged)
    return flagged


def fleet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The `fleet_flags`, which a verb gets as one `fleet`."""

    @fleet_flags
    @functools.wraps(command)
    def with_fleet(
        *args: Any, inventory: Path, select: tuple[str, ...], workers: Workers, **options: Any
    ) -> Any:
        return command(*args, fleet=workers.fleet(inventory, select), **options)

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
