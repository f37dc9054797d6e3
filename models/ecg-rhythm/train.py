"""Train the reference rhythm model: ten seconds of one ECG lead -> N, S or V.

    python models/ecg-rhythm/train.py [--records DIR] [--epochs 12] [--folds 4] [--seed 1]

It cross-validates by patient, fits the model on all records, and writes saved_model/,
figures.json and the figures in MODEL_CARD.md beside this file.

The network looks for beats: it gives every 22 ms a class (none, N, S, V, L, R) and is told the
cardiologists' beats. The window's label is then read off by counting, as the label is defined.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import figures
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from windows import (
    PLACES,
    SUPRA,
    VENTRICULAR,
    WIDTH,
    WINDOW,
    Record,
    draw_batch,
    evaluation_windows,
    load_records,
)

HERE = Path(__file__).resolve().parent
RECORDS = HERE.parents[1] / ".." / "shared" / "data" / "mitdb"
BATCH = 32


class TrainingWindows(keras.utils.PyDataset):  # type: ignore[misc]
    """Fresh batches of varied windows; the same for the same seed."""

    def __init__(self, records: list[Record], batches: int, seed: int) -> None:
        super().__init__()
        self.records, self.batches, self.seed, self.epoch = records, batches, seed, 0

    def __len__(self) -> int:
        return self.batches

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        x, beat_map, label = draw_batch(self.records, BATCH, rng)
        return x, {"map": beat_map, "scores": label}


def build() -> tuple[keras.Model, keras.Model]:
    """The network for training (class map and scores) and for use (scores alone)."""
    x = inputs = keras.Input((WINDOW, 1), name="ecg")
    x = layers.AveragePooling1D(2)(x)
    for filters, size in ((16, 9), (32, 7)):
        x = layers.Conv1D(filters, size, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    for dilation in (1, 2, 4, 8, 16, 32):
        y = layers.Conv1D(32, 5, dilation_rate=dilation, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        x = layers.Add()([x, layers.SpatialDropout1D(0.1)(y)])
        if dilation == 8:  # what the whole window looks like, told to every place
            mean = layers.GlobalAveragePooling1D(keepdims=True)(x)
            x = layers.Add()([x, layers.Dense(32)(mean)])
    beat_map = layers.Conv1D(6, 1, name="map")(layers.ReLU()(layers.Conv1D(32, 1)(x)))
    share = layers.GlobalAveragePooling1D()(layers.Softmax()(beat_map))
    beats = layers.Rescaling(PLACES / WIDTH)(share)  # about how many beats of each class
    # N unless there is half a beat of another class; the more frequent class wins.
    rule = np.zeros((6, 3), np.float32)
    rule[SUPRA, 1] = rule[VENTRICULAR, 2] = 2
    scores = layers.Dense(3, activation="softmax", name="scores")
    scores.build(beats.shape)
    scores.set_weights([rule, np.array([1, 0, 0], np.float32)])
    scores = scores(beats)
    return (
        keras.Model(inputs, {"map": beat_map, "scores": scores}),
        keras.Model(inputs, scores, name="ecg_rhythm"),
    )


def fit(records: list[Record], args: argparse.Namespace, seed: int) -> keras.Model:
    """A model trained on the records."""
    keras.utils.set_random_seed(seed)
    trained, used = build()
    steps = args.batches * args.epochs
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, steps, alpha=0.01, warmup_target=3e-3, warmup_steps=steps // 20
    )
    trained.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3, clipnorm=1.0),
        loss={
            "map": lambda weighted, logits: -ops.sum(weighted * ops.log_softmax(logits), -1),
            "scores": keras.losses.SparseCategoricalCrossentropy(),
        },
        loss_weights={"map": 4.0, "scores": 0.3},
    )
    trained.fit(
        TrainingWindows(records, args.batches, seed), epochs=args.epochs, verbose=args.verbose
    )
    return used


def cross_validate(records: list[Record], args: argparse.Namespace) -> dict[str, Any]:
    """Each record judged once, by a model that never saw its patient; dealt in order of name."""
    tables: list[dict[str, np.ndarray]] = []
    for fold in range(args.folds):
        held_out = records[fold :: args.folds]
        model = fit([r for r in records if r not in held_out], args, args.seed + fold)
        tables.append({})
        for record in held_out:
            x, truth = evaluation_windows(record)
            guess = model.predict(x, batch_size=64, verbose=0).argmax(-1)
            tables[-1][record.name] = figures.confusion(truth, guess)
        print(f"fold {fold}:", figures.rates(sum(tables[-1].values())), flush=True)
    return figures.summary(tables)


def export(model: keras.Model, directory: Path) -> None:
    """Write the SavedModel whole, then put it in place."""
    fresh = directory.with_name(directory.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.export(fresh, verbose=False)
    shutil.rmtree(directory, ignore_errors=True)
    fresh.rename(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the reference rhythm model.")
    default = Path(os.environ.get("HOLTER_MITDB", RECORDS))
    parser.add_argument("--records", type=Path, default=default, metavar="DIR")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batches", type=int, default=125, help="batches of 32 in an epoch")
    parser.add_argument("--folds", type=int, default=4, help="0: no cross-validation, no figures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--verbose", type=int, default=2, choices=(0, 1, 2))
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(2)
    records = load_records(args.records)
    started = time.monotonic()
    summary = cross_validate(records, args) if args.folds else None
    model = fit(records, args, args.seed)
    export(model, args.output / "saved_model")
    if summary:
        settings = {k: getattr(args, k) for k in ("epochs", "batches", "folds", "seed")}
        summary["training"] = {
            **settings,
            "minutes": round((time.monotonic() - started) / 60),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "parameters": model.count_params(),
            "weights_bytes": 4 * model.count_params(),
        }
        figures.write(summary, args.output)


if __name__ == "__main__":
    main()
