"""What models/train.py does: fit the model that is shipped, and cross-validate it if wanted."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import keras
import tensorflow as tf

from holter_host.errors import BadInputError
from holter_host.evaluation.records import find_records
from training import card, crossvalidation, figures
from training.crossvalidation import Job, Scores
from training.folds import deal
from training.pool import make_pools
from training.windows import directory, load

MODELS = Path(__file__).resolve().parents[1]
POOL = 3000  # varied windows of a record


def main() -> None:
    """The command.

    Raises:
        SystemExit: a record is missing or cannot be read.
    """
    args = arguments()
    model = MODELS / args.model
    output = args.output or model
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        folds = [[load(path) for path in fold] for fold in deal(find_records(args.records))]
    except BadInputError as error:
        raise SystemExit(f"{error} (--records or HOLTER_MITDB name the folder)") from None
    with tempfile.TemporaryDirectory(prefix="holter-training-") as folder:
        data = Path(folder) / "windows"
        crossvalidation.keep(make_pools(folds, args.pool, args.seeds[0]), folds, data)
        print(f"windows made after {time.monotonic() - started:.0f} s", flush=True)
        seeds = args.seeds if args.cross_validate else []
        jobs = [Job(model, s, args.effort, fold) for s in seeds for fold in range(len(folds))]
        final = Job(model, args.seeds[0], args.effort, output=output / "saved_model")
        found = crossvalidation.run([*jobs, final], data)[:-1]
    if args.cross_validate:
        truth = {r.name: r.truth for fold in folds for r in fold}
        summary = figures.summary(
            truth, by_seed(jobs, found), [[r.name for r in fold] for fold in folds]
        )
        summary["training"] = {
            "seeds": args.seeds, "effort": args.effort, "windows_of_a_record": args.pool,
            "fits": len(jobs), "minutes": round((time.monotonic() - started) / 60),
            "tensorflow": tf.__version__, "keras": keras.__version__,
            "parameters": crossvalidation.network_of(model).build().count_params(),
        }  # fmt: skip
        text = json.dumps(summary, indent=1) + "\n"
        (output / "figures.json").write_text(text, encoding="utf-8")
        card.write(summary, output)
    print(f"{output / 'saved_model'} after {time.monotonic() - started:.0f} s")


def by_seed(jobs: list[Job], found: list[Scores]) -> dict[int, Scores]:
    """The logits of all records by seed: each record is held out once."""
    scores: dict[int, Scores] = {}
    for job, part in zip(jobs, found, strict=True):
        scores.setdefault(job.seed, {}).update(part)
    return scores


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Fit a model on all records and write its saved_model/."
    )
    names = sorted(path.parent.name for path in MODELS.glob("*/network.py"))
    parser.add_argument("model", choices=names, help="a folder beside train.py")
    parser.add_argument(
        "--records", type=Path, default=directory(), metavar="DIR",
        help="where the MIT-BIH records are (HOLTER_MITDB)",
    )  # fmt: skip
    parser.add_argument(
        "--cross-validate", action="store_true",
        help="cross-validate by patient too, and write figures.json and the card's figures",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N",
        help="seeds to cross-validate with; the model is fitted with the first (1 2 3)",
    )  # fmt: skip
    parser.add_argument("--effort", type=float, default=1.0, help="share of the steps of a fit (1)")
    parser.add_argument(
        "--pool", type=int, default=POOL, help=f"varied windows of a record ({POOL})"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where all is written (the model's own folder)"
    )
    return parser.parse_args()
