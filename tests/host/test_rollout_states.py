"""Laws of what follows from what a device says, one by one."""

from __future__ import annotations

import dataclasses
import pickle

from holter_host import (
    DeployInProgressError,
    DeviceUnreachableError,
    FleetDevice,
    ModelRefusedError,
    Probation,
    ProbationState,
    ReturnCause,
)
from holter_host.rollout import states
from holter_host.rollout.rows import DeviceState, Move, Report, Row, Seen

NEW, OLD, OTHER = "a" * 64, "b" * 64, "c" * 64
ROW = Row(FleetDevice("d0", "unix:/0"), target=NEW)
GONE = DeviceUnreachableError("nobody answers")


def probation(state: str, sha256: str = NEW) -> Probation:
    """A probation of a model."""
    cause = ReturnCause.MODEL_FAILED if state == "RETURNED" else ReturnCause.UNSPECIFIED
    return Probation(sha256, OLD, ProbationState(state), cause, "it failed", None, None, 3)


def begun(before: str = OLD) -> Row:
    """A row that was begun on a device that had `before`."""
    row, move = states.begin(ROW, Seen(before), True)
    assert move == Move(NEW, True, (NEW,))
    return row


def test_what_a_device_has_is_known_before_it_is_changed() -> None:
    """The model before, and its probation, are in the row that is written before the move."""
    row, _ = states.begin(ROW, Seen(OLD, probation=probation("PASSED", OLD)), True)
    assert (row.state, row.before) == (DeviceState.STARTED, OLD)
    assert OLD in row.mark
    assert row.may_be_changed
    assert row.is_in_doubt


def test_a_device_that_has_the_model_is_left_alone() -> None:
    """It is healthy, or on probation, and nothing that this rollout changed."""
    row, move = states.begin(ROW, Seen(NEW), True)
    assert (row.state, move, row.may_be_changed) == (DeviceState.HEALTHY, None, False)
    row, move = states.begin(ROW, Seen(NEW, probation=probation("RUNNING")), True)
    assert (row.state, move) == (DeviceState.DEPLOYED, None)


def test_what_is_in_doubt_is_settled_by_what_the_device_has() -> None:
    """The target: it was done. What it had: it was not. Anything else: it is somebody else's."""
    assert states.settle(begun(), Seen(NEW)).state is DeviceState.HEALTHY
    assert states.settle(begun(), Seen(NEW)).may_be_changed
    assert states.settle(begun(), Seen(OLD)).state is DeviceState.PLANNED
    changed = states.settle(begun(), Seen(OTHER))
    assert (changed.state, changed.reason) == (DeviceState.HELD, "CHANGED")
    again, move = states.begin(states.settle(begun(), Seen(OLD)), Seen(OLD), True)
    assert move is not None
    assert again.before == OLD


def test_a_return_counts_only_if_it_is_of_this_rollout() -> None:
    """A device that went back from the model earlier is given it; one that did just now is not."""
    earlier = Seen(OLD, probation=probation("RETURNED"))
    row, move = states.begin(ROW, earlier, True)
    assert move is not None
    assert states.settle(row, earlier).state is DeviceState.PLANNED
    returned = states.settle(begun(), earlier)
    assert (returned.state, returned.reason) == (DeviceState.FAILED, "MODEL_FAILED")
    assert not returned.may_be_changed


def test_how_a_move_ends() -> None:
    """Refused: failed with the device's reason. Broken off: pending, unless the device has it."""
    refused = ModelRefusedError("no", reason="MODEL_UNFIT", metadata={"rate_hz": "250"})
    row = states.end(begun(), Report(error=refused))
    assert (row.state, row.reason, row.message) == (DeviceState.FAILED, "MODEL_UNFIT", "no")
    assert row.facts == {"rate_hz": "250"}
    busy = DeployInProgressError("model x by y", reason="DEPLOY_IN_PROGRESS")
    assert states.end(begun(), Report(error=busy)).reason == "DEPLOY_IN_PROGRESS"
    assert states.end(begun(), Report(error=GONE)).state is DeviceState.STARTED
    assert states.end(begun(), Report(Seen(OLD), GONE)).state is DeviceState.PENDING
    assert states.end(begun(), Report(Seen(NEW), GONE)).state is DeviceState.HEALTHY
    done = states.end(begun(), Report(Seen(NEW), facts={"session_id": 3}))
    assert (done.state, done.facts) == (DeviceState.HEALTHY, {"session_id": 3})


def test_who_cannot_be_asked() -> None:
    """Offline is pending, an error is a failure; what is in doubt is never said to have failed."""
    broken = ModelRefusedError("?", code="INTERNAL")
    assert states.not_asked(ROW, GONE).state is DeviceState.PENDING
    assert states.not_asked(ROW, broken).state is DeviceState.FAILED
    assert states.not_asked(begun(), broken).state is DeviceState.PENDING


def test_who_falls_silent_is_waited_for() -> None:
    """Who was given the model and is silent counts as failed when it is too late, till it tells."""
    lost = states.no_verdict(states.end(begun(), Report(error=GONE)), GONE)
    assert (lost.state, lost.counts_as_failed) == (DeviceState.STARTED, False)
    assert states.verdict(lost, Seen(NEW)).state is DeviceState.HEALTHY
    assert states.verdict(lost, Seen(OLD)).state is DeviceState.PENDING
    lost = states.overdue(lost)
    assert (lost.state, lost.reason) == (DeviceState.PENDING, "LOST")
    assert states.not_asked(lost, GONE).counts_as_failed
    assert not states.settle(lost, Seen(OLD)).counts_as_failed
    mute = states.no_verdict(begun().to(DeviceState.DEPLOYED), GONE)
    assert (mute.state, mute.counts_as_failed) == (DeviceState.DEPLOYED, False)
    mute = states.overdue(mute)
    assert (mute.state, mute.reason) == (DeviceState.DEPLOYED, "NO_VERDICT")
    assert mute.counts_as_failed


def test_undo() -> None:
    """What the rollout changed goes back; what had no model, or has another one, is left."""
    healthy = begun().to(DeviceState.HEALTHY)
    row, move = states.begin_undo(healthy, Seen(NEW, OLD))
    assert (row.state, move) == (DeviceState.UNDOING, Move(OLD, False, (NEW, OLD)))
    assert states.end_undo(row, Report(Seen(OLD))).state is DeviceState.ROLLED_BACK
    assert states.end_undo(row, Report(error=GONE)).state is DeviceState.UNDOING
    assert states.end_undo(row, Report(Seen(OLD), GONE)).state is DeviceState.ROLLED_BACK
    held = states.end_undo(row, Report(error=ModelRefusedError("x", reason="GOLDEN_MISMATCH")))
    assert (held.state, held.reason) == (DeviceState.HELD, "GOLDEN_MISMATCH")
    row, move = states.begin_undo(begun("").to(DeviceState.HEALTHY), Seen(NEW))
    assert (row.state, row.reason, move) == (DeviceState.HELD, "NO_MODEL_BEFORE", None)
    row, move = states.begin_undo(begun(""), Seen(""))
    assert (row.state, move) == (DeviceState.ROLLED_BACK, None)
    row, move = states.begin_undo(healthy, Seen(OTHER))
    assert (row.state, row.reason, move) == (DeviceState.HELD, "CHANGED", None)


def test_which_model_a_rollout_without_upload_means() -> None:
    """The model before the active one, or the one stored whose digest begins like that."""
    back = dataclasses.replace(ROW, target="")
    row, move = states.begin(back, Seen(NEW, OLD, (NEW, OLD)), False)
    assert (row.target, move) == (OLD, Move(OLD, False, (OLD,)))
    row, move = states.begin(back, Seen(NEW), False)
    assert (row.state, row.reason, move) == (DeviceState.FAILED, "MODEL_NOT_FOUND", None)
    short = dataclasses.replace(ROW, target="b" * 8)
    assert states.begin(short, Seen(NEW, "", (NEW, OLD)), False)[0].target == OLD
    row, move = states.begin(short, Seen(NEW, "", (OLD, "b" * 8 + OTHER[8:])), False)
    assert (row.state, row.reason, move) == (DeviceState.FAILED, "AMBIGUOUS", None)


def test_what_goes_to_a_worker_can_be_pickled() -> None:
    """Rows, moves, what was seen and what became of it are plain values."""
    seen = Seen(OLD, "", (OLD,), probation("RUNNING"))
    for value in (begun(), Move(NEW, True), seen, Report(seen, facts={"session_id": 1})):
        assert pickle.loads(pickle.dumps(value)) == value
