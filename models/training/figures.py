"""All figures of a model card, out of the logits of cross-validation.

What each figure means is in holter_host.evaluation.metrics; here shares are per cent, but for the
calibration error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from holter_host.evaluation import metrics
from holter_host.evaluation.truth import N
from training.windows import LABELS

Arrays = Mapping[str, np.ndarray]  # by record: labels (n,) or logits (n, 3)
Scores = Mapping[str, Arrays]  # logits by record and disturbance


def joined(by_record: Arrays, names: Sequence[str]) -> np.ndarray:
    """The rows of some records, one after the other."""
    return np.concatenate([by_record[name] for name in names])


def of_seed(truth: Arrays, logits: Scores) -> dict[str, Any]:
    """The figures of one seed."""
    names = sorted(truth)
    everything = joined(truth, names)

    def scores(kind: str) -> np.ndarray:
        return metrics.as_probabilities(
            joined({n: by_kind[kind] for n, by_kind in logits.items()}, names), logits=True
        )

    said = scores("none")
    disturbed = {}
    for kind in next(iter(logits.values())):
        given = scores(kind)
        changed = float(np.mean(given.argmax(-1) != said.argmax(-1)))
        disturbed[kind] = {**rates(everything, given), "labels_changed": 100 * changed}
    tables = {
        n: metrics.confusion(truth[n], logits[n]["none"].argmax(-1))[:, : len(LABELS)]
        for n in names
    }
    return {
        **rates(everything, said),
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
    seeds = [of_seed(truth, s) for s in scores.values()]
    names = sorted(truth)
    windows = np.bincount(joined(truth, names), minlength=len(LABELS))
    apart = ("confusion", "patients")
    tables = {n: np.array([s["patients"][n] for s in seeds]) for n in names}
    return {
        "windows": dict(zip(LABELS, windows.tolist(), strict=True)),
        "always_n_accuracy": round(100 * windows[N] / windows.sum(), 1),
        "over_seeds": over([{k: v for k, v in s.items() if k not in apart} for s in seeds]),
        "confusion": seeds[0]["confusion"],
        "over_patients": over_patients({n: t.mean(0) for n, t in tables.items()}),
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
