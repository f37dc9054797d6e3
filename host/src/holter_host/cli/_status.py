"""The verb status."""

from __future__ import annotations

import click

from holter_host import DeviceStatus, connect
from holter_host.cli._common import device_option, emit, emit_json, json_option, run_async
from holter_host.cli._output import amount, model_name, plain, state, table


@click.command
@device_option
@json_option("Print one JSON object with the fields of GetDeviceResponse.")
def status(address: str, as_json: bool) -> None:
    """Show what a device is, what it samples, how well, and what classifies.

    \b
    Example:
      holter status --device raspberrypi.local:50051
    """

    async def work() -> DeviceStatus:
        async with connect(address) as device:
            return await device.status()

    found = run_async(work())
    if as_json:
        emit_json(plain(found))
        return
    for line in table(_rows(found)):
        emit(line)


def _rows(status: DeviceStatus) -> list[tuple[str, str]]:
    session, model = status.session, status.active_model
    names = ", ".join(channel.name for channel in session.channels)
    rows = [
        ("device", f"{status.hostname}, holterd {status.version}, up {_span(status.uptime_nanos)}"),
        ("source", f"{status.source.description}{_speed(status.source.speed)}"),
        ("session", f"{session.session_id}: {session.rate_hz:g} Hz, {names}"),
        ("sampler", f"{state(status.sampler_state)}{_after(status.sampler_error)}"),
        ("frames", _frames(status)),
        ("lateness", _lateness(status)),
        ("model", f"{model_name(model)} ({model.sha256[:12]})" if model else "none"),
        (
            "classifier",
            f"{state(status.classifier_state)}{_after(status.classifier_error)}",
        ),
    ]
    if status.runtime is not None:
        rows.append(("runtime", f"{status.runtime.name} {status.runtime.version}"))
    return rows


def _frames(status: DeviceStatus) -> str:
    quality = status.quality
    return (
        f"{quality.received_count} received, {quality.missing_count} missing, "
        f"{quality.late_count} late; {amount(quality.bus_error_count, 'bus error')}, "
        f"{amount(quality.sampler_restart_count, 'restart')} of the sampler"
    )


def _lateness(status: DeviceStatus) -> str:
    quality = status.quality
    values = (quality.lateness_p50_nanos, quality.lateness_p99_nanos, quality.lateness_max_nanos)
    p50, p99, most = (f"{nanos / 1e6:.2f}" for nanos in values)
    return f"median {p50} ms, 99 % {p99} ms, greatest {most} ms"


def _speed(speed: float) -> str:
    if speed == 1:
        return ""
    return f" (its clock runs {speed:g} times as fast)" if speed else " (as fast as can be)"


def _after(error: str) -> str:
    return f" (last error: {error})" if error else ""


def _span(nanos: int) -> str:
    minutes, seconds = divmod(nanos // 10**9, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
