"""Begins a rollout: reads the model, makes the plan, and writes both into the journal."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypedDict, Unpack

from holter_host._models import checked_prefix
from holter_host.bundle import Bundle, read_bundle
from holter_host.errors import BadInputError
from holter_host.inventory import Inventory
from holter_host.rollout.api import Begun, JournalPath, MakeHands, Rollout
from holter_host.rollout.columns import now
from holter_host.rollout.journal import Journal
from holter_host.rollout.lock import who
from holter_host.rollout.plan import OnFailure, Plan, Share, in_waves, wave_of
from holter_host.rollout.record import Kind, RolloutRecord
from holter_host.rollout.rows import Row

Model = str | os.PathLike[str] | Bundle

HEALTH_SECONDS: Final = 300.0
DEPLOY_SECONDS: Final = 120.0
# What holterd does if nobody says otherwise.
PROBATION_SECONDS: Final = 60.0
PROBATION_WINDOWS: Final = 10


class RolloutOptions(TypedDict, total=False):
    """How a rollout goes.

    Attributes:
        waves: how many devices, or which share of them, have had their turn by the end of each
            wave: "1,10%,100%". Shares are rounded up, and the last is all. Default "100%".
        canary: a selector of devices that are a wave of their own, before `waves` of the others.
        max_failures: how many devices may fail: 3 in all, or "2%" of those in the waves so far.
            Default 0.
        on_failure: what is done when more fail: "rollback" (default) or "hold".
        approve: whether each wave after the first wants an approval: the rollout pauses before
            it, and `resume_rollout(id, approve=True)` goes on.
        health_seconds: how long the verdicts on the model are waited for in each wave; by default
            5 minutes, or twice as long as its probation takes where that is longer.
        deploy_seconds: how long one device may take to judge the model and swap it in; 120.
        journal: the journal's file; by default the user's own.
    """

    waves: str | Sequence[int | str]
    canary: str
    max_failures: str | int
    on_failure: str
    approve: bool
    health_seconds: float
    deploy_seconds: float
    journal: JournalPath


def deploy(
    inventory: Inventory, model: Model, hands: MakeHands, **options: Unpack[RolloutOptions]
) -> Rollout:
    """A rollout that brings a model to every device of an inventory; see `Fleet.deploy`."""

    async def read() -> tuple[str, str, Bundle]:
        bundle = model if isinstance(model, Bundle) else await asyncio.to_thread(read_bundle, model)
        return bundle.sha256, f"{bundle.spec.name}, version {bundle.spec.version}", bundle

    return _rollout(inventory, Kind.DEPLOY, read, hands, options)


def activate(
    inventory: Inventory, sha256: str, hands: MakeHands, **options: Unpack[RolloutOptions]
) -> Rollout:
    """A rollout that activates a model which every device has stored; see `Fleet.activate`."""
    target = checked_prefix(sha256)

    async def read() -> tuple[str, str, None]:
        return target, f"model {target[:12]}", None

    return _rollout(inventory, Kind.ACTIVATE, read, hands, options)


def rollback(inventory: Inventory, hands: MakeHands, **options: Unpack[RolloutOptions]) -> Rollout:
    """A rollout that takes every device back to its model before; see `Fleet.rollback`."""

    async def read() -> tuple[str, str, None]:
        return "", "the model before", None

    return _rollout(inventory, Kind.ROLLBACK, read, hands, options)


def _rollout(
    inventory: Inventory,
    kind: Kind,
    read: Callable[[], Awaitable[tuple[str, str, Bundle | None]]],
    hands: MakeHands,
    options: RolloutOptions,
) -> Rollout:
    devices, waves = in_waves(inventory, options.get("waves", "100%"), options.get("canary", ""))
    plan = _plan(waves, options)
    planned = [
        Row(device, wave=wave_of(position, waves)) for position, device in enumerate(devices)
    ]

    async def begin(journal: Journal) -> Begun:
        target, label, model = await read()
        began = now()
        rows = [dataclasses.replace(row, target=target) for row in planned]
        record = RolloutRecord(
            kind=kind,
            target=target,
            label=label,
            inventory=inventory.path,
            plan=dataclasses.replace(plan, health_seconds=_health(plan, model)),
            started_by=who(),
            start_time=began,
            change_time=began,
        )
        content = (model.data, model.signature) if model else (None, None)
        record, lock = await journal.create(record, rows, *content)
        return Begun(record, dict(enumerate(rows)), model, lock)

    return Rollout(begin, options.get("journal"), hands, planned)


def _plan(waves: tuple[int, ...], options: RolloutOptions) -> Plan:
    """The plan that options make; its health_seconds are 0 where they do not say.

    Raises:
        BadInputError: one of them cannot be used.
    """
    on_failure = options.get("on_failure", OnFailure.ROLLBACK)
    if on_failure not in tuple(OnFailure):
        raise BadInputError(f"on_failure is {on_failure!r}: give rollback or hold.")
    health = options.get("health_seconds", 0.0)
    given = options.get("deploy_seconds", DEPLOY_SECONDS)
    for name, seconds in (("health_seconds", health), ("deploy_seconds", given)):
        if not (seconds > 0 or (seconds == 0 and name not in options)):
            raise BadInputError(f"{name} is {seconds!r}: give seconds, more than 0.")
    return Plan(
        waves=waves,
        max_failures=Share.parse(str(options.get("max_failures", 0)), "max_failures"),
        on_failure=OnFailure(on_failure),
        approve=options.get("approve", False),
        health_seconds=health,
        deploy_seconds=given,
    )


def _health(plan: Plan, model: Bundle | None) -> float:
    """Seconds that verdicts are waited for."""
    if plan.health_seconds or model is None:
        return plan.health_seconds or HEALTH_SECONDS
    windows = PROBATION_WINDOWS * model.spec.hop / model.spec.rate_hz
    return max(HEALTH_SECONDS, 2 * max(PROBATION_SECONDS, windows))
