"""The sampler process: reads the source at each tick of the grid, and nothing else.

    python -m holter_device.children.sampler PARENT_PID SETTINGS

SETTINGS is JSON: the values of adc.SETTINGS, and `clock` (see clock.make_clock). A read that would
begin a period late or more is a missed frame: it is skipped and counted, never caught up with. A
read that fails is tried again as long as its tick is young: an answer then is a late frame, no gap.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import Any

from ..adc import Adc, AdcInfo, BlockAdc, make_adc
from ..clock import Clock, make_clock
from ..errors import BusReadError, DeviceError
from ..grid import GapCause, Grid
from ..lateness import Lateness
from . import begin, read_frame, realtime, write_frame
from .sampler_frames import END, FATAL, HELLO, MAX_COUNTS, START
from .sampler_outbox import Outbox, ParentGoneError

FLUSH_SECONDS = 0.025
QUALITY_SECONDS = 1.0
# A read that begins later than this part of a period is counted as late.
LATE_FRACTION = 0.1
# The part of a period within which a read that failed is tried again: the rest is for that read.
RETRY_FRACTION = 0.5

_STDIN, _STDOUT = 0, 1


def main() -> int:
    """Run until the source is over, or the parent closes our stdin or is gone."""
    begin(int(sys.argv[1]))
    settings = json.loads(sys.argv[2])
    try:
        clock = make_clock(settings["clock"])
        adc = make_adc(settings)
        info = adc.open()
    except DeviceError as error:
        _say_fatal(error)
        return 1
    try:
        _serve(settings, adc, info, clock)
    except (ParentGoneError, ConnectionError):
        pass
    finally:
        adc.close()
    return 0


def _serve(settings: dict[str, Any], adc: Adc, info: AdcInfo, clock: Clock) -> None:
    simulated = bool(settings["simulate"] or settings["replay"])
    kind, _, _ = settings["clock"].partition(":")
    punctual = kind == "monotonic" and not simulated
    hello = dataclasses.asdict(info) | {
        "real_time_priority": punctual and realtime.set_priority(),
        "memory_locked": punctual and realtime.lock_memory(),
    }
    realtime.freeze_garbage()
    write_frame(_STDOUT, HELLO, json.dumps(hello).encode())
    frame = read_frame(_STDIN)
    if frame is None or frame[0] != START:
        return
    start = json.loads(frame[1])
    grid = Grid(start["start_ns"], start["rate_hz"])
    outbox = Outbox(
        _STDOUT,
        _STDIN,
        frame_size=info.frame_size,
        flush_ticks=max(1, round(FLUSH_SECONDS * grid.rate_hz)),
        waits=kind != "monotonic",
    )
    if isinstance(adc, BlockAdc) and kind != "lockstep":
        frames = min(MAX_COUNTS // info.frame_size, _frames_a_flush(settings["clock"], grid))
        sample_blocks(adc, clock, grid, outbox, start["first_sequence"], frames)
    else:
        sample(adc, clock, grid, outbox, start["first_sequence"], settings["retries"])
    outbox.end(END)


def sample(adc: Adc, clock: Clock, grid: Grid, outbox: Outbox, sequence: int, retries: int) -> None:
    """Read one frame at each tick, from the first at or after `sequence` that is not yet past.

    Returns when the source is over.

    Args:
        adc: the source.
        clock: its time.
        grid: the ticks.
        outbox: what takes the frames.
        sequence: the first tick.
        retries: times that a read which fails is tried again within its tick.

    Raises:
        ParentGoneError: nobody reads what is sampled any more.
    """
    lateness = Lateness()
    late_ns = grid.period_ns * LATE_FRACTION
    quality_ticks = max(1, round(QUALITY_SECONDS * grid.rate_hz))
    begun_ns = _wait(clock, grid, sequence)
    sequence = _tick_at(grid, begun_ns, sequence)
    told = sequence // quality_ticks
    skipped = 0
    while True:
        counts, begun_ns = _read(adc, clock, grid, outbox, sequence, retries, begun_ns)
        if skipped:  # told only now: nothing comes between a wake-up and its read
            outbox.missing(sequence - skipped, skipped, GapCause.LATE)
        if counts is None:
            outbox.missing(sequence, 1, GapCause.BUS_ERROR)
        elif counts:
            late_by_ns = begun_ns - grid.time_ns(sequence)
            lateness.add(late_by_ns)
            outbox.frame(sequence, counts, late=late_by_ns > late_ns)
        else:
            outbox.quality(lateness)
            return
        sequence += 1
        if sequence // quality_ticks > told:
            told = sequence // quality_ticks
            outbox.quality(lateness)
        begun_ns = _wait(clock, grid, sequence)
        skipped = _tick_at(grid, begun_ns, sequence) - sequence
        sequence += skipped


def _read(
    adc: Adc,
    clock: Clock,
    grid: Grid,
    outbox: Outbox,
    sequence: int,
    retries: int,
    begun_ns: int,
) -> tuple[bytes | None, int]:
    """Read one frame, again where the read fails. Returns it and when the read of it began.

    None where no read was answered. `begun_ns` is when the first one begins.
    """
    for left in range(retries, -1, -1):
        try:
            return adc.read(sequence), begun_ns
        except BusReadError as error:
            outbox.bus_error(sequence, error.errno or 0)
        begun_ns = clock.monotonic_ns()
        if not left or begun_ns - grid.time_ns(sequence) >= grid.period_ns * RETRY_FRACTION:
            break
        outbox.retry()
    return None, begun_ns


def sample_blocks(
    adc: BlockAdc, clock: Clock, grid: Grid, outbox: Outbox, sequence: int, frame_count: int
) -> None:
    """Make many frames at once, none before its time. Returns when the source is over.

    Nothing is read at an instant, so that no frame can be missed: a late block is only late. From
    a sequence above 0 the frames whose time is past are left out.

    Raises:
        ParentGoneError: nobody reads what is sampled any more.
    """
    if sequence:
        sequence = _tick_at(grid, _wait(clock, grid, sequence), sequence)
    while True:
        clock.sleep_until(grid.time_ns(sequence + frame_count - 1))
        counts = adc.read_many(sequence, frame_count)
        if not counts:
            return
        outbox.block(sequence, counts)
        sequence += frame_count


def _wait(clock: Clock, grid: Grid, sequence: int) -> int:
    """Wait for a tick; the time at which its read begins."""
    clock.sleep_until(grid.time_ns(sequence))
    return clock.monotonic_ns()


def _tick_at(grid: Grid, now_ns: int, sequence: int) -> int:
    """The newest tick that has come, not before `sequence`: less than a period ago."""
    if now_ns < grid.time_ns(sequence + 1):
        return sequence
    return grid.sequence_at(now_ns + 1) - 1


def _frames_a_flush(clock: str, grid: Grid) -> int:
    """Frames in FLUSH_SECONDS of real time."""
    kind, _, rest = clock.partition(":")
    if kind == "max":
        return MAX_COUNTS
    speed = float(rest.partition(":")[0]) if kind == "scaled" else 1
    return max(1, round(FLUSH_SECONDS * grid.rate_hz * speed))


def _say_fatal(error: DeviceError) -> None:
    fatal = {"error": type(error).__name__, "message": str(error), "facts": error.facts}
    write_frame(_STDOUT, FATAL, json.dumps(fatal).encode())


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # nothing is left to do that a slow interpreter shutdown would not delay
