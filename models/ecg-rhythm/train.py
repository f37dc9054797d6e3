"""Train the reference rhythm model: ten seconds of one ECG lead -> N, S or V.

    python models/ecg-rhythm/train.py [--records DIR] [--epochs 20] [--folds 4] [--seed 1]

It cross-validates by patient, fits the model on all records, and writes saved_model/,
figures.json and the figures in MODEL_CARD.md beside this file.

The network looks for beats: it gives every 22 ms a class (none, N, S, V, L, R) and is told the
cardiologists' beats. The window's label is then read off by counting, as the label is defined.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
import wfdb
from holter_device.frontend import FrontEnd
from keras import layers, ops

HERE = Path(__file__).resolve().parent
RECORDS = HERE.parents[1] / ".." / "shared" / "data" / "mitdb"
LEAD = "MLII"
RATE_HZ, WINDOW = 360, 3600
LABELS = ("N", "S", "V")
STEP = 8  # frames in one place of the class map: 45 places a second
PLACES = WINDOW // STEP
WIDTH = 5  # places that one beat covers in the class map
# Classes of the map, and the AAMI EC57 beat symbols in them. Bundle branch block (L, R) is AAMI N,
# but looks like V, so it has a class of its own. Fusion beats are folded into V; Q is not counted.
NONE, NORMAL, SUPRA, VENTRICULAR, LEFT, RIGHT, UNKNOWN = range(7)
SYMBOLS = {
    **dict.fromkeys("Nej", NORMAL), **dict.fromkeys("AaJS", SUPRA),
    **dict.fromkeys("VEF", VENTRICULAR), "L": LEFT, "R": RIGHT, **dict.fromkeys("/fQ", UNKNOWN),
}  # fmt: skip
MAP_WEIGHTS = np.array([1, 1, 3, 2, 1, 1, 0], np.float32)  # rare classes weigh more, Q nothing


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One patient: the lead after the analogue front end, and the beats' places and classes."""

    name: str
    millivolts: np.ndarray  # (frames,) float32, band-limited, not yet converted
    other: np.ndarray  # the same for the second lead, used only to vary the training windows
    frames: np.ndarray  # (beats,) frame number of each beat
    classes: np.ndarray  # (beats,) class of each beat


def load_records(directory: Path) -> list[Record]:
    """Every record of the directory that has the lead, by name; says which it skips."""
    found = []
    for header in sorted(directory.glob("*.hea")):
        path = str(header.with_suffix(""))
        raw = wfdb.rdrecord(path)
        if LEAD not in raw.sig_name or raw.fs != RATE_HZ:
            print(f"skip {header.stem}: no {LEAD} at {RATE_HZ} Hz")
            continue
        lead = raw.sig_name.index(LEAD)
        leads = [
            FrontEnd().band_limit(raw.p_signal[:, i], RATE_HZ).astype(np.float32)
            for i in (lead, 1 - lead)
        ]
        notes = wfdb.rdann(path, "atr")
        beats = [(f, SYMBOLS[s]) for f, s in zip(notes.sample, notes.symbol, strict=True)
                 if s in SYMBOLS]  # fmt: skip
        found.append(Record(header.stem, *leads, *np.array(beats).T))
    if not found:
        raise SystemExit(f"no WFDB record with lead {LEAD} in {directory}: give --records DIR")
    return found


def window_label(classes: np.ndarray) -> int | None:
    """Index of LABELS for a window's beats; None: no beat, or Q as the only other class."""
    supra, ventricular = np.sum(classes == SUPRA), np.sum(classes == VENTRICULAR)
    if supra or ventricular:
        return 1 if supra > ventricular else 2
    return None if len(classes) == 0 or UNKNOWN in classes else 0


def as_input(millivolts: np.ndarray) -> np.ndarray:
    """What the network is fed: through the 8-bit converter, then z-scored (model.toml)."""
    front_end = FrontEnd()
    x = front_end.millivolts(front_end.counts(millivolts))
    x = (x - x.mean(-1, keepdims=True)) / np.maximum(x.std(-1, keepdims=True), 1e-6)
    return x.astype(np.float32)[..., None]


def evaluation_windows(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """All labelled windows of a record, without overlap: inputs (n, WINDOW, 1), labels (n,)."""
    x, y = [], []
    for start in range(0, len(record.millivolts) - WINDOW + 1, WINDOW):
        inside = (record.frames >= start) & (record.frames < start + WINDOW)
        label = window_label(record.classes[inside])
        if label is not None:
            x.append(record.millivolts[start : start + WINDOW])
            y.append(label)
    return as_input(np.array(x)), np.array(y)


# Training windows: anywhere in a record, at another heart rate, with invented premature beats.


def retime(frames: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """New places for beats: another heart rate, some normal beats premature (marked S in place)."""
    rr = np.diff(frames).astype(float)
    new = rr * rng.uniform(0.85, 1.2)
    if rng.random() < 0.35 and len(rr) > 3:
        regular = np.abs(rr / np.median(rr) - 1) < 0.12
        share = rng.choice([0.08, 0.2, 0.4])
        for i in range(1, len(rr) - 1):
            sinus = np.isin(classes[i : i + 2], (NORMAL, LEFT, RIGHT)).all()
            if sinus and regular[i - 1 : i + 2].all() and rng.random() < share:
                new[i] *= rng.uniform(0.55, 0.82)
                new[i + 1] *= rng.uniform(1.0, 1.35)
                classes[i + 1] = SUPRA
    return frames[0] + np.concatenate([[0.0], np.cumsum(np.maximum(new, 0.36 * RATE_HZ))])


def disturb(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another gain, baseline wander, mains hum and noise, in mV."""
    t = np.arange(WINDOW) / RATE_HZ
    x = x * rng.uniform(0.6, 1.6)
    x = x + rng.uniform(0, 0.15) * np.sin(2 * np.pi * (rng.uniform(0.1, 0.6) * t + rng.random()))
    if rng.random() < 0.3:
        x = x + rng.uniform(0, 0.05) * np.sin(2 * np.pi * (rng.choice([50, 60]) * t + rng.random()))
    if rng.random() < 0.5:
        x = x + rng.uniform(0, 0.04) * rng.standard_normal(WINDOW)
    return x


def training_window(record: Record, rng: np.random.Generator) -> tuple[np.ndarray, ...] | None:
    """One varied window: mV (WINDOW,), map (PLACES, 6), label; None where it has no label."""
    span = WINDOW * 7 // 4
    start = rng.integers(0, len(record.millivolts) - span)
    if rng.random() < 0.4:  # around a beat that is not normal, so that rare beats are seen often
        odd = record.frames[np.isin(record.classes, (SUPRA, VENTRICULAR))]
        if len(odd):
            start = np.clip(rng.choice(odd) - rng.integers(0, WINDOW), 0, start + span)
    start = min(start, len(record.millivolts) - span)
    first, last = np.searchsorted(record.frames, (start, start + span))
    if last - first < 2:
        return None
    frames, classes = record.frames[first:last] - start, record.classes[first:last].copy()
    new = retime(frames, classes, rng)
    # A complex keeps its shape from 0.12 s before the beat to 0.22 s after; the rest is stretched.
    margins = np.array([-0.12, 0.22]) * RATE_HZ
    places = np.concatenate([[new[0] - frames[0] - 99], (new[:, None] + margins).ravel()])
    source = np.concatenate([[-99], (frames[:, None] + margins).ravel()])
    at = np.interp(np.arange(WINDOW), places, source)
    lead = record.millivolts[start : start + span]
    if rng.random() < 0.3:
        mix = rng.uniform(0, 0.7)
        lead = (1 - mix) * lead + mix * rng.choice([-1, 1]) * record.other[start : start + span]
    inside = (new >= 0) & (new < WINDOW)
    label = window_label(classes[inside])
    if label is None:
        return None
    beat_map = np.zeros((PLACES, len(MAP_WEIGHTS)), np.float32)
    beat_map[:, NONE] = 1
    for frame, kind in zip(new[inside], classes[inside], strict=True):
        place = int(frame) // STEP
        span_of_beat = slice(max(place - WIDTH // 2, 0), place + WIDTH // 2 + 1)
        beat_map[span_of_beat] = MAP_WEIGHTS[kind] * (np.arange(len(MAP_WEIGHTS)) == kind)
    x = np.interp(at, np.arange(span), lead)
    return disturb(x, rng), beat_map[:, :UNKNOWN], np.array(label)


class TrainingWindows(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of fresh windows, each from a record drawn at random; the same for the same seed."""

    def __init__(self, records: list[Record], batches: int, batch: int, seed: int) -> None:
        super().__init__()
        self.records, self.batches, self.batch, self.seed = records, batches, batch, seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.batches

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        rows: list[tuple[np.ndarray, ...]] = []
        while len(rows) < self.batch:
            row = training_window(self.records[rng.integers(len(self.records))], rng)
            if row is not None:
                rows.append(row)
        x, beat_map, label = (np.array(column) for column in zip(*rows, strict=True))
        return as_input(x), {"map": beat_map, "scores": label}


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
        TrainingWindows(records, args.batches, 32, seed), epochs=args.epochs, verbose=args.verbose
    )
    return used


# Figures: every number in MODEL_CARD.md comes from here.


def confusion(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Counts (true class, predicted class)."""
    table = np.zeros((3, 3), int)
    np.add.at(table, (truth, guess), 1)
    return table


def figures_of(table: np.ndarray) -> dict[str, Any]:
    """Accuracy, macro F1, and per class the sensitivity, positive predictivity and F1, in %."""
    right, true, said = np.diag(table), table.sum(1), table.sum(0)
    f1 = 200 * right / np.maximum(true + said, 1)
    classes = {
        label: {
            "windows": int(true[i]),
            "sensitivity": round(100 * right[i] / max(true[i], 1), 1),
            "positive_predictivity": round(100 * right[i] / max(said[i], 1), 1),
            "f1": round(f1[i], 1),
        }
        for i, label in enumerate(LABELS)
    }
    accuracy = round(100 * right.sum() / table.sum(), 1)
    return {"accuracy": accuracy, "macro_f1": round(f1.mean(), 1), "classes": classes}


def spread(values: list[float]) -> dict[str, float]:
    """Mean, sample standard deviation, least and greatest."""
    sd = float(np.std(values, ddof=1))
    return {"mean": round(float(np.mean(values)), 1), "sd": round(sd, 1),
            "min": min(values), "max": max(values)}  # fmt: skip


def cross_validate(records: list[Record], args: argparse.Namespace) -> dict[str, Any]:
    """Each record judged once, by a model that never saw its patient."""
    folds, patients = [], {}
    total = np.zeros((3, 3), int)
    for fold in range(args.folds):
        held_out = records[fold :: args.folds]
        model = fit([r for r in records if r not in held_out], args, args.seed + fold)
        fold_table = np.zeros((3, 3), int)
        for record in held_out:
            x, truth = evaluation_windows(record)
            table = confusion(truth, model.predict(x, batch_size=64, verbose=0).argmax(-1))
            patients[record.name] = {"fold": fold, "confusion": table.tolist()}
            patients[record.name]["accuracy"] = figures_of(table)["accuracy"]
            fold_table += table
        folds.append(figures_of(fold_table))
        print(f"fold {fold}: {folds[-1]['accuracy']} % right, macro F1 {folds[-1]['macro_f1']}")
        total += fold_table
    return {
        **figures_of(total),
        "confusion": total.tolist(),
        "always_n_accuracy": round(100 * total[0].sum() / total.sum(), 1),
        "over_folds": {k: spread([f[k] for f in folds]) for k in ("accuracy", "macro_f1")},
        "over_patients": {"accuracy": spread([p["accuracy"] for p in patients.values()])},
        "patients": dict(sorted(patients.items())),
    }


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
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batches", type=int, default=125, help="batches of 32 in an epoch")
    parser.add_argument("--folds", type=int, default=4, help="0: no cross-validation, no figures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--verbose", type=int, default=2, choices=(0, 1, 2))
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(2)
    records = load_records(args.records)
    started = time.monotonic()
    if args.folds:
        figures = cross_validate(records, args)
    model = fit(records, args, args.seed)
    export(model, args.output / "saved_model")
    if args.folds:
        figures["parameters"] = model.count_params()
        figures["weights_bytes"] = 4 * model.count_params()
        figures["training_minutes"] = round((time.monotonic() - started) / 60, 1)
        (args.output / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
