"""All figures of a model card, out of the logits of cross-validation.

What each figure means is in holter_host.evaluation.metrics; here shares are per cent, but for the
calibration error.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from holter_host.evaluation import metrics
from holter_host.evaluation.truth import N, S, V
from training.windows import LABELS

Arrays = Mapping[str, np.ndarray]  # by record: labels (n,) or logits (n, 3)
Scores = Mapping[str, Arrays]  # logits by record and disturbance
Calibration = tuple[float, tuple[float, ...]]
# What the calibration aims at: (class, sensitivity, positive predictivity).
GOAL = ((S, 0.75, 0.70), (V, 0.95, 0.83))


def calibration(truth: np.ndarray, logits: np.ndarray) -> Calibration:
    """Scale and biases of the scores softmax(scale * logits + bias), chosen on these windows.

    The biases of S and V first: those with the least shortfall from GOAL, and of these the best
    macro F1. Then the scale, with which the truth is the most likely.
    """
    steps = np.arange(-1.5, 1.51, 0.25)

    def merit(bias: tuple[float, float]) -> tuple[float, float]:
        table = metrics.confusion(truth, (logits + np.array([0, *bias])).argmax(-1))
        rows = metrics.by_class(table)
        short = sum(
            max(0.0, goal - (rows[LABELS[k]][figure] or 0.0))
            for k, *goals in GOAL
            for goal, figure in zip(goals, ("sensitivity", "positive_predictivity"), strict=True)
        )
        return -round(short, 3), metrics.overall(table)["macro_f1"] or 0.0

    bias = (0.0, *(float(b) for b in max(itertools.product(steps, steps), key=merit)))

    def likelihood(scale: float) -> float:
        scores = metrics.as_probabilities(scale * (logits + bias), logits=True)
        return float(np.log(scores[np.arange(len(truth)), truth] + 1e-9).sum())

    scale = float(max(np.arange(0.3, 1.51, 0.1), key=likelihood))
    return round(scale, 2), tuple(round(scale * b, 3) for b in bias)


def calibrated_apart(
    truth: Arrays, logits: Arrays, folds: Sequence[Sequence[str]]
) -> dict[str, Calibration]:
    """For each record the calibration that the windows of the other folds choose.

    The models that judged those had seen the record; the calibration is three numbers.
    """
    found = {}
    for fold in folds:
        others = [name for other in folds if other is not fold for name in other]
        found.update(
            dict.fromkeys(fold, calibration(joined(truth, others), joined(logits, others)))
        )
    return found


def joined(by_record: Arrays, names: Sequence[str]) -> np.ndarray:
    """The rows of some records, one after the other."""
    return np.concatenate([by_record[name] for name in names])


def of_seed(truth: Arrays, scores: Scores, folds: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The figures of one seed."""
    names = sorted(truth)
    chosen = calibrated_apart(truth, {n: s["none"] for n, s in scores.items()}, folds)
    everything = joined(truth, names)

    def use(kind: str) -> dict[str, np.ndarray]:
        return {
            n: metrics.as_probabilities(chosen[n][0] * s[kind] + chosen[n][1], logits=True)
            for n, s in scores.items()
        }

    plain = use("none")
    said = joined(plain, names)
    disturbed = {}
    for kind in next(iter(scores.values())):
        given = joined(use(kind), names)
        changed = float(np.mean(given.argmax(-1) != said.argmax(-1)))
        disturbed[kind] = {**rates(everything, given), "labels_changed": 100 * changed}
    raw = metrics.as_probabilities(
        joined({n: s["none"] for n, s in scores.items()}, names), logits=True
    )
    tables = {n: metrics.confusion(truth[n], plain[n].argmax(-1))[:, :3] for n in names}
    return {
        **rates(everything, said),
        "uncalibrated": rates(everything, raw),
        "disturbed": disturbed,
        "confusion": sum(t for t in tables.values()).tolist(),
        "patients": {n: t.tolist() for n, t in tables.items()},
    }


def rates(truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """All figures of scores, in per cent; `ece` 0 to 1."""
    table = metrics.confusion(truth, scores.argmax(-1))
    classes = {
        label: {k: 100 * (row[k] or 0.0) for k in ("sensitivity", "positive_predictivity", "f1")}
        for label, row in metrics.by_class(table).items()
    }
    top, at_95 = scores.max(-1), metrics.n_sensitivity_at(truth, scores[:, N]).sensitivity
    return {
        **{k: 100 * (v or 0.0) for k, v in metrics.overall(table).items()},
        "classes": classes,
        "n_sensitivity_at_95": 100 * (at_95 or 0.0),
        "ece": metrics.reliability(top, scores.argmax(-1) == truth)[0],
    }


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Mean, sample standard deviation (0 of one value), least and greatest, rounded."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    said = {"mean": np.mean(values), "sd": sd, "min": min(values), "max": max(values)}
    return {k: round(float(v), digits) for k, v in said.items()}


def over(rows: Sequence[Any], digits: int = 1) -> Any:
    """Trees of the same figures, as one tree of their spreads."""
    if isinstance(rows[0], dict):
        return {k: over([r[k] for r in rows], 3 if k == "ece" else digits) for k in rows[0]}
    return spread(rows, digits)


def summary(
    truth: Arrays, scores: Mapping[int, Scores], folds: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """All of figures.json but how it was trained, for the logits of each seed."""
    seeds = [of_seed(truth, s, folds) for s in scores.values()]
    names = sorted(truth)
    windows = np.bincount(joined(truth, names), minlength=len(LABELS))
    logits = [joined({n: s[n]["none"] for n in names}, names) for s in scores.values()]
    scale, bias = calibration(
        np.concatenate([joined(truth, names)] * len(seeds)), np.concatenate(logits)
    )
    apart = ("confusion", "patients")
    tables = {n: np.array([s["patients"][n] for s in seeds]) for n in names}
    return {
        "windows": dict(zip(LABELS, windows.tolist(), strict=True)),
        "always_n_accuracy": round(100 * windows[N] / windows.sum(), 1),
        "over_seeds": over([{k: v for k, v in s.items() if k not in apart} for s in seeds]),
        "confusion": seeds[0]["confusion"],
        "over_patients": over_patients({n: t.mean(0) for n, t in tables.items()}),
        "calibration": {"scale": scale, "bias": bias},
        "folds": folds,
        "patients": {
            n: {
                "accuracy": round(100 * float(np.trace(t.mean(0)) / t.mean(0).sum()), 1),
                "confusion_by_seed": t.tolist(),
            }
            for n, t in tables.items()
        },
    }


def over_patients(tables: Arrays) -> dict[str, Any]:
    """How much accuracy, and the sensitivity of each class, differ between patients.

    A class's patients are those with five windows of it or more.
    """
    rows = {"accuracy": [100 * np.trace(t) / t.sum() for t in tables.values()]}
    for i, label in enumerate(LABELS):
        rows[f"{label} sensitivity"] = [
            100 * t[i, i] / t[i].sum() for t in tables.values() if t[i].sum() >= 5
        ]
    return {k: {"patients": len(v), **spread(v)} for k, v in rows.items()}
