"""What `holter convert` costs: wall time and peak memory against a bare script.

The floor is a script that imports TensorFlow, calls TFLiteConverter.from_saved_model on the same
model with builtin ops, and writes the file; it proves nothing. `holter convert` loads the model,
runs it on 8 golden and 32 synthetic windows, freezes, converts, runs the result in LiteRT on the
same windows twice, and writes the bundle. Both start in turn; the quietest run of each is printed.
Memory is the greatest resident set of any one process (getrusage); that of the command itself is
about 35 MiB beside its child's.

Goal: both at most 1.3 times the floor.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from _common import HOLTER, MODEL, report

ROUNDS = 3
GOAL = 1.3
MIB = 2**20
FLOOR = """
import sys
import tensorflow as tf
converter = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1])
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
open(sys.argv[2], "wb").write(converter.convert())
"""


def measured(*command: str) -> tuple[float, float]:
    """Seconds and MiB of a command that must succeed; what it says is thrown away."""
    environment = {k: v for k, v in os.environ.items() if k != "HOLTER_MITDB"}
    environment["CUDA_VISIBLE_DEVICES"] = "-1"
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    begin = time.perf_counter()
    pid = os.posix_spawn(command[0], command, environment, file_actions=silent)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begin, usage.ru_maxrss * 1024 / MIB


def main() -> None:
    """Both in turn, one round before to warm the disk's cache."""
    source = str(MODEL / "saved_model")
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "out.tflite")
        commands = {
            "floor": (sys.executable, "-c", FLOOR, source, out),
            "holter": (str(HOLTER), "convert", source, "-o", out),
        }
        measured(*commands["floor"])
        runs = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                runs[name].append(measured(*command))
    best = {
        name: [min(column) for column in zip(*found, strict=True)] for name, found in runs.items()
    }
    seconds, mebibytes = (best["holter"][i] / best["floor"][i] for i in (0, 1))
    report(
        "convert",
        seconds={name: round(found[0], 2) for name, found in best.items()},
        peak_mib={name: round(found[1]) for name, found in best.items()},
        seconds_ratio=round(seconds, 2),
        memory_ratio=round(mebibytes, 2),
        goal=GOAL,
    )
    if max(seconds, mebibytes) > GOAL:
        sys.exit(f"over the goal of {GOAL} times the floor")


if __name__ == "__main__":
    main()
