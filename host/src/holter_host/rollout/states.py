"""What a rollout knows of a device, and what follows from what the device says: pure functions.

                      look                 act                  look
    PLANNED, PENDING ------> STARTED ------------> DEPLOYED ---------> HEALTHY
                      |         |                     |
                      |         |  refused            |  it went back by itself
                      |         +-----> FAILED <------+
                      +-> PENDING (offline), HELD (somebody else changed it)

    STARTED, PENDING, DEPLOYED, HEALTHY ---> UNDOING ---> ROLLED_BACK or HELD

A device is asked what it has (`Seen`) before anything is done with it, and the answer is written
down before it is done. So whoever comes back after a crash asks again and knows what became of it:
if the device has the target, it was done; if it has what it had before, it was not.
"""

from __future__ import annotations

import dataclasses

from holter_host.enums import ProbationState
from holter_host.errors import (
    ClassifierUnavailableError,
    DeadlineError,
    DeviceError,
    DeviceUnreachableError,
    HolterError,
)
from holter_host.rollout.rows import (
    LOST,
    NO_VERDICT,
    UNSETTLED,
    DeviceState,
    Move,
    Report,
    Row,
    Seen,
)

OFFLINE_REASON = "OFFLINE"

# With one of these nothing is known of a device but that it cannot be asked now.
OFFLINE = (DeviceUnreachableError, DeadlineError, ClassifierUnavailableError)


def is_open(row: Row) -> bool:
    """Whether something is left to be done or asked, if the rollout is not taken back."""
    return row.state in UNSETTLED or row.state is DeviceState.DEPLOYED


def begin(row: Row, seen: Seen, upload: bool) -> tuple[Row, Move | None]:
    """What is to be done with a device of which this was seen, and what is known then.

    Args:
        row: one that is PLANNED, or was begun before and is in doubt.
        seen: what the device says.
        upload: whether the rollout brings the model.
    """
    if row.before is None:
        row = dataclasses.replace(row, before=seen.active, mark=seen.mark)
        found = _whole(row.target, seen, upload)
        if len(found) != 1:
            return _no_model(row, found), None
        row = dataclasses.replace(row, target=found[0])
    elif seen.active not in (row.target, row.before) or _returned(row, seen):
        return judge(row, seen), None
    if seen.active == row.target:
        return judge(row, seen), None
    return row.to(DeviceState.STARTED), Move(row.target, upload, (row.target,))


def settle(row: Row, seen: Seen) -> Row:
    """A row that was in doubt, by what its device says: it was done, or is yet to be done."""
    settled, move = begin(row, seen, upload=True)
    return settled if move is None else settled.to(DeviceState.PLANNED)


def end(row: Row, report: Report) -> Row:
    """A row that is STARTED, after its move."""
    row = dataclasses.replace(row, facts={**row.facts, **report.facts})
    seen, error = report.seen, report.error
    if seen is not None and (error is None or seen.active == row.target or _returned(row, seen)):
        return judge(row, seen)
    assert error is not None
    if not isinstance(error, OFFLINE):
        return _failed(row, error)
    if seen is None:  # whether it has the model is asked until it is too late
        return row.to(row.state, message=str(error))
    return offline(row, error)


def judge(row: Row, seen: Seen) -> Row:
    """A row whose device was given the model, by what it says now."""
    probation = seen.probation
    if seen.active == row.target:
        running = (
            probation is not None
            and probation.sha256 == row.target
            and probation.state is ProbationState.RUNNING
        )
        return row.to(DeviceState.DEPLOYED if running else DeviceState.HEALTHY)
    if probation is not None and _returned(row, seen):
        return row.to(
            DeviceState.FAILED,
            probation.return_cause.value,
            f"{row.device.name} went back to {probation.previous_sha256[:12]} after "
            f"{probation.window_count} windows: {probation.reason}",
        )
    return _changed(row, seen)


def verdict(row: Row, seen: Seen) -> Row:
    """A row that is DEPLOYED, or STARTED on a device that fell silent, by what the device says."""
    if row.state is DeviceState.DEPLOYED:
        return judge(row, seen)
    settled = settle(row, seen)
    if settled.state is DeviceState.PLANNED:  # the model never came to it
        return row.to(DeviceState.PENDING, OFFLINE_REASON, row.message)
    return settled


def no_verdict(row: Row, error: HolterError) -> Row:
    """The same where the device could not be asked; it may answer before it is too late."""
    return row.to(row.state, message=str(error))


def overdue(row: Row) -> Row:
    """The same when it is too late: it counts as failed until it gives a verdict."""
    if row.state is DeviceState.DEPLOYED:
        message = row.message or f"{row.device.name} gave no verdict on the model in time"
        return row.to(row.state, NO_VERDICT, message)
    return row.to(DeviceState.PENDING, LOST, f"given the model, it fell silent: {row.message}")


def offline(row: Row, error: HolterError) -> Row:
    """A row whose device could not be asked."""
    reason = LOST if row.reason == LOST else OFFLINE_REASON
    return row.to(DeviceState.PENDING, reason, str(error))


def not_asked(row: Row, error: HolterError) -> Row:
    """A row whose device could not tell what it has."""
    if isinstance(error, OFFLINE):
        return offline(row, error)
    if row.before is None:
        return _failed(row, error)
    # What it has is not known, so it is not said to have failed.
    return dataclasses.replace(offline(row, error), reason=_reason(error))


def leave(row: Row) -> Row:
    """A row of a rollout that is taken back; who was offline and untouched stays so."""
    if row.state is DeviceState.PENDING and row.before is None:
        return row.to(DeviceState.PLANNED, row.reason, row.message)
    return row


def begin_undo(row: Row, seen: Seen) -> tuple[Row, Move | None]:
    """What is to be done with a device that may have been changed, to take that back."""
    if seen.active not in (row.target, row.before):
        return _changed(row, seen), None
    if row.before:
        # Also where it has that model already: a deploy may still be on its way to it.
        return row.to(DeviceState.UNDOING), Move(row.before, False, (row.target, row.before))
    if seen.active == row.target:
        message = f"{row.device.name} had no model before, so there is none to go back to"
        return row.to(DeviceState.HELD, "NO_MODEL_BEFORE", message), None
    return row.to(DeviceState.ROLLED_BACK), None


def not_asked_undo(row: Row, error: HolterError) -> Row:
    """A row that may have been changed, whose device cannot tell what it has."""
    return row.to(DeviceState.UNDOING, _reason(error), str(error))


def end_undo(row: Row, report: Report) -> Row:
    """A row that is UNDOING, after its move."""
    error = report.error
    if error is None or (report.seen is not None and report.seen.active == row.before):
        return row.to(DeviceState.ROLLED_BACK)
    if isinstance(error, OFFLINE):
        return not_asked_undo(row, error)
    return dataclasses.replace(_failed(row, error), state=DeviceState.HELD)


def _whole(target: str, seen: Seen, upload: bool) -> list[str]:
    """The digests that a target may mean on a device."""
    if upload:
        return [target]
    if not target:
        return [seen.previous] if seen.previous else []
    return [sha256 for sha256 in seen.stored if sha256.startswith(target)]


def _no_model(row: Row, found: list[str]) -> Row:
    name = row.device.name
    if found:
        message = f"{name} holds {len(found)} models that begin with {row.target}: give more digits"
        return row.to(DeviceState.FAILED, "AMBIGUOUS", message)
    what = f"model {row.target[:12]}" if row.target else "model before its active one"
    return row.to(DeviceState.FAILED, "MODEL_NOT_FOUND", f"{name} holds no {what}")


def _returned(row: Row, seen: Seen) -> bool:
    """Whether the device went back from the target since the rollout asked it first."""
    probation = seen.probation
    return (
        probation is not None
        and probation.sha256 == row.target
        and probation.state is ProbationState.RETURNED
        and seen.active != row.target
        and seen.mark != row.mark
    )


def _changed(row: Row, seen: Seen) -> Row:
    has = f"has {seen.active[:12]}" if seen.active else "has no active model"
    message = f"{row.device.name} {has} now, by somebody else; it is left as it is"
    return row.to(DeviceState.HELD, "CHANGED", message, active=seen.active)


def _failed(row: Row, error: HolterError) -> Row:
    facts = dict(error.metadata) if isinstance(error, DeviceError) else {}
    return row.to(DeviceState.FAILED, _reason(error), str(error), **facts)


def _reason(error: HolterError) -> str:
    if isinstance(error, DeviceError):
        return error.reason or error.code or "FAILED"
    return "FAILED"
