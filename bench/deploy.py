"""From the call of a deploy to the first window by the new model, and what windows feel of it.

Measured of `Device.deploy(path)` on a device at 360 Hz: the time from the call to the client having
the first Classification of the new model, less what was only waiting for that window to end. The
floors are of the same run, by hand and each alone: a bare grpc.aio unary call with the same bytes
to another process; Python started with numpy and the runtime; the model loaded from bytes; and as
many runs of its golden windows as the gate made to know a p99. What the floors do not have is the
gate: digests, the way into the child, the audit, the store with its fsync and its reading back.
Of each the quietest round counts; `steps_ms` is what the gate told of its steps in that round.

The second figure is the latency of a running model's windows (grid time of the last frame to a
client in a process of its own having the class): of those that ended during a deploy, against those
of the pauses.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
from _common import BUILD, python, report
from _floor import METHOD, UNARY_OPTIONS

import holter_host
from support.daemon import holterd
from support.tflite_models import cnn, holter_model, make_spec, make_windows

WINDOW = 3600
BASE_HOP = 9  # a window with every flush of the sampler, 25 ms
HOP = 360
RATE_HZ = 360.0
ROUNDS = 4
PAUSE_SECONDS = 3.0
GOAL = 1.5
FLOOR = str(Path(__file__).with_name("_floor.py"))
# Layers that leave little of the window before the wide ones come, as in usual networks.
MODELS = {
    "1MB": ((16, 32, 64, 64, 96, 96, 96), 9),
    "30MB": ((16, 32, 64, 64, 128, 448, 512, 512, 512), 9),
}
LEAST_WORK = ((8, 8), 9)

# In a process of its own, which has nothing else to do: when a window ended, when it was there.
FOLLOW = """
import asyncio, sys, time
import holter_host

async def main():
    async with holter_host.connect(sys.argv[1]) as device:
        async for event in device.classifications():
            if isinstance(event, holter_host.Classification):
                there = time.monotonic_ns()
                print(event.monotonic_time_nanos, there, event.model_sha256, flush=True)

asyncio.run(main())
"""

# In a process of its own: when it is ready, the ns to load, the ns of so many golden runs.
BARE = """
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
print("ready", flush=True)
data, windows = open(sys.argv[1], "rb").read(), np.load(sys.argv[2])
begin = time.perf_counter_ns()
interpreter = Interpreter(model_content=data, num_threads=1)
interpreter.allocate_tensors()
loaded = time.perf_counter_ns()
source = interpreter.get_input_details()[0]["index"]
target = interpreter.get_output_details()[0]["index"]
for index in range(int(sys.argv[3])):
    interpreter.set_tensor(source, windows[index % len(windows)][None])
    interpreter.invoke()
    scores = interpreter.get_tensor(target)
print(loaded - begin, time.perf_counter_ns() - loaded, flush=True)
"""


def make_model(name: str, shape: tuple[tuple[int, ...], int], hop: int) -> Path:
    """A model file with true golden windows, and those beside it as .npy."""
    from ai_edge_litert.interpreter import Interpreter

    BUILD.mkdir(parents=True, exist_ok=True)
    tflite = cnn(*shape, window=WINDOW)
    spec = make_spec(
        name=name, window=WINDOW, hop=hop, input_shape=(1, WINDOW, 1), score_kind="probabilities"
    )
    windows = make_windows(spec)
    interpreter = Interpreter(model_content=tflite, num_threads=1)
    runner = interpreter.get_input_details()[0]["index"]
    interpreter.allocate_tensors()
    scores = []
    for window in windows:
        interpreter.set_tensor(runner, window[None])
        interpreter.invoke()
        scores.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    path = BUILD / f"deploy-{name}.tflite"
    path.write_bytes(holter_model(tflite, spec, windows, np.array(scores)))
    np.save(path.with_suffix(".npy"), windows)
    return path


class Windows:
    """What a client sees of a device's windows: when each one ended, and when it was there."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []
        self.first: dict[str, tuple[int, int]] = {}
        self._came = asyncio.Condition()

    async def follow(self, address: str) -> None:
        """Take what a follower says, until it is cancelled."""
        words = [sys.executable, "-c", FOLLOW, address]
        follower = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
        assert follower.stdout is not None
        try:
            async for line in follower.stdout:
                ended, there, sha256 = line.decode().split()
                self.seen.append((int(ended), int(there)))
                self.first.setdefault(sha256, self.seen[-1])
                async with self._came:
                    self._came.notify_all()
        finally:
            follower.kill()
            await follower.wait()

    async def first_of(self, sha256: str) -> tuple[int, int]:
        """End and arrival of a model's first window, in ns of CLOCK_MONOTONIC."""
        async with self._came:
            await self._came.wait_for(lambda: sha256 in self.first)
        return self.first[sha256]

    def latencies_ms(self, spans: list[tuple[int, int]]) -> np.ndarray:
        """Of windows that ended in one of these spans of time."""
        inside = [
            (there - end) / 1e6
            for end, there in self.seen
            if any(first <= end < last for first, last in spans)
        ]
        return np.array(inside)


async def bare(address: str, path: Path, data: bytes, runs: int) -> dict[str, float]:
    """The floors, in ms."""
    async with grpc.aio.insecure_channel(address, options=UNARY_OPTIONS) as channel:
        call = channel.unary_unary(METHOD)
        await call(b"")
        begin = time.perf_counter_ns()
        await call(data)
        transfer = time.perf_counter_ns() - begin
    words = [sys.executable, "-c", BARE, str(path), str(path.with_suffix(".npy")), str(runs)]
    begin = time.perf_counter_ns()
    child = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    assert child.stdout is not None
    await child.stdout.readline()
    start = time.perf_counter_ns() - begin
    load, golden = map(int, (await child.stdout.readline()).split())
    await child.wait()
    parts = {"transfer": transfer, "child": start, "load": load, "golden": golden}
    return {name: ns / 1e6 for name, ns in parts.items()}


async def deploy(
    device: holter_host.Device, windows: Windows, path: Path
) -> tuple[float, tuple[int, int], holter_host.DeployResult]:
    """Milliseconds to the first window, when it was going on, and what the device said."""
    windows.first.clear()
    begin = time.monotonic_ns()
    result = await device.deploy(path)
    returned = time.monotonic_ns()
    ended, there = await windows.first_of(result.model.sha256)
    return (there - begin - max(0, ended - returned)) / 1e6, (begin, returned), result


def runs_of(result: holter_host.DeployResult) -> int:
    """How often the gate ran a golden window."""
    step = next(step for step in result.gate_report.steps if step.name == "latency")
    return int(step.facts["runs"])


def steps_ms(result: holter_host.DeployResult) -> dict[str, float]:
    return {s.name: round(s.elapsed_nanos / 1e6, 1) for s in result.gate_report.steps}


async def measure(
    device: holter_host.Device, windows: Windows, floor: str, path: Path, base: Path
) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """The figures of one model, and the spans of its deploys."""
    ours, floors, spans = [], [], []
    data = await asyncio.to_thread(path.read_bytes)
    for _ in range(ROUNDS):
        took, span, result = await deploy(device, windows, path)
        ours.append((took, steps_ms(result)))
        spans.append(span)
        await device.verdict(result.model.sha256)
        floors.append(await bare(floor, path, data, runs_of(result)))
        back = await device.deploy(base)
        await device.verdict(back.model.sha256)
    least = {name: min(floor[name] for floor in floors) for name in floors[0]}
    took, steps = min(ours, key=lambda pair: pair[0])
    ratio = took / sum(least.values())
    return {
        "bytes": len(data),
        "runs": runs_of(result),
        "deploy_ms": round(took, 1),
        "floor_ms": round(sum(least.values()), 1),
        "floors_ms": {name: round(ms, 1) for name, ms in least.items()},
        "steps_ms": steps,
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "met": ratio <= GOAL,
    }, spans


async def main() -> None:
    base = make_model("base", LEAST_WORK, BASE_HOP)
    paths = {name: make_model(name, shape, HOP) for name, shape in MODELS.items()}
    flags = ("--simulate", "bigeminy", "--probation-seconds", "0", "--probation-windows", "1")
    found: dict[str, Any] = {}
    windows = Windows()
    with tempfile.TemporaryDirectory() as folder, python(FLOOR, "take") as (_, floor):
        async with (
            holterd(Path(folder), *flags) as daemon,
            holter_host.connect(daemon.address) as device,
        ):
            following = asyncio.create_task(windows.follow(daemon.address))
            await device.deploy(base)
            await windows.first_of((await device.models())[0].sha256)
            begin = time.monotonic_ns()
            await asyncio.sleep(PAUSE_SECONDS)
            quiet, busy = [(begin, time.monotonic_ns())], []
            for name, path in paths.items():
                found[name], spans = await measure(device, windows, floor, path, base)
                busy += spans
                begin = time.monotonic_ns()
                await asyncio.sleep(PAUSE_SECONDS)
                quiet.append((begin, time.monotonic_ns()))
            following.cancel()
            await asyncio.wait({following})
            await daemon.stop()
    alone, beside = windows.latencies_ms(quiet), windows.latencies_ms(busy)
    p50, p99 = (tuple(np.quantile(part, q) for part in (alone, beside)) for q in (0.5, 0.99))
    report(
        "deploy",
        **found,
        windows={"quiet": len(alone), "during": len(beside)},
        quiet_ms={"p50": round(p50[0], 2), "p99": round(p99[0], 2)},
        during_ms={"p50": round(p50[1], 2), "p99": round(p99[1], 2)},
        added_p99_ms=round(p99[1] - p99[0], 2),
    )


if __name__ == "__main__":
    asyncio.run(main())
