"""The figures of the rhythm model: every number about accuracy in MODEL_CARD.md is made here.

Sensitivity is the share of a class's windows that were called so; positive predictivity the share
of the windows called so that were of the class; F1 their harmonic mean. All are in per cent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from windows import LABELS

BEGIN, END = "<!-- figures: written by train.py -->\n", "<!-- end of figures -->"


def confusion(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Windows by (true class, class given), shape (3, 3)."""
    table = np.zeros((len(LABELS), len(LABELS)), int)
    np.add.at(table, (truth, guess), 1)
    return table


def rates(table: np.ndarray) -> dict[str, float]:
    """Accuracy and macro F1 of a confusion matrix; classes that do not occur do not count."""
    f1 = [row["f1"] for row in by_class(table).values() if row["windows"]]
    accuracy = 100 * np.trace(table) / table.sum()
    return {"accuracy": round(float(accuracy), 1), "macro_f1": round(float(np.mean(f1)), 1)}


def by_class(table: np.ndarray) -> dict[str, dict[str, float]]:
    """Windows, sensitivity, positive predictivity and F1 of each class."""
    rows = {}
    for i, label in enumerate(LABELS):
        right, true, called = int(table[i, i]), int(table[i].sum()), int(table[:, i].sum())
        rows[label] = {
            "windows": true,
            "sensitivity": round(100 * right / max(true, 1), 1),
            "positive_predictivity": round(100 * right / max(called, 1), 1),
            "f1": round(200 * right / max(true + called, 1), 1),
        }
    return rows


def spread(values: list[float]) -> dict[str, float]:
    """Mean, sample standard deviation, least and greatest."""
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    return {"mean": round(mean, 1), "sd": round(sd, 1), "min": min(values), "max": max(values)}


def summary(folds: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """All figures, for the confusion matrix of each record in each fold (two folds at least)."""
    total = sum(sum(fold.values()) for fold in folds)
    of_folds = [rates(sum(fold.values())) for fold in folds]
    patients = {
        name: {"fold": i, **rates(table), "confusion": table.tolist()}
        for i, fold in enumerate(folds)
        for name, table in fold.items()
    }
    return {
        "windows": int(total.sum()),
        **rates(total),
        "always_n_accuracy": round(100 * float(total[0].sum() / total.sum()), 1),
        "classes": by_class(total),
        "confusion": total.tolist(),
        "folds": of_folds,
        "over_folds": {k: spread([f[k] for f in of_folds]) for k in ("accuracy", "macro_f1")},
        "over_patients": {"accuracy": spread([p["accuracy"] for p in patients.values()])},
        "patients": dict(sorted(patients.items())),
    }


def markdown(s: dict[str, Any]) -> str:
    """The figures as the model card shows them."""
    lines = [
        f"{s['windows']} windows, each judged once by a model that never saw its patient: "
        f"accuracy **{s['accuracy']} %**, macro F1 **{s['macro_f1']} %** "
        f"(always saying N: accuracy {s['always_n_accuracy']} %).",
        "",
        "| class | windows | sensitivity % | positive predictivity % | F1 % | given N | S | V |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (label, row), counts in zip(s["classes"].items(), s["confusion"], strict=True):
        lines.append("| " + " | ".join(map(str, (label, *row.values(), *counts))) + " |")
    lines += ["", "| over | figure | mean % | sd | least | greatest |", "|---|---|---|---|---|---|"]
    for over, key in (("folds", "accuracy"), ("folds", "macro_f1"), ("patients", "accuracy")):
        row = s[f"over_{over}"][key].values()
        lines.append(f"| {over} | {key.replace('_', ' ')} | " + " | ".join(map(str, row)) + " |")
    worst = sorted(s["patients"].items(), key=lambda item: item[1]["accuracy"])[:5]
    said = ", ".join(f"{name} ({p['accuracy']} %)" for name, p in worst)
    t = s["training"]
    lines += [
        "",
        f"The five worst records: {said}. All are in figures.json.",
        "",
        f"{t['parameters']} parameters, {t['weights_bytes'] / 1000:.0f} kB as float32. Trained "
        f"with TensorFlow {t['tensorflow']} and Keras {t['keras']}, {t['epochs']} epochs of "
        f"{t['batches']} batches, seed {t['seed']}; cross-validation and the final fit took "
        f"{t['minutes']} minutes on two shared cores.",
    ]
    return "\n".join(lines) + "\n"


def write(s: dict[str, Any], directory: Path) -> None:
    """Write figures.json, and put the figures in the directory's MODEL_CARD.md if it has one."""
    (directory / "figures.json").write_text(json.dumps(s, indent=1) + "\n", encoding="utf-8")
    card = directory / "MODEL_CARD.md"
    if card.exists():
        before, rest = card.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        card.write_text(before + BEGIN + markdown(s) + END + after, encoding="utf-8")
