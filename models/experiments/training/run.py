"""One experiment: cross-validate a network, choose the calibration, fit on all, write figures."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf
from windows import load_records

from training import card, crossvalidation, figures, fitting
from training.crossvalidation import Job, Scores
from training.fitting import Network, Settings
from training.pool import make_pools

ROOT = Path(__file__).resolve().parents[3]
RECORDS = ROOT / ".." / "shared" / "data" / "mitdb"
WORK = ROOT / ".build" / "experiments"


def main() -> None:
    """The command that README.md describes."""
    args = arguments()
    build = importlib.import_module(f"networks.{args.network}").build
    output = args.output or WORK / args.network
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    folds = crossvalidation.deal(load_records(args.records))
    data = output / "windows.pickle"
    crossvalidation.keep(make_pools(folds, args.pool, args.seeds[0]), folds, data)
    print(f"windows made after {time.monotonic() - started:.0f} s", flush=True)
    job = Job(build, Settings(steps=args.steps), args.seeds[0], name=args.network)
    jobs = [
        dataclasses.replace(job, seed=seed, fold=fold)
        for seed in args.seeds
        for fold in range(len(folds))
    ]
    found = crossvalidation.run(jobs, data)
    truth = {r.name: crossvalidation.labelled(r)[1] for fold in folds for r in fold}
    summary = figures.summary(truth, by_seed(jobs, found), [[r.name for r in f] for f in folds])
    summary["training"] = {
        **of_training(build, args),
        "fits": len(jobs),
        "minutes": round((time.monotonic() - started) / 60),
    }
    (output / "figures.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (output / "figures.md").write_text(card.markdown(summary), encoding="utf-8")
    chosen = summary["calibration"]
    final = dataclasses.replace(
        job, scale=chosen["scale"], bias=tuple(chosen["bias"]), directory=output / "saved_model"
    )
    crossvalidation.run([final], data)
    data.unlink()
    print(f"see {output}")


def by_seed(jobs: list[Job], found: list[Scores]) -> dict[int, Scores]:
    """The logits of all records by seed: each record is held out once."""
    scores: dict[int, Scores] = {}
    for job, part in zip(jobs, found, strict=True):
        scores.setdefault(job.seed, {}).update(part)
    return scores


def of_training(build: Callable[[], Network], args: argparse.Namespace) -> dict[str, object]:
    """What the figures say of how they were made."""
    parameters = fitting.model_of(build).count_params()
    return {
        "seeds": args.seeds,
        **dataclasses.asdict(Settings(steps=args.steps)),
        "pool": args.pool,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "parameters": parameters,
        "weights_bytes": 4 * parameters,
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Cross-validate a network and fit it.")
    default = Path(os.environ.get("HOLTER_MITDB", RECORDS))
    parser.add_argument("network", choices=("timing", "senet_lstm"))
    parser.add_argument("--records", type=Path, default=default, metavar="DIR")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1], metavar="N",
        help="seeds to cross-validate with; the model is fitted with the first",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=Settings.steps, help="batches of a fit")
    parser.add_argument("--pool", type=int, default=1000, help="varied windows of a record")
    parser.add_argument("--output", type=Path, metavar="DIR", help=".build/experiments/NETWORK")
    return parser.parse_args()
