"""Messages of holter.v1 to dataclasses and back: the only module that knows both."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
from google.protobuf import duration_pb2, timestamp_pb2

from holter.signature import ModelSignature
from holter.v1 import classification_service_pb2 as classification_pb
from holter.v1 import device_service_pb2 as device_pb
from holter.v1 import model_service_pb2 as model_pb
from holter.v1 import sample_service_pb2 as sample_pb
from holter.v1 import stream_pb2 as stream_pb
from holter_host import clock, enums, status, types
from holter_host.errors import BadInputError, ProtocolError

Start = str | types.LogPosition | datetime.datetime

MAX_LATENCY_SECONDS: Final = 10.0

_DTYPES: Final[dict[int, Any]] = {
    stream_pb.SAMPLE_FORMAT_U8: np.dtype(np.uint8),
    stream_pb.SAMPLE_FORMAT_S16LE: np.dtype(np.int16).newbyteorder("<"),
}

E = TypeVar("E", bound=enum.StrEnum)


def _enum(wrapper: Any, kind: type[E], prefix: str) -> Callable[[int], E]:
    """A function from a number on the wire to a member of `kind`; unknown ones never raise."""
    table = {number: kind[name.removeprefix(prefix)] for name, number in wrapper.items()}
    unknown = kind["UNRECOGNIZED"]
    return lambda number: table.get(number, unknown)


sample_format = _enum(stream_pb.SampleFormat, enums.SampleFormat, "SAMPLE_FORMAT_")
gap_cause = _enum(stream_pb.GapCause, enums.GapCause, "GAP_CAUSE_")
lead_off_reason = _enum(sample_pb.LeadOffReason, enums.LeadOffReason, "LEAD_OFF_REASON_")
recording_state = _enum(stream_pb.RecordingState, enums.RecordingState, "RECORDING_STATE_")
stream_end_reason = _enum(stream_pb.StreamEndReason, enums.StreamEndReason, "STREAM_END_REASON_")
unclassifiable_reason = _enum(
    classification_pb.UnclassifiableReason, enums.UnclassifiableReason, "UNCLASSIFIABLE_REASON_"
)
sampler_state = _enum(device_pb.SamplerState, enums.SamplerState, "SAMPLER_STATE_")
classifier_state = _enum(device_pb.ClassifierState, enums.ClassifierState, "CLASSIFIER_STATE_")
model_state = _enum(model_pb.ModelState, enums.ModelState, "MODEL_STATE_")
model_unit = _enum(model_pb.ModelUnit, enums.ModelUnit, "MODEL_UNIT_")
probation_state = _enum(model_pb.ProbationState, enums.ProbationState, "PROBATION_STATE_")
return_cause = _enum(model_pb.ReturnCause, enums.ReturnCause, "RETURN_CAUSE_")
score_kind = _enum(model_pb.ScoreKind, enums.ScoreKind, "SCORE_KIND_")


def stream_start(start: Start) -> stream_pb.StreamStart:
    """Where a stream starts, for the wire.

    Raises:
        BadInputError: it is none of "live", "earliest", a position of whole numbers from 0 on, a
            time with a time zone.
    """
    match start:
        case "live":
            return stream_pb.StreamStart(live=stream_pb.StartLive())
        case "earliest":
            return stream_pb.StreamStart(earliest=stream_pb.StartEarliest())
        case types.LogPosition() if _is_place(start):
            return stream_pb.StreamStart(
                position=stream_pb.LogPosition(
                    log_id=start.log_id, session_id=start.session_id, sequence=start.sequence
                )
            )
        case datetime.datetime() if start.tzinfo is not None:
            stamp = timestamp_pb2.Timestamp()
            stamp.FromDatetime(start)
            return stream_pb.StreamStart(time=stamp)
    raise BadInputError(
        f"A stream cannot start at {start!r}: give 'live', 'earliest', a LogPosition (whole "
        "numbers from 0 on), or a datetime with a time zone."
    )


def _is_place(position: types.LogPosition) -> bool:
    numbers = (position.session_id, position.sequence)
    return all(isinstance(number, int) and 0 <= number < 2**63 for number in numbers)


def max_latency(seconds: float | None) -> duration_pb2.Duration | None:
    """A stream's latency for the wire; None leaves it to the device.

    Raises:
        BadInputError: it is not 0 to 10 s.
    """
    if seconds is None:
        return None
    if not 0 <= seconds <= MAX_LATENCY_SECONDS:
        raise BadInputError(
            f"max_latency is {seconds!r}: give seconds from 0 to {MAX_LATENCY_SECONDS:g}."
        )
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def channel(pb: stream_pb.Channel) -> types.Channel:
    """A channel."""
    return types.Channel(
        pb.name,
        pb.volts_per_count,
        pb.offset_volts,
        pb.gain,
        pb.baseline_volts,
        pb.capture_offset_nanos,
    )


def utc_estimate(pb: stream_pb.UtcEstimate) -> types.UtcEstimate:
    """An estimate of the wall clock."""
    return types.UtcEstimate(pb.offset_nanos, pb.uncertainty_nanos, pb.synchronized)


def session(pb: stream_pb.Session) -> types.Session:
    """A session."""
    return types.Session(
        session_id=pb.session_id,
        log_id=pb.log_id,
        rate_hz=pb.rate_hz,
        start_monotonic_nanos=pb.start_monotonic_nanos,
        channels=tuple(map(channel, pb.channels)),
        sample_format=sample_format(pb.sample_format),
        boot_id=pb.boot_id,
        utc=utc_estimate(pb.utc),
    )


def session_started(pb: stream_pb.SessionStarted) -> types.SessionStarted:
    """The start of a session in a stream."""
    return types.SessionStarted(
        session=session(pb.session),
        previous_session_id=pb.previous_session_id,
        previous_next_sequence=pb.previous_next_sequence,
        hole_nanos=pb.hole_nanos,
        hole_uncertainty_nanos=pb.hole_uncertainty_nanos,
    )


def sample_block(pb: sample_pb.SampleBlock, of: types.Session) -> types.SampleBlock:
    """A block of the session `of`.

    Raises:
        ProtocolError: the block belongs to another session, its format is unknown, or its size does
            not fit its own numbers.
    """
    dtype = _DTYPES.get(pb.sample_format)
    frames, channels = pb.frame_count, pb.channel_count
    counts = pb.counts
    if (
        dtype is None
        or pb.session_id != of.session_id
        or channels != len(of.channels)
        or len(counts) != frames * channels * dtype.itemsize
    ):
        raise ProtocolError(
            f"The block at sequence {pb.first_sequence} of session {pb.session_id} does not fit "
            f"itself or session {of.session_id}: {len(counts)} bytes of format "
            f"{pb.sample_format} for {frames} frames of {channels} channels."
        )
    return types.SampleBlock(
        of,
        pb.first_sequence,
        pb.monotonic_time_nanos,
        np.frombuffer(counts, dtype).reshape(frames, channels),
        tuple(map(_lead_off_run, pb.lead_off_runs)),
        pb.late_count,
    )


def _lead_off_run(pb: sample_pb.LeadOffRun) -> types.LeadOffRun:
    return types.LeadOffRun(
        pb.first_sequence,
        pb.frame_count,
        tuple(pb.channel_indexes),
        tuple(map(lead_off_reason, pb.reasons)),
    )


def gap(pb: stream_pb.Gap) -> types.Gap:
    """A gap."""
    return types.Gap(pb.session_id, pb.first_sequence, pb.frame_count, gap_cause(pb.cause))


def quality(pb: stream_pb.SamplingQuality) -> types.SamplingQuality:
    """The sampler's quality."""
    return types.SamplingQuality(
        received_count=pb.received_count,
        missing_count=pb.missing_count,
        late_count=pb.late_count,
        bus_error_count=pb.bus_error_count,
        sampler_restart_count=pb.sampler_restart_count,
        lateness_p50_nanos=pb.lateness_p50_nanos,
        lateness_p99_nanos=pb.lateness_p99_nanos,
        lateness_max_nanos=pb.lateness_max_nanos,
        lateness_p999_nanos=pb.lateness_p999_nanos,
        retry_count=pb.retry_count,
        bus_errors=tuple(types.BusErrorCount(e.errno, e.name, e.count) for e in pb.bus_errors),
        last_minute=_recent_quality(pb.last_minute),
    )


def _recent_quality(pb: stream_pb.RecentQuality) -> types.RecentQuality:
    return types.RecentQuality(
        duration_nanos=pb.duration_nanos,
        received_count=pb.received_count,
        missing_count=pb.missing_count,
        late_count=pb.late_count,
        retry_count=pb.retry_count,
        bus_error_count=pb.bus_error_count,
        achieved_rate_hz=pb.achieved_rate_hz,
        lateness_p50_nanos=pb.lateness_p50_nanos,
        lateness_p99_nanos=pb.lateness_p99_nanos,
        lateness_p999_nanos=pb.lateness_p999_nanos,
        lateness_max_nanos=pb.lateness_max_nanos,
    )


def heartbeat(pb: stream_pb.Heartbeat) -> types.Heartbeat:
    """A heartbeat."""
    return types.Heartbeat(
        pb.session_id,
        pb.next_sequence,
        utc_estimate(pb.utc),
        quality(pb.quality),
        recording_state(pb.recording_state),
    )


def stream_end(pb: stream_pb.StreamEnd) -> types.StreamEnd:
    """The end of a stream."""
    return types.StreamEnd(pb.session_id, pb.next_sequence, stream_end_reason(pb.reason))


def model_changed(pb: classification_pb.ModelChanged) -> types.ModelChanged:
    """A change of the model."""
    return types.ModelChanged(pb.session_id, pb.swap_sequence, pb.model_sha256)


def classification(pb: classification_pb.Classification) -> types.Classification:
    """A classification."""
    return types.Classification(
        session_id=pb.session_id,
        first_sequence=pb.first_sequence,
        last_sequence=pb.last_sequence,
        monotonic_time_nanos=pb.monotonic_time_nanos,
        model_sha256=pb.model_sha256,
        label=pb.label,
        scores=tuple(types.Score(score.label, score.value) for score in pb.scores),
        unclassifiable_reason=unclassifiable_reason(pb.unclassifiable_reason),
        inference_nanos=pb.inference_nanos,
    )


def signature_to_pb(signature: ModelSignature | None) -> model_pb.ModelSignature | None:
    """A signature as it is sent; None where there is none."""
    if signature is None:
        return None
    return model_pb.ModelSignature(public_key=signature.public_key, value=signature.value)


def stored_model(pb: model_pb.Model) -> status.StoredModel:
    """A model that a device holds."""
    spec = pb.spec
    return status.StoredModel(
        sha256=pb.sha256,
        state=model_state(pb.state),
        size_bytes=pb.size_bytes,
        store_time=_time(pb.store_time) if pb.HasField("store_time") else None,
        spec=status.SpecSummary(
            name=spec.name,
            version=spec.version,
            rate_hz=spec.rate_hz,
            window_frame_count=spec.window_frame_count,
            hop_frame_count=spec.hop_frame_count,
            channels=tuple(spec.channels),
            unit=model_unit(spec.unit),
            labels=tuple(spec.labels),
            score_kind=score_kind(spec.score_kind),
            tolerance=spec.tolerance,
        ),
        signer=pb.signer,
    )


def probation(pb: model_pb.ListModelsResponse) -> status.Probation | None:
    """The newest probation of a device, if its last swap had one."""
    if not pb.HasField("probation"):
        return None
    found = pb.probation
    return status.Probation(
        sha256=found.sha256,
        previous_sha256=found.previous_sha256,
        state=probation_state(found.state),
        return_cause=return_cause(found.return_cause),
        reason=found.reason,
        start_time=_time(found.start_time) if found.HasField("start_time") else None,
        end_time=_time(found.end_time) if found.HasField("end_time") else None,
        window_count=found.window_count,
    )


def deploy_result(
    pb: model_pb.DeployModelResponse | model_pb.ActivateModelResponse,
) -> status.DeployResult:
    """What a deploy or an activation did."""
    steps = (
        status.GateStep(step.name, step.elapsed_nanos, dict(sorted(step.facts.items())))
        for step in pb.gate_report.steps
    )
    return status.DeployResult(
        model=stored_model(pb.model),
        gate_report=status.GateReport(tuple(steps)),
        session_id=pb.session_id,
        swap_sequence=pb.swap_sequence,
        already_active=pb.already_active,
    )


def device_status(pb: device_pb.GetDeviceResponse) -> status.DeviceStatus:
    """What a device is and how it does."""
    runtime = status.Runtime(pb.runtime.name, pb.runtime.version)
    return status.DeviceStatus(
        version=pb.version,
        hostname=pb.hostname,
        log_id=pb.log_id,
        session=session(pb.session),
        next_sequence=pb.next_sequence,
        source=_source(pb.source),
        sampler_state=sampler_state(pb.sampler_state),
        quality=quality(pb.quality),
        monotonic_time_nanos=pb.monotonic_time_nanos,
        utc=utc_estimate(pb.utc),
        classifier_state=classifier_state(pb.classifier_state),
        active_model=stored_model(pb.active_model) if pb.HasField("active_model") else None,
        runtime=runtime if pb.HasField("runtime") else None,
        limits=status.Limits(pb.limits.max_model_bytes, pb.limits.max_window_frame_count),
        uptime_nanos=pb.uptime_nanos,
        sampler_error=pb.sampler_error,
        classifier_error=pb.classifier_error,
        recording=_recording(pb.recording),
        trusted_keys=tuple(pb.trusted_keys),
    )


def _source(pb: device_pb.Source) -> status.Source:
    return status.Source(
        kind=pb.kind,
        description=pb.description,
        speed=pb.speed,
        oversampling=pb.oversampling,
        frame_read_nanos=pb.frame_read_nanos,
        real_time_priority=pb.real_time_priority,
        memory_locked=pb.memory_locked,
    )


def _recording(pb: device_pb.Recording) -> status.Recording:
    return status.Recording(
        state=recording_state(pb.state),
        error=pb.error,
        size_bytes=pb.size_bytes,
        size_limit_bytes=pb.size_limit_bytes,
        earliest=_log_position(pb.earliest) if pb.HasField("earliest") else None,
        durable_sequence=pb.durable_sequence,
        lost_frame_count=pb.lost_frame_count,
        written_bytes=pb.written_bytes,
    )


def _log_position(pb: stream_pb.LogPosition) -> types.LogPosition:
    return types.LogPosition(pb.session_id, pb.sequence, pb.log_id)


def device_clock(pb: device_pb.GetClockResponse) -> clock.DeviceClock:
    """A device's clocks."""
    return clock.DeviceClock(pb.monotonic_time_nanos, utc_estimate(pb.utc), pb.boot_id, pb.speed)


def _time(pb: timestamp_pb2.Timestamp) -> datetime.datetime | None:
    """A time in UTC; None where no calendar has it."""
    try:
        return pb.ToDatetime(tzinfo=datetime.UTC)
    except (ValueError, OverflowError):
        return None
