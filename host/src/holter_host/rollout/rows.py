"""What a rollout knows of a device, what a device says, and what is done with it: plain values.

All of them can be pickled, so that the work on a device may be done elsewhere.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any

from holter_host.enums import ModelState
from holter_host.errors import HolterError
from holter_host.inventory import FleetDevice
from holter_host.status import Probation, StoredModel


class DeviceState(enum.StrEnum):
    """Where a device is in a rollout."""

    PLANNED = "PLANNED"  # nothing was done with it
    STARTED = "STARTED"  # it was asked; what became of it is not written down yet
    DEPLOYED = "DEPLOYED"  # it has the model, which is on probation
    HEALTHY = "HEALTHY"  # it has the model, and no probation is open
    FAILED = "FAILED"  # it refused the model or went back from it, and has what it had
    PENDING = "PENDING"  # it was offline; a resume asks it again
    UNDOING = "UNDOING"  # it was asked to go back; what became of it is not known yet
    ROLLED_BACK = "ROLLED_BACK"  # it has what it had before the rollout
    HELD = "HELD"  # it is left as it is; `reason` says why


# States in which the rollout may have changed a device.
TOUCHED = frozenset(
    {
        DeviceState.STARTED,
        DeviceState.PENDING,
        DeviceState.DEPLOYED,
        DeviceState.HEALTHY,
        DeviceState.UNDOING,
    }
)


# In these a device has yet to have its turn, or it is not known what came of it.
UNSETTLED = (DeviceState.PLANNED, DeviceState.STARTED, DeviceState.PENDING)


# Reasons with which a device that has not failed counts as if it had.
NO_VERDICT = "NO_VERDICT"  # it has the model, and its probation did not end in time
LOST = "LOST"  # it fell silent while it was given the model


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What a device says of its models.

    Attributes:
        active: digest of the active one; "" where there is none.
        previous: digest of the one before it; "" where there is none.
        stored: digests of all.
        probation: the newest probation, running or over.
    """

    active: str = ""
    previous: str = ""
    stored: tuple[str, ...] = ()
    probation: Probation | None = None

    @classmethod
    def of(cls, models: Iterable[StoredModel], probation: Probation | None) -> Seen:
        """What a list of models and a probation say."""
        by_state = {model.state: model.sha256 for model in models}
        return cls(
            active=by_state.get(ModelState.ACTIVE, ""),
            previous=by_state.get(ModelState.PREVIOUS, ""),
            stored=tuple(model.sha256 for model in models),
            probation=probation,
        )

    @property
    def mark(self) -> str:
        """A word by which a probation is told from every other one of the same device."""
        p = self.probation
        return f"{p.sha256}@{p.start_time}@{p.state}" if p else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """What is to be done with a device.

    Attributes:
        sha256: the model that it is to have.
        upload: whether the model is sent to it; else it has it.
        ours: digests whose deploys are this rollout's own: one that runs is waited for.
    """

    sha256: str
    upload: bool
    ours: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What became of a move.

    Attributes:
        seen: what the device said afterwards; None where it could not be asked.
        error: why it was not done; None where it was.
        facts: of the deploy, by name.
    """

    seen: Seen | None = None
    error: HolterError | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What a rollout knows of one device.

    Attributes:
        device: the device.
        wave: number of its wave, from 0.
        state: where it is.
        target: digest that it is to have; the first digits of it, or "" for the model before its
            active one, until it was asked.
        before: digest that it had before the rollout, "" for none; None until it was asked.
        mark: its newest probation before the rollout; see `Seen.mark`.
        reason: why it is not HEALTHY, as one word: an ErrorReason, a ReturnCause, or OFFLINE,
            LOST, NO_VERDICT, CHANGED, SUPERSEDED, NO_MODEL_BEFORE.
        message: the same as a sentence.
        facts: what is known beside, by name.
    """

    device: FleetDevice
    wave: int = 0
    state: DeviceState = DeviceState.PLANNED
    target: str = ""
    before: str | None = None
    mark: str = ""
    reason: str = ""
    message: str = ""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def may_be_changed(self) -> bool:
        """Whether the device may have the target because of this rollout."""
        return self.state in TOUCHED and self.before is not None and self.before != self.target

    @property
    def is_in_doubt(self) -> bool:
        """Whether something was begun with the device, and what came of it is not known."""
        return self.state is DeviceState.STARTED or (
            self.state is DeviceState.PENDING and self.before is not None
        )

    @property
    def counts_as_failed(self) -> bool:
        """Whether it speaks against the model: it failed, or was given it and then fell silent."""
        return self.state is DeviceState.FAILED or self.reason in (NO_VERDICT, LOST)

    def to(self, state: DeviceState, reason: str = "", message: str = "", **facts: Any) -> Row:
        """It in another state."""
        return dataclasses.replace(
            self, state=state, reason=reason, message=message, facts={**self.facts, **facts}
        )
