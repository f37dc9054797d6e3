"""A rollout as a whole: what it brings, how far it is, and what its end means."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Final

from holter_host.rollout.plan import Plan
from holter_host.rollout.rows import DeviceState, Row


class Kind(enum.StrEnum):
    """What a rollout does with each device."""

    DEPLOY = "deploy"  # bring a model
    ACTIVATE = "activate"  # make a stored model the active one
    ROLLBACK = "rollback"  # go back to the model before the active one


class RolloutState(enum.StrEnum):
    """How far a rollout is."""

    RUNNING = "RUNNING"  # somebody runs it, or it was cut off
    PAUSED = "PAUSED"  # the next wave wants somebody's approval
    HALTED = "HALTED"  # too many devices failed, or nobody answered; what was done stays
    UNDOING = "UNDOING"  # it is being taken back
    ROLLED_BACK = "ROLLED_BACK"  # it was taken back
    PARTIAL = "PARTIAL"  # every wave had its turn; some devices were offline
    DONE = "DONE"  # every device has its outcome


# Nothing is left to do in these, so the model is kept no longer.
OVER: Final = (RolloutState.DONE, RolloutState.ROLLED_BACK)

STATE_EXIT: Final = {
    RolloutState.RUNNING: 1,
    RolloutState.PAUSED: 4,
    RolloutState.HALTED: 4,
    RolloutState.UNDOING: 4,
    RolloutState.ROLLED_BACK: 4,
    RolloutState.PARTIAL: 3,
}


@dataclasses.dataclass(frozen=True, slots=True)
class RolloutRecord:
    """What the journal knows of a rollout as a whole.

    Attributes:
        kind: what it does.
        target: digest of the model that it brings or activates; "" for the one before.
        label: what people call it, e.g. "rhythm, version 3".
        inventory: the file of the inventory, for people.
        plan: how it goes.
        started_by: USER@HOST.
        start_time: when, UTC, ISO 8601.
        id: its number in its journal; 0 before it is in one.
        state: how far it is.
        wave: the number of the wave, from 0, whose turn it is.
        approved: the number of the last wave that may begin.
        note: why it is not going on, as a sentence.
        change_time: when it was last changed, UTC, ISO 8601.
    """

    kind: Kind
    target: str
    label: str
    inventory: str
    plan: Plan
    started_by: str
    start_time: str
    id: int = 0
    state: RolloutState = RolloutState.RUNNING
    wave: int = 0
    approved: int = 0
    note: str = ""
    change_time: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class RolloutSummary:
    """A rollout in a list of them.

    Attributes:
        rollout: it.
        devices: how many devices are in each state.
        runner: who runs it now, e.g. "me@here, pid 7"; "" for nobody: if its state is RUNNING or
            UNDOING all the same, it was cut off, and `resume_rollout` goes on with it.
    """

    rollout: RolloutRecord
    devices: Mapping[DeviceState, int]
    runner: str

    @property
    def is_cut_off(self) -> bool:
        """Whether it stands still because whoever ran it is gone."""
        return not self.runner and self.rollout.state is RolloutState.RUNNING


def exit_code(state: RolloutState, rows: Iterable[Row], undo: bool = False) -> int:
    """What `holter fleet` ends with: 0 ok, 1 nothing was done, 3 partial, 4 halted.

    `undo` says that the rollout was to be taken back, so that this is what is ok.
    """
    states = {row.state for row in rows}
    if undo:
        done = state is RolloutState.ROLLED_BACK and DeviceState.HELD not in states
        return 0 if done else 3
    if state is not RolloutState.DONE:
        return STATE_EXIT[state]
    if states == {DeviceState.HEALTHY}:
        return 0
    return 3 if DeviceState.HEALTHY in states else 1
