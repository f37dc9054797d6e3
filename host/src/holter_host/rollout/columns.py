"""Rollouts and what is known of their devices, as columns of SQLite and back."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

from holter_host.inventory import FleetDevice
from holter_host.rollout.plan import Plan
from holter_host.rollout.record import Kind, RolloutRecord, RolloutState
from holter_host.rollout.rows import DeviceState, Row


def now() -> str:
    """The wall clock, UTC, as the journal writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def rollout_columns(record: RolloutRecord) -> dict[str, Any]:
    """The columns of a rollout but for its number."""
    values = {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(record)
        if field.name != "id"
    }
    return {**values, "plan": json.dumps(record.plan.as_json())}


def record_of(values: dict[str, Any]) -> RolloutRecord:
    """The rollout of these columns."""
    return RolloutRecord(
        **{
            **values,
            "kind": Kind(values["kind"]),
            "state": RolloutState(values["state"]),
            "plan": Plan.from_json(json.loads(values["plan"])),
        }
    )


def row_values(row: Row) -> tuple[Any, ...]:
    """The columns of a device that change, changed now."""
    return (
        row.state,
        row.target,
        row.before,
        row.mark,
        row.reason,
        row.message,
        json.dumps(dict(row.facts)),
        now(),
    )


def row_of(
    device: str,
    wave: int,
    state: str,
    target: str,
    before: str | None,
    mark: str,
    reason: str,
    message: str,
    facts: str,
) -> Row:
    """The device of these columns."""
    return Row(
        device=FleetDevice(**json.loads(device)),
        wave=wave,
        state=DeviceState(state),
        target=target,
        before=before,
        mark=mark,
        reason=reason,
        message=message,
        facts=json.loads(facts),
    )
