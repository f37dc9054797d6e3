"""Cross-validation by patient: each record is judged by models that never saw its patient.

Two processes, one thread each, take one fit after the other; nothing is shared but the pools.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import pickle
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
from windows import WINDOW, Record, as_input, window_label

from training import fitting
from training.disturbances import KINDS
from training.pool import Pool

# Dealt by hand before any model was judged: records rich in S (118 209 220 201 223), in V, and
# with bundle branch block (109 and 207 left, 118 and 124 right) are spread over the folds.
FOLDS = (
    ("101", "114", "118", "208", "215", "230"),
    ("108", "112", "119", "205", "207", "209"),
    ("106", "122", "124", "203", "220"),
    ("109", "115", "116", "201", "223"),
)

Scores = dict[str, dict[str, np.ndarray]]  # logits (n, 3) by record, then by disturbance


def deal(records: Sequence[Record]) -> list[list[Record]]:
    """The records in their folds; SystemExit where the records are others than FOLDS says."""
    by_name = {r.name: r for r in records}
    if sorted(by_name) != sorted(name for fold in FOLDS for name in fold):
        raise SystemExit(
            f"the folds are made for 22 records, found {len(by_name)}: give --records the folder "
            "with 101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 "
            "220 223 230"
        )
    return [[by_name[name] for name in fold] for fold in FOLDS]


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One fit: on all folds but one (None: on all), judged on that one, or saved to a folder."""

    build: Callable[[], fitting.Network]
    settings: fitting.Settings
    seed: int
    fold: int | None = None
    scale: float = 1.0
    bias: tuple[float, ...] = (0.0, 0.0, 0.0)
    directory: Path | None = None
    name: str = "model"


def run(jobs: Sequence[Job], data: Path) -> list[Scores]:
    """Do the jobs in two processes; `data` is the file that `keep` wrote."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context, begin, (str(data),)) as workers:
        return list(workers.map(do, jobs))


def keep(pools: dict[str, Pool], folds: list[list[Record]], data: Path) -> None:
    """Write what the two processes read."""
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_bytes(pickle.dumps((pools, folds), protocol=5))


_data: tuple[dict[str, Pool], list[list[Record]]]


def begin(data: str) -> None:
    """In a new process: one thread, and the pools."""
    global _data
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    _data = pickle.loads(Path(data).read_bytes())


def do(job: Job) -> Scores:
    """Fit, judge, save. Each fold of each seed has a seed of its own."""
    pools, folds = _data
    held_out = [] if job.fold is None else folds[job.fold]
    names = {r.name for r in held_out}
    seen = {name: pool for name, pool in pools.items() if name not in names}
    started = time.monotonic()
    fold = 0 if job.fold is None else 1 + job.fold
    model = fitting.fit(job.build, seen, job.settings, 10 * job.seed + fold)
    scores = {r.name: judge(model, r) for r in held_out}
    if job.directory:
        export(fitting.calibrated(model, job.scale, job.bias, job.name), job.directory)
    print(f"{job.name} seed {job.seed} fold {fold}: {time.monotonic() - started:.0f} s", flush=True)
    return scores


def labelled(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """All labelled windows of a record, without overlap: mV (n, WINDOW), labels (n,)."""
    x, y = [], []
    for start in range(0, len(record.millivolts) - WINDOW + 1, WINDOW):
        inside = (record.frames >= start) & (record.frames < start + WINDOW)
        label = window_label(record.classes[inside])
        if label is not None:
            x.append(record.millivolts[start : start + WINDOW])
            y.append(label)
    return np.array(x), np.array(y)


def judge(model: keras.Model, record: Record) -> dict[str, np.ndarray]:
    """Logits of the record's windows, as they are and under each disturbance."""
    x, _ = labelled(record)
    return {
        kind: model.predict(as_input(disturb(x)), batch_size=64, verbose=0)
        for kind, disturb in KINDS.items()
    }


def export(model: keras.Model, directory: Path) -> None:
    """Write the SavedModel whole, then put it in place."""
    fresh = directory.with_name(directory.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.export(fresh, verbose=False)
    shutil.rmtree(directory, ignore_errors=True)
    fresh.rename(directory)
