"""What a fake device streams: its sessions, frame by frame and window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc

from holter.v1 import classification_service_pb2 as classification_pb
from holter.v1 import model_service_pb2 as model_pb
from holter.v1 import sample_service_pb2 as sample_pb
from holter.v1 import stream_pb2 as stream_pb
from holter_host.testing._signal import HOLE_NANOS, fake_counts
from holter_host.testing._status import Failure, abort

if TYPE_CHECKING:
    from holter_host.testing import FakeDevice

Event = tuple[str, Any]
Content = Callable[["FakeDevice", int, int, int], Iterator[Event]]


def stream(
    device: FakeDevice,
    start: stream_pb.StreamStart,
    context: grpc.ServicerContext,
    content: Content,
) -> Iterator[Event]:
    """The events of a stream, from session to session, and its end."""
    session_id, sequence = _place(device, start, context)
    frames = 0
    for number in range(session_id, len(device.frames) + 1):
        frames = device.frames[number - 1]
        yield (
            "session_started",
            stream_pb.SessionStarted(
                session=device.session(number),
                previous_session_id=number - 1,
                previous_next_sequence=device.frames[number - 2] if number > 1 else 0,
                hole_nanos=HOLE_NANOS if number > 1 else 0,
            ),
        )
        yield from content(device, number, sequence, frames)
        # A place past the end of what is there stays where it is.
        frames, sequence = max(frames, sequence), 0
    number = len(device.frames)
    yield _heartbeat(device, number, frames)
    reason = stream_pb.STREAM_END_REASON_SOURCE_ENDED
    if device.hold:
        for _ in device.beats(context):
            yield _heartbeat(device, number, frames)
        if not device.stopping:
            return
        reason = stream_pb.STREAM_END_REASON_STOPPING
    yield "end", stream_pb.StreamEnd(session_id=number, next_sequence=frames, reason=reason)


def _heartbeat(device: FakeDevice, session_id: int, next_sequence: int) -> Event:
    beat = stream_pb.Heartbeat(
        session_id=session_id,
        next_sequence=next_sequence,
        utc=device.utc(),
        quality=device.quality,
        recording_state=device.recording.state,
    )
    return "heartbeat", beat


def samples(device: FakeDevice, session_id: int, first: int, frames: int) -> Iterator[Event]:
    """Every frame of a session from `first` on, as a block or as a gap."""
    holes = [hole for hole in device.holes if hole.session_id == session_id]
    while first < frames:
        hole = next((h for h in holes if first < h.first_sequence + h.frame_count), None)
        if hole is not None and hole.first_sequence <= first:
            count = hole.first_sequence + hole.frame_count - first
            yield (
                "gap",
                stream_pb.Gap(
                    session_id=session_id,
                    first_sequence=first,
                    frame_count=count,
                    cause=f"GAP_CAUSE_{hole.cause}",
                ),
            )
        else:
            count = min(frames, first + device.block, hole.first_sequence if hole else frames)
            count -= first
            yield "sample_block", _block(device, session_id, first, count)
        first += count


def classifications(
    device: FakeDevice, session_id: int, first: int, frames: int
) -> Iterator[Event]:
    """Every window of a session whose last frame is at or after `first`."""
    model = device.models.get(device.active_sha256)
    yield (
        "model_changed",
        classification_pb.ModelChanged(session_id=session_id, model_sha256=device.active_sha256),
    )
    if model is None:
        return
    window, hop = model.spec.window_frame_count, model.spec.hop_frame_count
    for last in range(window - 1, frames, hop):
        if last >= first:
            yield "classification", _classification(device, model, session_id, last)


def verdict(model: model_pb.Model, total: int) -> classification_pb.Classification:
    """A class for a window: the sum of its values, modulo the number of labels."""
    labels = list(model.spec.labels)
    chosen = total % len(labels)
    rest = 0.25 / max(1, len(labels) - 1)
    scores = [
        classification_pb.Score(label=label, value=0.75 if number == chosen else rest)
        for number, label in enumerate(labels)
    ]
    return classification_pb.Classification(
        model_sha256=model.sha256, label=labels[chosen], scores=scores, inference_nanos=250_000
    )


def _place(
    device: FakeDevice, start: stream_pb.StreamStart, context: grpc.ServicerContext
) -> tuple[int, int]:
    """Session and sequence of a start."""
    kind = start.WhichOneof("start")
    if kind == "earliest":
        return 1, 0
    if kind != "position":
        return len(device.frames), device.live_sequence
    place = start.position
    missing = grpc.StatusCode.NOT_FOUND
    if place.log_id not in ("", device.log_id):
        facts = {"log_id": device.log_id, "wanted": place.log_id}
        abort(context, Failure(missing, "Another log.", "LOG_NOT_FOUND", facts))
    if not 1 <= place.session_id <= len(device.frames):
        facts = {"session_id": str(place.session_id)}
        message = f"The log has no session {place.session_id}."
        abort(context, Failure(missing, message, "SESSION_NOT_FOUND", facts))
    return place.session_id, place.sequence


def _block(device: FakeDevice, session_id: int, first: int, count: int) -> sample_pb.SampleBlock:
    runs = []
    for run in device.lead_off:
        begin, end = max(first, run.first_sequence), min(first + count, run.next_sequence)
        if begin < end:
            runs.append(
                sample_pb.LeadOffRun(
                    first_sequence=begin,
                    frame_count=end - begin,
                    channel_indexes=run.channel_indexes,
                    reasons=[f"LEAD_OFF_REASON_{reason}" for reason in run.reasons],
                )
            )
    return sample_pb.SampleBlock(
        session_id=session_id,
        first_sequence=first,
        frame_count=count,
        channel_count=len(device.channels),
        monotonic_time_nanos=_nanos(device, session_id, first),
        counts=fake_counts(first, count, len(device.channels)).tobytes(),
        sample_format=stream_pb.SAMPLE_FORMAT_U8,
        lead_off_runs=runs,
    )


def _classification(
    device: FakeDevice, model: model_pb.Model, session_id: int, last: int
) -> classification_pb.Classification:
    first = last + 1 - model.spec.window_frame_count
    answer = verdict(model, int(fake_counts(first, last + 1 - first, 1).sum()))
    for hole in device.holes:
        end = hole.first_sequence + hole.frame_count
        if hole.session_id == session_id and first < end and hole.first_sequence <= last:
            answer = classification_pb.Classification(
                model_sha256=model.sha256,
                unclassifiable_reason=classification_pb.UNCLASSIFIABLE_REASON_GAP,
            )
    answer.session_id = session_id
    answer.first_sequence, answer.last_sequence = first, last
    answer.monotonic_time_nanos = _nanos(device, session_id, last)
    return answer


def _nanos(device: FakeDevice, session_id: int, sequence: int) -> int:
    return device.start_nanos(session_id) + round(sequence * 1e9 / device.rate_hz)
