"""Figures of a classifier of windows; every share is 0 to 1, and None where it is of nothing.

A confusion matrix has a row for each true class (N, S, V) and a column for each class that was
called, the last one for windows that were called none of them. Of a class:

    sensitivity            windows called so, of those that are so        TP / (TP + FN)
    positive predictivity  windows that are so, of those called so        TP / (TP + FP)
    F1                     harmonic mean of both                          2 TP / (2 TP + FN + FP)

(AAMI EC57, section 5; Se and +P.) N specificity is the share of the S and V windows that were not
called N. Macro F1 is the mean F1 of the classes that occur in truth. numpy is all that is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from holter_host.evaluation.truth import CLASSES, N

Table = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]
SPECIFICITY: Final = 0.95
BINS: Final = 15
RESAMPLES: Final = 1000
# Ratios of counts are at least 1e-9 apart; rounding is far below.
_ROUNDING: Final = 1e-9


def confusion(truth: npt.NDArray[np.integer], called: npt.NDArray[np.integer]) -> Table:
    """Windows by (true class, class called), shape (3, 4).

    Args:
        truth: 0, 1 or 2 of each window, shape (windows,).
        called: the same, or NO_TRUTH for a call that is right for no window.
    """
    table = np.zeros((len(CLASSES), len(CLASSES) + 1), np.int64)
    np.add.at(table, (truth, np.where(called < 0, len(CLASSES), called)), 1)
    return table


def by_class(table: Table) -> dict[str, dict[str, float | None]]:
    """Windows, called, sensitivity, positive_predictivity and f1 of each class."""
    rows: dict[str, dict[str, float | None]] = {}
    for index, name in enumerate(CLASSES):
        right, true, called = (
            int(count) for count in (table[index, index], table[index].sum(), table[:, index].sum())
        )
        rows[name] = {
            "windows": true,
            "called": called,
            "sensitivity": _ratio(right, true),
            "positive_predictivity": _ratio(right, called),
            "f1": _ratio(2 * right, true + called),
        }
    return rows


def overall(table: Table) -> dict[str, float | None]:
    """accuracy, macro_f1 and n_specificity."""
    occurring = [row["f1"] or 0.0 for row in by_class(table).values() if row["windows"]]
    others = np.delete(table, N, axis=0)
    return {
        "accuracy": _ratio(int(np.trace(table)), int(table.sum())),
        "macro_f1": float(np.mean(occurring)) if occurring else None,
        "n_specificity": _ratio(int(others.sum() - others[:, N].sum()), int(others.sum())),
    }


@dataclasses.dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A window is called N where its score of N is above `threshold`."""

    sensitivity: float | None
    specificity: float | None
    threshold: float | None


def n_sensitivity_at(
    truth: npt.NDArray[np.integer],
    n_scores: Floats,
    specificity: float = SPECIFICITY,
    weights: Floats | None = None,
) -> OperatingPoint:
    """The greatest N sensitivity that some threshold gives at no less than this N specificity.

    Args:
        truth: class of each window, shape (windows,).
        n_scores: its score of N, shape (windows,).
        specificity: share of the other windows that must not be called N.
        weights: how often each window counts; once where left out.
    """
    weights = np.ones(len(truth)) if weights is None else np.asarray(weights, float)
    is_n = truth == N
    order = np.argsort(-n_scores[~is_n], kind="stable")
    others, other_weights = n_scores[~is_n][order], weights[~is_n][order]
    total_n, total_others = float(weights[is_n].sum()), float(other_weights.sum())
    if not total_n or not total_others:
        return OperatingPoint(None, None, None)
    called = np.cumsum(other_weights)
    too_many = np.flatnonzero(called > (1 - specificity + _ROUNDING) * total_others)
    threshold = float(others[too_many[0]]) if len(too_many) else -np.inf
    right = float(weights[is_n & (n_scores > threshold)].sum())
    wrong = float(other_weights[others > threshold].sum())
    limit = threshold if np.isfinite(threshold) else None
    return OperatingPoint(right / total_n, 1 - wrong / total_others, limit)


def reliability(
    confidence: Floats, right: npt.NDArray[np.bool_], bins: int = BINS
) -> tuple[float | None, list[dict[str, float]]]:
    """The expected calibration error, and its table.

    Args:
        confidence: the score of each window's label, 0 to 1, shape (windows,).
        right: whether it was right, shape (windows,).
        bins: bins of equal width in 0 to 1; the upper edge belongs to a bin.

    Returns:
        (the mean over windows of |share right - mean confidence| of their bin, None for no
        windows; of each bin that has windows its edges, windows, mean confidence and share right).
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    error, rows = 0.0, []
    for index in np.unique(place):
        inside = place == index
        mean, share = float(confidence[inside].mean()), float(right[inside].mean())
        error += abs(share - mean) * int(inside.sum())
        rows.append({
            "from": float(index / bins),
            "to": float((index + 1) / bins),
            "windows": int(inside.sum()),
            "confidence": mean,
            "accuracy": share,
        })  # fmt: skip
    return (error / len(confidence) if len(confidence) else None), rows


def as_probabilities(scores: Floats, *, logits: bool) -> npt.NDArray[np.float64]:
    """Scores of shape (windows, labels) as float64, their softmax where they are logits."""
    values = np.asarray(scores, np.float64)
    if not logits:
        return values
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def figures(table: Table) -> dict[str, float | None]:
    """Every figure of a confusion matrix by a flat name, e.g. "V sensitivity"."""
    flat = {
        f"{name} {key}": row[key]
        for name, row in by_class(table).items()
        for key in ("sensitivity", "positive_predictivity", "f1")
    }
    return {**overall(table), **flat}


def bootstrap(
    tables: Sequence[Table],
    truth: npt.NDArray[np.integer],
    n_scores: Floats,
    patients: npt.NDArray[np.integer],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float] | None]:
    """Percentile intervals of every figure, patients drawn with replacement.

    Windows of one patient are alike, so that drawing windows would say too little; patients are
    what another study would have others of.

    Args:
        tables: confusion matrix of each patient.
        truth: class of each window, shape (windows,).
        n_scores: its score of N, shape (windows,).
        patients: its patient, an index of `tables`, shape (windows,).
        resamples: how often.
        seed: of the draws.
        level: share of the resamples that lie within.

    Returns:
        For each name of `figures`, and "N sensitivity at specificity", (low, high); None where
        there are fewer than two patients or no resample has the figure.
    """
    names = [*figures(sum(tables, np.zeros_like(confusion(truth[:0], truth[:0])))), AT]
    if len(tables) < 2:
        return dict.fromkeys(names)
    rng = np.random.default_rng(seed)
    stacked = np.stack(tables)
    rows: list[list[float]] = []
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(0, len(tables), len(tables)), minlength=len(tables))
        values = list(figures(np.tensordot(drawn, stacked, 1)).values())
        weights = drawn[patients].astype(float)
        values.append(n_sensitivity_at(truth, n_scores, weights=weights).sensitivity)
        rows.append([np.nan if value is None else value for value in values])
    tail = 50 * (1 - level)
    found = np.array(rows).T
    return {
        name: _interval(values[~np.isnan(values)], tail)
        for name, values in zip(names, found, strict=True)
    }


AT: Final = "N sensitivity at specificity"


def _interval(values: Floats, tail: float) -> tuple[float, float] | None:
    if not len(values):
        return None
    low, high = np.percentile(values, (tail, 100 - tail))
    return float(low), float(high)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
