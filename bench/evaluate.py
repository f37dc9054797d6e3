"""`holter evaluate` against a bare loop of `interpreter.invoke()` over the same prepared windows.

Four records of half an hour, as long as MIT-BIH's, are made here. Ours reads them, filters them
through the front end, converts and cuts them, finds the truth, and starts its processes; the floor
only invokes. The ratio is of CPU time a window, which a busy machine changes least; what a process
costs before its first record (a record of one window, measured) is in it, and shown apart. Windows
a second are on the wall clock, with one process and with one for each core. The reference model
takes 0.4 ms a window here; for a slower one the ratio is nearer to 1.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _common import model_file, report

from holter_host.bundle import read_bundle
from holter_host.evaluation import Reading, evaluate
from holter_host.evaluation.records import prepare
from holter_host.evaluation.truth import NO_TRUTH
from support.annotated import write_record

RECORDS = 4
RHYTHM = "NNNNNNNNSNNNNNNNNNNV" * 45  # of two seconds each


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measured(work: Callable[[], int]) -> tuple[float, float]:
    """CPU seconds and wall seconds of each window that the work did."""
    begin = cpu_seconds(), time.perf_counter()
    count = work()
    return (cpu_seconds() - begin[0]) / count, (time.perf_counter() - begin[1]) / count


def prepared(model: Path, folder: Path) -> np.ndarray:
    """All windows with a truth, as the model takes them."""
    spec, found = read_bundle(model).spec, []
    for header in sorted(folder.glob("*.hea")):
        record = prepare(header.with_suffix(""), spec, Reading())
        found += [
            record.values[start : start + spec.window].reshape(spec.input_shape)
            for start in record.starts[(record.truth != NO_TRUTH) & ~record.spoilt]
        ]
    return np.stack(found)


def bare(model: Path, windows: np.ndarray) -> int:
    """The floor."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model.read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    for window in windows:
        interpreter.set_tensor(source, window)
        interpreter.invoke()
        interpreter.get_tensor(target)
    return len(windows)


def ours(model: Path, folder: Path, jobs: int) -> int:
    return sum(len(r.judgement.starts) for r in evaluate(model, folder, jobs=jobs).results)


def main() -> None:
    model = model_file(hop=3600)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(RECORDS):
            write_record(folder / "long", f"r{index}", RHYTHM)
        windows = prepared(model, folder / "long")
        floor_cpu, floor_wall = measured(lambda: bare(model, windows))
        write_record(folder / "tiny", "tiny", "NNNNNN")
        startup, _ = measured(lambda: ours(model, folder / "tiny", 1))
        one_cpu, one_wall = measured(lambda: ours(model, folder / "long", 1))
        _, all_wall = measured(lambda: ours(model, folder / "long", cores))
    report(
        "evaluate",
        records=RECORDS,
        windows=len(windows),
        invoke_cpu_us=round(1e6 * floor_cpu, 1),
        evaluate_cpu_us=round(1e6 * one_cpu, 1),
        ratio=round(one_cpu / floor_cpu, 3),
        startup_cpu_s=round(startup, 2),
        ratio_without_startup=round((one_cpu - startup / len(windows)) / floor_cpu, 3),
        windows_per_second={
            "invoke alone": round(1 / floor_wall),
            "1 process": round(1 / one_wall),
            f"{cores} processes": round(1 / all_wall),
        },
    )


if __name__ == "__main__":
    main()
