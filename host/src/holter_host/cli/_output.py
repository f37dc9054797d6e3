"""How results look: as plain JSON values, and as lines for people.

JSON keys are the field names of holter.v1, enumerations their names without the prefix, times of
the wall clock ISO 8601 in UTC, a number that is not finite is null.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from holter_host import (
    Classification,
    Gap,
    GateReport,
    ModelChanged,
    Probation,
    ProbationState,
    SampleBlock,
    Session,
    SessionStarted,
    StoredModel,
    StreamEnd,
)

Event = SessionStarted | SampleBlock | Gap | ModelChanged | Classification | StreamEnd

UNKNOWN: Final = 2**63 - 1  # as an uncertainty; see stream.proto

KINDS: Final[dict[type, str]] = {
    SessionStarted: "session_started",
    SampleBlock: "sample_block",
    Gap: "gap",
    ModelChanged: "model_changed",
    Classification: "classification",
    StreamEnd: "end",
}


def plain(value: Any) -> Any:
    """A dataclass of Holter's, or what is in one, as JSON values."""
    if isinstance(value, SampleBlock):
        return _block(value)
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime.datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def event_json(event: Event) -> dict[str, Any]:
    """An event of a stream under its kind."""
    return {KINDS[type(event)]: plain(event)}


def _block(block: SampleBlock) -> dict[str, Any]:
    return {
        "session_id": block.session_id,
        "first_sequence": block.first_sequence,
        "frame_count": block.frame_count,
        "channel_count": block.channel_count,
        "monotonic_time_nanos": block.monotonic_time_nanos,
        "counts": block.counts.reshape(-1).tolist(),
        "sample_format": "U8" if block.counts.dtype.itemsize == 1 else "S16LE",
        "lead_off_runs": plain(block.lead_off_runs),
        "late_count": block.late_count,
    }


def event_line(event: Event, session: Session | None) -> str:
    """An event of a stream as one line; `session` is the one that it belongs to."""
    match event:
        case SessionStarted():
            return _session_line(event)
        case SampleBlock():
            return (
                f"{clock(event.session, event.first_sequence)}  {_frames(event)}  "
                f"{_levels(event)}{electrodes(event)}"
            )
        case Gap():
            when = clock(session, event.first_sequence)
            return f"{when}  {_frames(event)}  missing: {event.cause.value}"
        case ModelChanged(model_sha256=""):
            return "no active model: no windows come until one is deployed (holter deploy)"
        case ModelChanged():
            return f"model {event.model_sha256[:12]} from sequence {event.swap_sequence} on"
        case Classification():
            when = clock(session, event.last_sequence)
            span = f"frames {event.first_sequence}–{event.last_sequence}"
            return f"{when}  {verdict(event):<22}  {span}"
        case StreamEnd():
            return f"the device ended the stream at {event.next_sequence}: {event.reason.value}"


def verdict(classification: Classification) -> str:
    """The class and its score, or why there is none."""
    if not classification.label:
        return f"no class: {classification.unclassifiable_reason.value}"
    return f"{classification.label:<8} {classification.score or 0:.3f}"


def scores(classification: Classification) -> str:
    """Every score with its label."""
    return "  ".join(f"{score.label} {score.value:.3f}" for score in classification.scores)


def clock(session: Session | None, sequence: int) -> str:
    """The local time of day of a frame."""
    if session is None:
        return f"{sequence:>12}"
    return f"{session.time(sequence).astimezone():%H:%M:%S.%f}"[:12]


def size(count: int) -> str:
    """A number of bytes for people."""
    if count < 10_000:
        return f"{count} bytes"
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def model_name(model: StoredModel) -> str:
    """A model as people call it."""
    return f"{model.spec.name}, version {model.spec.version}"


def gate_lines(report: GateReport) -> list[str]:
    """The steps of the gate, each with its time and what it found."""
    lines = []
    for step in report.steps:
        facts = ", ".join(_fact(key, value) for key, value in step.facts.items())
        lines.append(f"  {step.name:<9}{step.elapsed_nanos / 1e6:>9.1f} ms  {facts}".rstrip())
    return lines


def probation_line(probation: Probation) -> str:
    """How a probation does, or did."""
    name = probation.sha256[:12]
    windows = amount(probation.window_count, "window")
    if probation.state is ProbationState.RUNNING:
        return f"{name} is on probation, {windows} so far"
    if probation.state is ProbationState.PASSED:
        return f"{name} has passed its probation, {windows}"
    return (
        f"the device went back from {name} to {probation.previous_sha256[:12]} after {windows} "
        f"({state(probation.return_cause)}): {probation.reason}"
    )


def _fact(name: str, value: str) -> str:
    """A fact of the gate, its name as words and its time in ms."""
    if name.endswith("_ns") and value.isdecimal():
        return f"{name.removesuffix('_ns')} {int(value) / 1e6:.1f} ms"
    return f"{name.replace('_', ' ')} {value}"


def amount(number: int, noun: str, plural: str = "") -> str:
    """A number of things, e.g. "1 channel", "2 channels"."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def state(value: enum.Enum) -> str:
    """A state as words, e.g. "no model"."""
    return str(value.value).lower().replace("_", " ")


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of texts as aligned lines."""
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _session_line(event: SessionStarted) -> str:
    session = event.session
    names = ", ".join(channel.name for channel in session.channels)
    since = f"{session.time(0).astimezone():%Y-%m-%d %H:%M:%S}"
    line = f"session {session.session_id}: {session.rate_hz:g} Hz, {names}, since {since}"
    if event.previous_session_id:
        known = event.hole_uncertainty_nanos < UNKNOWN
        hole = f"{event.hole_nanos / 1e9:.1f} s" if known else "an unknown time"
        line += f" ({hole} after session {event.previous_session_id})"
    return line


def _frames(event: SampleBlock | Gap) -> str:
    return f"frames {event.first_sequence}–{event.next_sequence - 1}"


def electrodes(block: SampleBlock) -> str:
    """Which channels' electrodes were off during the block, and why."""
    reasons: dict[str, set[str]] = {}
    for run in block.lead_off_runs:
        for index, channel in enumerate(block.session.channels):
            if index in run.channel_indexes or not run.channel_indexes:
                reasons.setdefault(channel.name, set()).update(run.reasons)
    if not reasons:
        return ""
    named = [f"{name} {'+'.join(sorted(why))}".rstrip() for name, why in reasons.items()]
    return f"  electrode off: {', '.join(named)}"


def _levels(block: SampleBlock) -> str:
    return "  ".join(
        f"{channel.name} {column.min()}–{column.max()}"
        for channel, column in zip(block.session.channels, block.counts.T, strict=True)
    )
