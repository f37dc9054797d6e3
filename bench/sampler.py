"""How late the sampler's reads begin under full load, beside a bare C loop and the tutorial's loop.

Full load is a holterd with 10 streams, a client that has windows classified back to back, and
another that has a second model judged without end (each time in a new process).
In turn, a round each:

- ours: that holterd reads, by unmodified smbus2, a PCF8591 at 100 kHz that is preloaded; lateness
  is what it tells itself (a read's begin less its tick), from the session's start on, the start of
  the load included. The bus notes when each read began, which gives the rate error: the tick in
  which the last frame's read began, less the frame's sequence;
- floor: that holterd simulates, and beside it a C loop of clock_nanosleep runs with the sampler's
  priority and period;
- tutorial: that holterd simulates, and beside it `read_byte; time.sleep(1/360)` reads the bus.

Medians of the rounds are printed, and each round's p99.9. Percentiles of all are rounded up alike,
to a 16th. Where SCHED_FIFO is not permitted there is no floor of the same kind, and it says so.

    python bench/sampler.py [--seconds 20] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
from _common import BUILD, model_file, report, run

import holter_host
from holter_device.children.realtime import PRIORITY
from holter_device.lateness import Lateness
from support.daemon import Daemon, holterd

RATE_HZ = 360.0
STREAMS = 10
HOP, OTHER_HOP, WINDOW = 36, 37, 3600
GOAL = 1.5
HERE = Path(__file__).parent
LOAD = ("--simulate", "bigeminy")
PRELOADED = {"LD_PRELOAD": str(BUILD / "i2c_bus.so")}


@contextlib.asynccontextmanager
async def loaded(daemon: Daemon, counts: dict[str, int]) -> AsyncIterator[holter_host.Device]:
    """Full load on a holterd; counts what was done."""
    window = np.zeros(WINDOW, np.float32)

    async def stream(device: holter_host.Device) -> None:
        async for _ in device.samples():
            counts["stream_events"] += 1

    async def infer(device: holter_host.Device) -> None:
        while True:
            await device.classify(window)
            counts["inferences"] += 1

    async def deploy(device: holter_host.Device) -> None:
        while True:
            with contextlib.suppress(holter_host.ModelRefusedError):  # too slow for its hop now
                await device.deploy(model_file(hop=OTHER_HOP), validate_only=True)
            counts["deploys"] += 1

    async with holter_host.connect(daemon.address) as device:
        await device.deploy(model_file(hop=HOP))
        tasks = [asyncio.create_task(stream(device)) for _ in range(STREAMS)]
        tasks += [asyncio.create_task(work(device)) for work in (infer, deploy)]
        try:
            yield device
        finally:
            failed = [task.exception() for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert not failed, failed


def loads() -> dict[str, int]:
    return {"stream_events": 0, "inferences": 0, "deploys": 0}


async def ours(folder: Path, seconds: float) -> dict[str, Any]:
    """One round of the sampler."""
    done = loads()
    sequences: list[int] = []
    journal = folder / "reads"
    journal.touch()
    environment = {**PRELOADED, "HOLTER_BENCH_READS": str(journal)}
    async with holterd(folder, env=environment) as daemon:
        async with loaded(daemon, done) as device:
            watching = asyncio.create_task(watch(device, sequences))
            await asyncio.sleep(seconds)  # under full load, however long that took to start
            status = await device.status()
            watching.cancel()
            await asyncio.wait({watching})
        await daemon.stop()
    quality = status.quality
    since_start = np.fromfile(journal, np.int64) - status.session.start_monotonic_nanos
    begun = since_start[since_start >= 0][len(sequences) - 1]
    return {
        **told(quality),
        "late": quality.late_count,
        "missing": quality.missing_count,
        "rate_error_ticks": int(begun * RATE_HZ / 1e9) - sequences[-1],
        "unaccounted": status.next_sequence - quality.received_count - quality.missing_count,
        "achieved_rate_hz": round(quality.last_minute.achieved_rate_hz, 3),
        "fifo": status.source.real_time_priority,
        "memory_locked": status.source.memory_locked,
        "load": done,
    }


async def watch(device: holter_host.Device, sequences: list[int]) -> None:
    """Note the sequence of each frame, from the session's start on."""
    async for event in device.samples("earliest"):
        if isinstance(event, holter_host.SampleBlock):
            sequences += range(event.first_sequence, event.first_sequence + event.frame_count)


async def beside(folder: Path, *command: str, env: dict[str, str]) -> str:
    """What a command prints that runs to its end beside a loaded holterd."""
    async with holterd(folder, *LOAD) as daemon:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **env}
        )
        async with loaded(daemon, loads()):
            out, _ = await process.communicate()
        await daemon.stop()
    if process.returncode:
        sys.exit(f"{command[0]} ended with status {process.returncode}")
    return out.decode()


async def floor(folder: Path, seconds: float) -> dict[str, float]:
    """One round of the C loop."""
    command = (str(BUILD / "nanosleep"), str(RATE_HZ), str(seconds), str(PRIORITY))
    lines = (await beside(folder, *command, env={})).split()
    missing = int(RATE_HZ * seconds) - len(lines)
    return {**micros([int(line) for line in lines]), "missing": missing}


async def tutorial(folder: Path, seconds: float) -> dict[str, float]:
    """One round of the tutorial's loop: its rate, and how far its intervals are from a period."""
    command = (sys.executable, str(HERE / "_tutorial.py"), str(RATE_HZ), str(seconds))
    out = await beside(folder, *command, env=PRELOADED)
    times = np.array(json.loads(out))
    intervals = np.diff(times)
    jitter = micros([int(value) for value in abs(intervals - 1e9 / RATE_HZ)])
    rate = round(1e9 / float(intervals.mean()), 1)
    return {"rate_hz": rate, **{f"jitter_{name}": value for name, value in jitter.items()}}


def micros(values_ns: list[int]) -> dict[str, float]:
    """Percentiles, as the sampler tells them."""
    lateness = Lateness()
    for value in values_ns:
        lateness.add(value)
    values = (*lateness.quantiles_ns(0.5, 0.99, 0.999), lateness.max_ns)
    return as_micros(*values)


def told(quality: holter_host.SamplingQuality) -> dict[str, float]:
    return as_micros(
        quality.lateness_p50_nanos,
        quality.lateness_p99_nanos,
        quality.lateness_p999_nanos,
        quality.lateness_max_nanos,
    )


def as_micros(*values_ns: int) -> dict[str, float]:
    names = ("p50_us", "p99_us", "p999_us", "max_us")
    return {name: round(value / 1000, 1) for name, value in zip(names, values_ns, strict=True)}


def medians(rounds: list[dict[str, Any]], *names: str) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in rounds) for name in names}


def build() -> None:
    compiler = shutil.which("cc") or sys.exit("the floor needs a C compiler: install gcc")
    BUILD.mkdir(parents=True, exist_ok=True)
    command = (compiler, "-O2", "-Wall", "-Werror", "-o")
    run(*command, str(BUILD / "nanosleep"), str(HERE / "_nanosleep.c"))
    shared = ("-shared", "-fPIC", "-U_FORTIFY_SOURCE")
    run(*command, PRELOADED["LD_PRELOAD"], *shared, str(HERE / "_i2c_bus.c"), "-ldl")


async def main() -> None:
    parser = argparse.ArgumentParser(description="How late reads begin under full load.")
    parser.add_argument("--seconds", type=float, default=20, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each")
    parser.add_argument("--show", action="store_true", help="print each round on stderr")
    arguments = parser.parse_args()
    build()
    for hop in (HOP, OTHER_HOP):  # converted before the first round, which it would disturb
        model_file(hop=hop)
    rounds: dict[str, list[dict[str, Any]]] = {"ours": [], "floor": [], "tutorial": []}
    for _ in range(arguments.rounds):
        for kind, measure in (("ours", ours), ("floor", floor), ("tutorial", tutorial)):
            with tempfile.TemporaryDirectory() as folder:
                rounds[kind].append(await measure(Path(folder), arguments.seconds))
            if arguments.show:
                print(kind, json.dumps(rounds[kind][-1]), file=sys.stderr, flush=True)
    percentiles = ("p50_us", "p99_us", "p999_us", "max_us")
    holter = medians(rounds["ours"], *percentiles)
    bare = medians(rounds["floor"], *percentiles)
    errors = [abs(each["rate_error_ticks"]) + abs(each["unaccounted"]) for each in rounds["ours"]]
    report(
        "sampler",
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        fifo_priority=PRIORITY if all(each["fifo"] for each in rounds["ours"]) else 0,
        memory_locked=all(each["memory_locked"] for each in rounds["ours"]),
        lateness=holter,
        floor_lateness=bare,
        p999_us_of_rounds=[each["p999_us"] for each in rounds["ours"]],
        floor_p999_us_of_rounds=[each["p999_us"] for each in rounds["floor"]],
        ratio=round(holter["p999_us"] / bare["p999_us"], 2),
        goal=GOAL,
        met=holter["p999_us"] <= GOAL * bare["p999_us"],
        rate_error_ticks=max(errors),
        **medians(rounds["ours"], "achieved_rate_hz", "late"),
        missing_of_rounds=[each["missing"] for each in rounds["ours"]],
        floor_missing_of_rounds=[each["missing"] for each in rounds["floor"]],
        tutorial=medians(rounds["tutorial"], "rate_hz", "jitter_p50_us", "jitter_p999_us"),
        load=rounds["ours"][-1]["load"],
    )


if __name__ == "__main__":
    asyncio.run(main())
