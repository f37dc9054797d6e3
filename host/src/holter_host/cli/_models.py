"""The verbs about models on a device: deploy, models, activate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from holter_host import (
    DeployResult,
    Probation,
    ProbationState,
    StoredModel,
    connect,
    read_bundle,
)
from holter_host.cli._common import (
    NOTHING,
    device_option,
    emit,
    emit_json,
    json_option,
    note,
    run_async,
    working,
)
from holter_host.cli._output import (
    gate_lines,
    model_name,
    plain,
    probation_line,
    size,
    state,
    table,
)
from holter_host.preflight import check


@click.command
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Will it run there? Store and swap nothing.")
@click.option("--wait", is_flag=True, help="Wait for the verdict of its probation.")
@device_option
@json_option("Print one JSON object: model, gate_report, session_id, swap_sequence, …")
def deploy(model: Path, dry_run: bool, wait: bool, address: str, as_json: bool) -> int:
    """Send MODEL, a file made by convert or bundle, to a device.

    The device judges it while the old model goes on, and swaps it in at one frame. A model that is
    refused changes nothing. An upload that was cut is sent again.

    With --dry-run, what can be known here is compared first and every misfit said with what to
    change: ops and their versions, size, rate, window and channels. Then the device loads the model
    and runs it, as in a deploy, and stores nothing.

    Then it is on probation: for a minute and 10 windows at least the model before stays ready, and
    the device goes back to it by itself if this one gives no numbers, fails, ends its process or is
    late. --wait follows that, and exit code 1 says that the device went back.

    \b
    Example:
      holter deploy rhythm.tflite --device 127.0.0.1:50051
      holter deploy rhythm.tflite --dry-run --json
    """

    async def work() -> DeployResult:
        async with connect(address) as device:
            if dry_run:
                check(await asyncio.to_thread(read_bundle, model), await device.status())
            return await device.deploy(model, validate_only=dry_run)

    with working(f"The device at {address} takes and judges {model.name}", quiet=as_json):
        result = run_async(work())
    waits = wait and not dry_run
    if not (waits and as_json):
        _show_result(result, as_json, "would pass" if dry_run else "deployed", dry_run)
    return _follow(result, address, as_json) if waits else 0


@click.command
@device_option
@json_option('Print one JSON object: {"models": [...], "probation": {...}}.')
def models(address: str, as_json: bool) -> int:
    """List the models that a device holds, the active one first, and how the last probation went.

    Exit code 5 says that there are none.

    \b
    Example:
      holter models --json
    """

    async def work() -> tuple[tuple[StoredModel, ...], Probation | None]:
        async with connect(address) as device:
            return await device.holdings()

    found, probation = run_async(work())
    if as_json:
        emit_json({"models": plain(found), "probation": plain(probation)})
    elif found:
        for line in table(map(_row, found)):
            emit(line)
        if probation is not None:
            emit(probation_line(probation))
    else:
        note(f"the device at {address} holds no models; deploy one with: holter deploy OUT.tflite")
    return 0 if found else NOTHING


@click.command
@click.argument("sha256")
@device_option
@json_option("Print one JSON object, as deploy.")
def activate(sha256: str, address: str, as_json: bool) -> None:
    """Make a stored model the active one, through the same gate as a deploy.

    SHA256 is its digest, or 8 or more first digits of it.

    \b
    Example:
      holter activate 3fa9c2d1
    """

    async def work() -> DeployResult:
        async with connect(address) as device:
            return await device.activate(sha256)

    with working(f"The device at {address} judges {sha256[:12]}", quiet=as_json):
        result = run_async(work())
    _show_result(result, as_json, "activated", False)


@click.command
@device_option
@json_option("Print one JSON object, as deploy.")
def rollback(address: str, as_json: bool) -> None:
    """Go back to the model before the active one.

    During a probation that model is there still, and the device swaps it in at once; later it goes
    through the gate as any other.

    Said twice, it comes back to where it was: the model that one went back from is now the one
    before. For an older one, see `holter models` and `holter activate`.

    \b
    Example:
      holter rollback
    """

    async def work() -> DeployResult:
        async with connect(address) as device:
            return await device.rollback()

    with working(f"The device at {address} goes back", quiet=as_json):
        result = run_async(work())
    _show_result(result, as_json, "activated", False)


@click.command
@click.argument("sha256")
@device_option
@json_option("Print one JSON object: the model as it was.")
def delete(sha256: str, address: str, as_json: bool) -> None:
    """Delete a stored model, to make room; the active one and the one before it stay.

    SHA256 is its digest, or 8 or more first digits of it.

    \b
    Example:
      holter delete 3fa9c2d1
    """

    async def work() -> StoredModel:
        async with connect(address) as device:
            return await device.delete(sha256)

    model = run_async(work())
    if as_json:
        emit_json(plain(model))
    else:
        emit(f"deleted: {model_name(model)}, {size(model.size_bytes)}")


def _follow(result: DeployResult, address: str, as_json: bool) -> int:
    """Wait for the verdict on what was deployed, show it, and give the exit code."""

    async def work() -> Probation | None:
        async with connect(address) as device:
            return await device.verdict(result.model.sha256)

    if not as_json:
        note("waiting for the verdict; Ctrl-C ends that, not the probation (holter models)")
    with working("It is on probation", quiet=as_json):
        verdict = run_async(work())
    if as_json:
        emit_json(plain(result) | {"probation": plain(verdict)})
    elif verdict is None:
        emit("  no probation: there was no model before it, or another swap has come since")
    else:
        emit(f"  {probation_line(verdict)}")
    return 1 if verdict is not None and verdict.state is ProbationState.RETURNED else 0


def _show_result(result: DeployResult, as_json: bool, done: str, dry_run: bool) -> None:
    if as_json:
        value: dict[str, Any] = plain(result)
        emit_json(value)
        return
    model = result.model
    done = "already active" if result.already_active else done
    emit(f"{done}: {model_name(model)}, {size(model.size_bytes)}")
    emit(f"  sha256  {model.sha256}")
    for line in gate_lines(result.gate_report):
        emit(line)
    if result.session_id:
        emit(
            f"  windows that end at frame {result.swap_sequence} of session {result.session_id} "
            "or later are its"
        )
    elif dry_run:
        emit("  nothing was stored and nothing swapped")


def _row(model: StoredModel) -> tuple[str, ...]:
    spec = model.spec
    stored = f"{model.store_time.astimezone():%Y-%m-%d %H:%M}" if model.store_time else "-"
    return (
        model.sha256[:12],
        state(model.state),
        model_name(model),
        f"{spec.window_frame_count} frames at {spec.rate_hz:g} Hz",
        ",".join(spec.labels),
        size(model.size_bytes),
        stored,
    )
