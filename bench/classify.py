"""CPU time of a window over both processes, against a bare `interpreter.invoke()` loop.

The floor is set_tensor and invoke, on values that are already in the model's unit; ours takes raw
counts in one process and has the scores of another. Both run in turn, in the same run, and the
quietest round of each is printed, so that what else the machine does is in neither. Two models:
about 0.2 ms and about 4.5 ms a window on x86-64.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from holter_device.classifier import ClassifierSettings, ProcessClassifier
from holter_device.runtime.fit import DeviceFit
from holter_device.samples import Channel, SampleFormat

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.tflite_models import cnn, holter_model, make_spec

WINDOW = 3600
MODELS = {"small": ((24, 32, 48, 64), 9, 400), "large": ((128, 128, 192, 192), 13, 40)}
GOALS = {"small": 1.5, "large": 1.1}
ROUNDS = 25
FIT = DeviceFit(360.0, (Channel("A0"),), SampleFormat.U8, WINDOW)


def cpu_ns(pid: int) -> int:
    """CPU time of a process, all its threads."""
    return time.clock_gettime_ns((~pid << 3) | 2)  # CPUCLOCK_SCHED of clock_getcpuclockid(3)


class Floor:
    """The bare loop."""

    def __init__(self, model: bytes, counts: np.ndarray) -> None:
        self._interpreter = Interpreter(model_content=model, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._values = (counts.astype("f4") / 85).reshape(1, WINDOW, 1)

    def scores(self) -> np.ndarray:
        self.run(1)
        return self._interpreter.get_tensor(self._output)

    def run(self, count: int) -> float:
        """CPU time of a window, in microseconds."""
        begin = time.process_time_ns()
        for _ in range(count):
            self._interpreter.set_tensor(self._input, self._values)
            self._interpreter.invoke()
        return (time.process_time_ns() - begin) / count / 1000


async def through_process(classifier: ProcessClassifier, counts: bytes, count: int) -> list[float]:
    """CPU time of a window in (parent, child), and wall time, in microseconds."""
    begin = time.process_time_ns(), cpu_ns(classifier.pid), time.perf_counter_ns()
    for _ in range(count):
        await classifier.classify_counts(counts, 10.0)
    end = time.process_time_ns(), cpu_ns(classifier.pid), time.perf_counter_ns()
    return [(b - a) / count / 1000 for a, b in zip(begin, end, strict=True)]


async def measure(name: str) -> dict[str, object]:
    widths, kernel, count = MODELS[name]
    tflite = cnn(widths, kernel)
    counts = np.random.default_rng(1).integers(0, 256, WINDOW, dtype=np.uint8)
    floor = Floor(tflite, counts)
    spec = make_spec(window=WINDOW, hop=WINDOW, input_shape=(1, WINDOW, 1), unit="millivolts")
    golden = (counts.astype("f4") / 85).reshape(1, WINDOW, 1)
    model = holter_model(tflite, spec, golden, floor.scores())
    classifier = await ProcessClassifier.start(ClassifierSettings())
    try:
        await classifier.load(hashlib.sha256(model).hexdigest(), model, FIT)
        bare, ours = [], []
        for _ in range(ROUNDS):
            bare.append(floor.run(count))
            ours.append(await through_process(classifier, counts.tobytes(), count))
    finally:
        await classifier.close()
    parent, child, wall = min(ours, key=lambda times: times[0] + times[1])
    return {
        "invoke_cpu_us": round(min(bare), 1),
        "parent_cpu_us": round(parent, 1),
        "child_cpu_us": round(child, 1),
        "wall_us": round(wall, 1),
        "ratio": round((parent + child) / min(bare), 3),
        "goal": GOALS[name],
    }


async def main() -> None:
    results = {name: await measure(name) for name in MODELS}
    print(json.dumps({"bench": "classify", **results}))


if __name__ == "__main__":
    asyncio.run(main())
