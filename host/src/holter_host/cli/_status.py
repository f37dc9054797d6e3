"""The verb status."""

from __future__ import annotations

import textwrap

import click

from holter_host import (
    ClockOffset,
    DeviceError,
    DeviceStatus,
    RecentQuality,
    Recording,
    RecordingState,
    SamplingQuality,
    Source,
    connect,
)
from holter_host.cli._common import device_option, emit, emit_json, json_option, run_async
from holter_host.cli._output import amount, model_name, plain, size, state

Rows = list[tuple[str, str]]


@click.command
@device_option
@json_option("Print one JSON object with the fields of GetDeviceResponse, and clock_offset.")
def status(address: str, as_json: bool) -> None:
    """Show what a device is, what it samples, how well, what it records, and what classifies.

    Lateness is the time by which reads began after their tick; a simulated source has none, as it
    is read at no instant. The clock's row is the device's wall
    clock against this computer's, measured by a few probes.

    \b
    Example:
      holter status --device raspberrypi.local:50051
    """

    async def work() -> tuple[DeviceStatus, ClockOffset | None]:
        async with connect(address) as device:
            found = await device.status()
            try:
                return found, await device.clock_offset()
            except DeviceError:  # a simulated clock has no offset, an older device does not tell
                return found, None

    found, offset = run_async(work())
    if as_json:
        emit_json({**plain(found), "clock_offset": _offset_json(offset)})
        return
    for name, text in _rows(found, offset):
        first = f"{name:<12}"
        for line in textwrap.wrap(text, 80, initial_indent=first, subsequent_indent=" " * 12):
            emit(line)


def _rows(status: DeviceStatus, offset: ClockOffset | None) -> Rows:
    session, model = status.session, status.active_model
    names = ", ".join(channel.name for channel in session.channels)
    rows = [
        *_alarm(status.recording),
        ("device", f"{status.hostname}, holterd {status.version}, up {_span(status.uptime_nanos)}"),
        ("source", f"{status.source.description}{_reads(status.source)}"),
        ("sampler", f"{state(status.sampler_state)}{_after(status.sampler_error)}"),
        ("session", f"{session.session_id}: {session.rate_hz:g} Hz, {names}"),
        *_quality(status.quality),
        ("recording", _recording(status)),
        ("clock", _clock(status, offset)),
        ("model", f"{model_name(model)} ({model.sha256[:12]})" if model else "none"),
        (
            "classifier",
            f"{state(status.classifier_state)}{_after(status.classifier_error)}",
        ),
    ]
    if status.runtime is not None:
        rows.append(("runtime", f"{status.runtime.name} {status.runtime.version}"))
    rows += [("trusts", key) for key in status.trusted_keys]
    return rows


def _alarm(recording: Recording) -> Rows:
    """The first row, where frames do not reach the disk."""
    if recording.state is not RecordingState.STOPPED:
        return []
    return [("ALARM", f"not recording: {recording.error or 'the disk takes no frames'}")]


def _reads(source: Source) -> str:
    """What reading takes, where something is read; how fast a simulated clock runs."""
    if source.speed != 1:
        fast = f"{source.speed:g} times as fast" if source.speed else "as fast as can be"
        return f"; its clock runs {fast}"
    if not source.frame_read_nanos:
        return ""
    priority = "at" if source.real_time_priority else "not at"
    locked = "locked" if source.memory_locked else "not locked"
    return (
        f"; {amount(source.oversampling, 'conversion')} a count, "
        f"{source.frame_read_nanos / 1e6:.2f} ms a frame; {priority} real-time priority, memory "
        f"{locked}"
    )


def _quality(quality: SamplingQuality) -> Rows:
    recent = quality.last_minute
    newest = "last min." if recent.duration_nanos >= 60e9 else f"last {_short(recent)}"
    return [
        (
            "frames",
            f"{quality.received_count} received, {quality.missing_count} missing, "
            f"{quality.late_count} late",
        ),
        (
            f"  {newest}",
            f"{recent.received_count} received, {recent.missing_count} missing, "
            f"{recent.late_count} late; {recent.achieved_rate_hz:.3f} Hz",
        ),
        ("lateness", _lateness(quality)),
        *([(f"  {newest}", _lateness(recent))] if _has_lateness(quality) else []),
        ("bus errors", _bus_errors(quality)),
    ]


def _short(recent: RecentQuality) -> str:
    return f"{recent.duration_nanos / 1e9:.0f} s"


def _has_lateness(quality: SamplingQuality | RecentQuality) -> bool:
    """Whether reads were timed, which are never 0 ns late: frames that are made are not read."""
    return quality.lateness_max_nanos > 0


def _lateness(quality: SamplingQuality | RecentQuality) -> str:
    if not _has_lateness(quality):
        return "none measured: nothing was read at an instant"
    values = (
        quality.lateness_p50_nanos,
        quality.lateness_p99_nanos,
        quality.lateness_p999_nanos,
        quality.lateness_max_nanos,
    )
    p50, p99, p999, most = (f"{nanos / 1e6:.2f}" for nanos in values)
    return f"median {p50} ms, 99 % {p99}, 99.9 % {p999}, greatest {most} ms"


def _bus_errors(quality: SamplingQuality) -> str:
    kinds = ", ".join(f"{error.name} {error.count}" for error in quality.bus_errors)
    errors = f"{quality.bus_error_count} ({kinds})" if kinds else f"{quality.bus_error_count}"
    return (
        f"{errors}; {amount(quality.retry_count, 'retry', 'retries')}, "
        f"{amount(quality.sampler_restart_count, 'restart')} of the sampler"
    )


def _recording(status: DeviceStatus) -> str:
    recording, session = status.recording, status.session
    limit = f" of {size(recording.size_limit_bytes)}" if recording.size_limit_bytes else ""
    stopped = "" if recording.state is RecordingState.RECORDING else f"{state(recording.state)}; "
    text = f"{stopped}{size(recording.size_bytes)}{limit} on the disk"
    earliest = recording.earliest
    if earliest is not None:
        own = earliest.session_id == session.session_id
        since = f", since {session.time(earliest.sequence).astimezone():%Y-%m-%d %H:%M}"
        text += f", from session {earliest.session_id}, frame {earliest.sequence} on"
        text += since if own else ""
    if recording.lost_frame_count:
        text += f"; {amount(recording.lost_frame_count, 'frame')} lost"
    return text


def _clock(status: DeviceStatus, offset: ClockOffset | None) -> str:
    held = "" if status.utc.synchronized else "not "
    text = f"{held}synchronized to a time server"
    if offset is None:
        simulated = "simulated, so " if status.source.speed != 1 else ""
        return f"{text}; {simulated}not compared with this computer's"
    difference = offset.utc_difference_nanos
    side = "ahead of" if difference >= 0 else "behind"
    return (
        f"{_time(abs(difference))} {side} this computer's, ± "
        f"{_time(offset.uncertainty_nanos)}; {text}"
    )


def _offset_json(offset: ClockOffset | None) -> object:
    if offset is None:
        return None
    return {**plain(offset), "utc_difference_nanos": offset.utc_difference_nanos}


def _time(nanos: int) -> str:
    if nanos < 10**9:
        return f"{nanos / 1e6:.2f} ms"
    return f"{nanos / 1e9:.1f} s" if nanos < 120e9 else _span(nanos)


def _after(error: str) -> str:
    return f" (last error: {error})" if error else ""


def _span(nanos: int) -> str:
    minutes, seconds = divmod(nanos // 10**9, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
