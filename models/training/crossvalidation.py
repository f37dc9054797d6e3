"""Cross-validation by patient: each record is judged by models that never saw its patient.

Two processes, one thread each, take one fit after the other; nothing is shared but the pools.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import importlib
import multiprocessing
import pickle
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import keras
import numpy as np

from training.disturbances import KINDS
from training.pool import Pool
from training.windows import Record, as_input

Scores = dict[str, dict[str, np.ndarray]]  # logits (n, 3) by record, then by disturbance


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One fit: on all folds but one (None: on all), judged on that one, or saved to a folder.

    Attributes:
        model: the folder of the model, with its network.py.
        seed: of the fit; each fold of each seed has one of its own.
        effort: share of the steps of a whole fit.
        fold: index of the fold that is held out.
        output: where the SavedModel goes.
    """

    model: Path
    seed: int
    effort: float = 1.0
    fold: int | None = None
    output: Path | None = None


def run(jobs: Sequence[Job], data: Path) -> list[Scores]:
    """Do the jobs in two processes; `data` is the file that `keep` wrote."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context, begin, (str(data),)) as workers:
        return list(workers.map(do, jobs))


def keep(pools: dict[str, Pool], folds: list[list[Record]], data: Path) -> None:
    """Write what the two processes read."""
    data.write_bytes(pickle.dumps((pools, folds), protocol=5))


_data: tuple[dict[str, Pool], list[list[Record]]]


def begin(data: str) -> None:
    """In a new process: one thread, sums in one order, and the pools."""
    global _data
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    _data = pickle.loads(Path(data).read_bytes())


def do(job: Job) -> Scores:
    """Fit, judge, save."""
    keras.utils.clear_session()  # names in the SavedModel do not tell which job it was
    pools, folds = _data
    held_out = [] if job.fold is None else folds[job.fold]
    seen = without(pools, held_out)
    started = time.monotonic()
    fold = 0 if job.fold is None else 1 + job.fold
    model = network_of(job.model).fit(seen, 10 * job.seed + fold, job.effort)
    fitted = time.monotonic()
    scores = judge(model, held_out)
    if job.output:
        export(model, job.output)
    print(
        f"{job.model.name} seed {job.seed}, {f'fold {fold}' if fold else 'all records'}: "
        f"fitted in {fitted - started:.0f} s, judged in {time.monotonic() - fitted:.0f} s",
        flush=True,
    )
    return scores


def network_of(model: Path) -> ModuleType:
    """The network.py in the folder of a model; of one model in a process."""
    if str(model) not in sys.path:
        sys.path.insert(0, str(model))
    return importlib.import_module("network")


def without(pools: Mapping[str, Pool], held_out: Sequence[Record]) -> dict[str, Pool]:
    """The pools of all other patients."""
    names = {record.name for record in held_out}
    return {name: pool for name, pool in pools.items() if name not in names}


def judge(model: keras.Model, records: Sequence[Record]) -> Scores:
    """Logits of the records' windows, as they are and under each disturbance."""
    import tensorflow as tf

    look = tf.function(lambda x: model(x, training=False), autograph=False, reduce_retracing=True)

    def logits(millivolts: np.ndarray) -> np.ndarray:
        parts = np.array_split(as_input(millivolts), max(1, len(millivolts) // 64))
        return np.concatenate([look(tf.constant(x)).numpy() for x in parts])

    return {
        record.name: {kind: logits(disturb(record.windows())) for kind, disturb in KINDS.items()}
        for record in records
    }


def export(model: keras.Model, directory: Path) -> None:
    """Write the SavedModel whole, its scores the softmax of the logits, then put it in place."""
    scores = keras.layers.Softmax(name="scores")(model.output)
    model = keras.Model(model.input, scores)
    fresh = directory.with_name(directory.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.export(fresh, verbose=False)
    shutil.rmtree(directory, ignore_errors=True)
    fresh.rename(directory)
