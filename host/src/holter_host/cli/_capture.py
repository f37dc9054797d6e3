"""The verbs capture and classify."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np

from holter_host import (
    BadInputError,
    Capture,
    Classification,
    Device,
    DeviceError,
    NoActiveModelError,
    SampleFormat,
    StoredModel,
    connect,
)
from holter_host.cli._common import (
    device_option,
    emit,
    emit_json,
    json_option,
    note,
    run_async,
)
from holter_host.cli._output import plain, scores, verdict
from holter_host.cli._streaming import ConnectionNotes, no_reconnect_option, start_option


@click.command
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="How long, by the device's clock.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The .npz file to write.",
)
@start_option
@no_reconnect_option
@device_option
@json_option('Print one JSON object a file: {"capture": {path, frame_count, missing_count, …}}.')
def capture(
    seconds: float, output: Path, start: Any, no_reconnect: bool, address: str, as_json: bool
) -> int:
    """Record the next seconds of a device's signal into a .npz file.

    The file holds the raw counts, a mask of what is missing, a mask of where an electrode was off,
    the maps to volts and millivolts, and how the device's clock and this computer's differ. In
    Python: holter_host.Capture.load(path).millivolts().

    A connection that is lost is tried again until it is back, and nothing that the device keeps is
    missed. Where holterd is started again meanwhile, its next session follows in a file of its own
    (ecg.2.npz after ecg.npz), and the time between the two counts. Each file is written when its
    session is over. Where frames end before --seconds, the exit code is 1.

    \b
    Example:
      holter capture --seconds 10 -o ecg.npz
      holter capture --seconds 60 --from 2026-11-21T14:30 -o ecg.npz
    """
    _check_writable(output)
    parts: list[Capture] = []

    async def work(progress: Callable[[int, int], None] | None) -> None:
        async with connect(address) as device:
            async for part in device.captures(
                seconds,
                start,
                progress=progress,
                reconnect=0 if no_reconnect else None,
                on_connection=ConnectionNotes(as_json),
            ):
                parts.append(part)
                path = output.with_suffix(f".{len(parts)}{output.suffix}")
                path = output if len(parts) == 1 else path
                part.save(path)
                _show_capture(part, path, as_json)

    with _bar(quiet=as_json) as progress:
        run_async(work(progress))
    return _judge(parts, seconds)


def _judge(parts: list[Capture], seconds: float) -> int:
    """The exit code of a capture; what there is to say of it goes to stderr.

    Raises:
        DeviceError: there is nothing.
    """
    if not parts:
        raise DeviceError("The stream ended before it gave a frame; there is nothing to capture.")
    for before, after in pairwise(parts):
        known = before.session.boot_id == after.session.boot_id or (
            before.session.utc.synchronized and after.session.utc.synchronized
        )
        hole = f"{_between(before, after):.2f} s" if known else "an unknown time"
        note(
            f"session {after.session.session_id} began {hole} after the last frame of session "
            f"{before.session.session_id}"
        )
    last = parts[-1]
    came = sum(part.seconds + _between(part, after) for part, after in pairwise(parts))
    came += last.seconds
    if came + 1 / last.session.rate_hz >= seconds:
        return 0
    note(f"the frames ended after {came:.2f} of {seconds:g} s")
    return 1


def _between(before: Capture, after: Capture) -> float:
    """Seconds from the end of a capture to the start of one in a later session.

    Between two boots they are as sure as the device's wall clock.
    """
    ends = (
        (before.session, before.first_sequence + len(before)),
        (after.session, after.first_sequence),
    )
    one, two = (session.monotonic_nanos(sequence) for session, sequence in ends)
    if before.session.boot_id != after.session.boot_id:
        one += before.session.utc.offset_nanos
        two += after.session.utc.offset_nanos
    return max(0.0, (two - one) / 1e9)


@click.command
@click.argument("path", required=False, type=click.Path(path_type=Path), metavar="[ECG.npz]")
@click.option("--random", "is_random", is_flag=True, help="Send random counts: a self test.")
@click.option("--seed", type=int, help="Seed of the random counts.")
@device_option
@json_option('Print one JSON object a window: {"classification": {...}}.')
def classify(
    path: Path | None, is_random: bool, seed: int | None, address: str, as_json: bool
) -> None:
    """Ask the active model of a device for each window of a capture, or for a random one.

    Windows are as long and as far apart as the model says, from the capture's first frame on.
    --random sends counts of the size that the model takes and tells how long it took: all of the
    way is tested, and the class means nothing.

    \b
    Example:
      holter classify ecg.npz
      holter classify --random --json
    """
    if (path is None) != is_random:
        raise click.UsageError("Give a capture or --random, one of the two.")
    taken = Capture.load(path) if path is not None else None

    async def work() -> None:
        async with connect(address) as device:
            if taken is None:
                await _classify_random(device, np.random.default_rng(seed), as_json)
            else:
                await _classify_capture(device, taken, path, as_json)

    run_async(work())


async def _classify_random(device: Device, random: np.random.Generator, as_json: bool) -> None:
    status = await device.status()
    spec = _active(device, status.active_model).spec
    wide = status.session.sample_format == SampleFormat.S16LE
    kind: Any = np.int16 if wide else np.uint8
    bounds = np.iinfo(kind)
    shape = (spec.window_frame_count, spec.channel_count)
    counts = random.integers(bounds.min, bounds.max, shape, dtype=kind, endpoint=True)
    start = time.perf_counter_ns()
    answer = await device.classify(counts)
    _show(answer, as_json, time.perf_counter_ns() - start)


async def _classify_capture(
    device: Device, taken: Capture, path: Path | None, as_json: bool
) -> None:
    spec = _active(device, (await device.status()).active_model).spec
    if len(taken) < spec.window_frame_count:
        raise BadInputError(
            f"{path} has {len(taken)} frames and the model {spec.name} takes "
            f"{spec.window_frame_count}; capture at least "
            f"{spec.window_frame_count / spec.rate_hz:g} s."
        )
    for window in taken.windows(spec.window_frame_count, spec.hop_frame_count):
        _show(await device.classify(window), as_json)


def _active(device: Device, model: StoredModel | None) -> StoredModel:
    if model is None:
        raise NoActiveModelError(
            f"The device at {device.address} has no active model; deploy one with: "
            "holter deploy OUT.tflite",
            reason="NO_ACTIVE_MODEL",
        )
    return model


def _show(answer: Classification, as_json: bool, round_trip_nanos: int | None = None) -> None:
    if as_json:
        trip = {} if round_trip_nanos is None else {"round_trip_nanos": round_trip_nanos}
        emit_json({"classification": plain(answer), **trip})
        return
    parts = [verdict(answer), scores(answer)]
    if round_trip_nanos is None:
        parts.append(f"frames {answer.first_sequence}–{answer.last_sequence}")
    else:
        parts.append(
            f"{answer.inference_nanos / 1e6:.2f} ms in the model, "
            f"{round_trip_nanos / 1e6:.2f} ms there and back"
        )
    emit("   ".join(part for part in parts if part))


def _show_capture(taken: Capture, output: Path, as_json: bool) -> None:
    missing = int((~taken.valid).sum())
    facts = {
        "path": str(output),
        "session_id": taken.session.session_id,
        "first_sequence": taken.first_sequence,
        "frame_count": len(taken),
        "channel_count": taken.counts.shape[1],
        "rate_hz": taken.session.rate_hz,
        "missing_count": missing,
        "lead_off_count": int(taken.lead_off().sum()),
    }
    if as_json:
        emit_json({"capture": facts})
        return
    emit(
        f"{output}: {taken.seconds:.2f} s, {len(taken)} frames at {taken.session.rate_hz:g} Hz, "
        f"{missing} missing, {facts['lead_off_count']} with an electrode off"
    )


def _check_writable(output: Path) -> None:
    """Find out before the recording, not after it.

    Raises:
        BadInputError: a file cannot be made there.
    """
    folder = output.parent
    if not folder.is_dir():
        raise BadInputError(f"Cannot write {output}: there is no directory {folder}.")
    if not os.access(folder, os.W_OK):
        raise BadInputError(f"Cannot write {output}: the directory {folder} is not writable.")


@contextlib.contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, where stderr is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("capturing", total=None)
        yield lambda came, wanted: bar.update(task, completed=came, total=wanted)
