"""Between holterd's types and the messages of the wire; nothing else knows both."""

from __future__ import annotations

import errno
import re
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2

from holter.signature import ModelSignature, SignatureError
from holter.spec import ModelSpec
from holter.v1 import classification_service_pb2 as classification_pb
from holter.v1 import device_service_pb2 as device_pb
from holter.v1 import model_service_pb2 as model_pb
from holter.v1 import sample_service_pb2 as sample_pb
from holter.v1 import stream_pb2 as stream_pb

from ..clock import UtcEstimate
from ..deploy import DeployOutcome
from ..errors import InvalidFieldError
from ..gate import GateReport
from ..log import End, Recording, Start, StartEarliest, StartLive, StartPosition, StartTime
from ..probation import ReturnCause
from ..samples import (
    Block,
    Channel,
    Classification,
    Gap,
    LeadOffRun,
    ModelChange,
    Quality,
    Session,
    SessionQuality,
)
from ..store import Probation, StoredModel

DEFAULT_MAX_LATENCY_SECONDS = 0.1
GREATEST_MAX_LATENCY_SECONDS = 10.0


def start_from_pb(message: stream_pb.StreamStart) -> Start:
    """Where a stream is to start.

    Raises:
        InvalidFieldError: a number is below 0, or the time is none.
    """
    kind = message.WhichOneof("start")
    if kind == "earliest":
        return StartEarliest()
    if kind == "position":
        position = message.position
        if position.sequence < 0:
            raise InvalidFieldError(
                f"start.position.sequence is {position.sequence}; sequences count from 0",
                field="start.position.sequence",
            )
        return StartPosition(position.session_id, position.sequence, position.log_id)
    if kind == "time":
        return StartTime(_utc_ns(message.time))
    return StartLive()


def sha256_from_pb(text: str) -> str:
    """A digest.

    Raises:
        InvalidFieldError: it is none.
    """
    if re.fullmatch("[0-9a-f]{64}", text):
        return text
    raise InvalidFieldError(
        f"sha256 is {text!r}; it must be the SHA-256 of the model's file: 64 lower-case hex digits",
        field="sha256",
    )


def signature_from_pb(request: model_pb.DeployModelRequest) -> ModelSignature | None:
    """The signature of a model that is sent; None where there is none.

    Raises:
        InvalidFieldError: it is not written like one.
    """
    if not request.HasField("signature"):
        return None
    try:
        return ModelSignature(request.signature.public_key, request.signature.value)
    except SignatureError as error:
        raise InvalidFieldError(f"signature is none: {error}", field="signature") from error


def _utc_ns(time: timestamp_pb2.Timestamp) -> int:
    """A time in ns since 1970; one that 64 bits do not hold is the first or the last that they do.

    Raises:
        InvalidFieldError: it is no time.
    """
    try:
        return max(-(2**63), min(time.ToNanoseconds(), 2**63 - 1))
    except ValueError as error:
        raise InvalidFieldError(
            f"start.time is no time of the years 1 to 9999: {error}", field="start.time"
        ) from error


def max_latency_from_pb(request: sample_pb.StreamSamplesRequest) -> float:
    """How long a frame may wait at the live edge, in seconds.

    Raises:
        InvalidFieldError: it is not in 0 to 10 s.
    """
    if not request.HasField("max_latency"):
        return DEFAULT_MAX_LATENCY_SECONDS
    seconds = _seconds(request.max_latency)
    if not 0 <= seconds <= GREATEST_MAX_LATENCY_SECONDS:
        raise InvalidFieldError(
            f"max_latency is {seconds:g} s; it must be 0 to {GREATEST_MAX_LATENCY_SECONDS:g} s",
            field="max_latency",
        )
    return seconds


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def channel_to_pb(channel: Channel) -> stream_pb.Channel:
    """A channel and its maps."""
    return stream_pb.Channel(
        name=channel.name,
        volts_per_count=channel.volts_per_count,
        offset_volts=channel.offset_volts,
        gain=channel.gain,
        baseline_volts=channel.baseline_volts,
        capture_offset_nanos=channel.capture_offset_ns,
    )


def utc_to_pb(utc: UtcEstimate) -> stream_pb.UtcEstimate:
    """The wall clock."""
    return stream_pb.UtcEstimate(
        offset_nanos=utc.offset_ns,
        uncertainty_nanos=utc.uncertainty_ns,
        synchronized=utc.synchronized,
    )


def session_to_pb(session: Session) -> stream_pb.Session:
    """A session, without what came before it."""
    return stream_pb.Session(
        session_id=session.session_id,
        log_id=session.log_id,
        rate_hz=session.grid.rate_hz,
        start_monotonic_nanos=session.grid.start_ns,
        channels=[channel_to_pb(channel) for channel in session.channels],
        sample_format=f"SAMPLE_FORMAT_{session.sample_format.name}",
        boot_id=session.boot_id,
        utc=utc_to_pb(session.utc),
    )


def session_started_to_pb(session: Session) -> stream_pb.SessionStarted:
    """A session, and what came before it."""
    return stream_pb.SessionStarted(
        session=session_to_pb(session),
        previous_session_id=session.previous_session_id,
        previous_next_sequence=session.previous_next_sequence,
        hole_nanos=session.hole_ns,
        hole_uncertainty_nanos=session.hole_uncertainty_ns,
    )


def block_fields(block: Block, session: Session) -> dict[str, Any]:
    """The fields of a SampleBlock: protobuf builds it of them in place; a message it would copy."""
    return {
        "session_id": block.session_id,
        "first_sequence": block.first_sequence,
        "frame_count": block.frame_count,
        "channel_count": len(session.channels),
        "monotonic_time_nanos": session.grid.time_ns(block.first_sequence),
        "counts": block.counts,
        "sample_format": int(session.sample_format),
        "lead_off_runs": [_lead_off_fields(run) for run in block.lead_off],
        "late_count": block.late_count,
    }


def _lead_off_fields(run: LeadOffRun) -> dict[str, Any]:
    return {
        "first_sequence": run.first_sequence,
        "frame_count": run.frame_count,
        "channel_indexes": _set_bits(run.channel_mask),
        "reasons": _set_bits(run.reasons),
    }


def _set_bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def gap_to_pb(gap: Gap) -> stream_pb.Gap:
    """A gap."""
    return stream_pb.Gap(
        session_id=gap.session_id,
        first_sequence=gap.first_sequence,
        frame_count=gap.frame_count,
        cause=f"GAP_CAUSE_{gap.cause.name}",
    )


def end_to_pb(end: End) -> stream_pb.StreamEnd:
    """The end of a stream."""
    return stream_pb.StreamEnd(
        session_id=end.session_id,
        next_sequence=end.next_sequence,
        reason=f"STREAM_END_REASON_{end.reason.name}",
    )


def recording_state(recording: Recording) -> str:
    """Whether frames reach the disk."""
    return f"RECORDING_STATE_{'STOPPED' if recording.stopped else 'RECORDING'}"


def recording_to_pb(recording: Recording, log_id: str) -> device_pb.Recording:
    """How the log does."""
    message = device_pb.Recording(
        state=recording_state(recording),
        error=recording.error,
        size_bytes=recording.size_bytes,
        size_limit_bytes=recording.size_limit_bytes,
        durable_sequence=recording.durable_sequence,
        lost_frame_count=recording.lost_frame_count,
        written_bytes=recording.written_bytes,
    )
    if recording.earliest is not None:
        message.earliest.log_id = log_id
        message.earliest.session_id = recording.earliest.session_id
        message.earliest.sequence = recording.earliest.next_sequence
    return message


def quality_to_pb(quality: SessionQuality) -> stream_pb.SamplingQuality:
    """The sampler's quality."""
    recent = quality.last_minute
    return stream_pb.SamplingQuality(
        **_quality_fields(quality),
        sampler_restart_count=quality.sampler_restart_count,
        bus_errors=[
            stream_pb.BusErrorCount(errno=number, name=errno.errorcode.get(number, ""), count=count)
            for number, count in quality.bus_errors.items()
        ],
        last_minute=stream_pb.RecentQuality(
            **_quality_fields(recent),
            duration_nanos=recent.duration_ns,
            achieved_rate_hz=recent.achieved_rate_hz,
        ),
    )


def _quality_fields(quality: Quality) -> dict[str, Any]:
    """The fields that a session's quality and the last minute's share."""
    return {
        "received_count": quality.received_count,
        "missing_count": quality.missing_count,
        "late_count": quality.late_count,
        "retry_count": quality.retry_count,
        "bus_error_count": sum(quality.bus_errors.values()),
        "lateness_p50_nanos": quality.lateness_p50_ns,
        "lateness_p99_nanos": quality.lateness_p99_ns,
        "lateness_p999_nanos": quality.lateness_p999_ns,
        "lateness_max_nanos": quality.lateness_max_ns,
    }


def classification_fields(item: Classification, session: Session | None) -> dict[str, Any]:
    """The fields of a Classification; `session` is None for a window that a caller brought."""
    return {
        "session_id": item.session_id,
        "first_sequence": item.first_sequence,
        "last_sequence": item.last_sequence,
        "monotonic_time_nanos": session.grid.time_ns(item.last_sequence) if session else 0,
        "model_sha256": item.model_sha256,
        "label": item.label,
        "scores": [
            {"label": label, "value": value}
            for label, value in zip(item.labels, item.scores, strict=True)
        ],
        "unclassifiable_reason": int(item.reason or 0),
        "inference_nanos": item.inference_ns,
    }


def model_change_to_pb(change: ModelChange) -> classification_pb.ModelChanged:
    """A change of model."""
    return classification_pb.ModelChanged(
        session_id=change.session_id,
        swap_sequence=change.swap_sequence,
        model_sha256=change.model_sha256,
    )


def spec_to_pb(spec: ModelSpec) -> model_pb.ModelSpec:
    """What a model says of itself."""
    return model_pb.ModelSpec(
        name=spec.name,
        version=spec.version,
        rate_hz=spec.rate_hz,
        window_frame_count=spec.window,
        hop_frame_count=spec.hop,
        channels=spec.channels,
        unit=f"MODEL_UNIT_{spec.unit.upper()}",
        labels=spec.labels,
        score_kind=f"SCORE_KIND_{spec.score_kind.upper()}",
        tolerance=spec.tolerance,
    )


def model_to_pb(model: StoredModel) -> model_pb.Model:
    """A model that the device holds."""
    message = model_pb.Model(
        sha256=model.sha256,
        state=f"MODEL_STATE_{model.state.name}",
        size_bytes=model.size_bytes,
        spec=spec_to_pb(model.spec),
        signer=model.signature.signer if model.signature else "",
    )
    if model.store_time_ns:
        message.store_time.FromNanoseconds(model.store_time_ns)
    return message


def probation_to_pb(probation: Probation) -> model_pb.Probation:
    """How the newest probation does, or did."""
    message = model_pb.Probation(
        sha256=probation.sha256,
        previous_sha256=probation.previous,
        state=f"PROBATION_STATE_{probation.state.name}",
        window_count=probation.window_count,
        reason=probation.reason,
    )
    if probation.cause:
        message.return_cause = f"RETURN_CAUSE_{ReturnCause(probation.cause).name}"  # type: ignore[assignment]
    if probation.start_time_ns:
        message.start_time.FromNanoseconds(probation.start_time_ns)
    if probation.end_time_ns:
        message.end_time.FromNanoseconds(probation.end_time_ns)
    return message


def report_to_pb(report: GateReport) -> model_pb.GateReport:
    """What the gate found."""
    return model_pb.GateReport(
        steps=[
            model_pb.GateStep(name=step.name, elapsed_nanos=step.elapsed_ns, facts=step.facts)
            for step in report.steps
        ]
    )


def outcome_fields(outcome: DeployOutcome) -> dict[str, Any]:
    """How a deploy or an activation went: the fields that both responses have."""
    return {
        "model": model_to_pb(outcome.model),
        "gate_report": report_to_pb(outcome.report),
        "session_id": outcome.session_id,
        "swap_sequence": outcome.swap_sequence,
        "already_active": outcome.already_active,
    }
