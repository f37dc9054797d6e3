"""The figures as a MODEL_CARD.md shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.windows import LABELS

BEGIN, END = "<!-- figures: written by train.py -->\n", "<!-- end of figures -->"


def write(summary: dict[str, Any], directory: Path) -> None:
    """Put the figures in the directory's MODEL_CARD.md, if it has one."""
    card = directory / "MODEL_CARD.md"
    if card.exists():
        before, rest = card.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        card.write_text(before + BEGIN + markdown(summary) + END + after, encoding="utf-8")


def said(figure: dict[str, float]) -> str:
    """A figure over seeds."""
    return f"{figure['mean']} ± {figure['sd']}"


def table(head: str, rows: list[list[object]]) -> list[str]:
    """A table in Markdown."""
    columns = [c.strip() for c in head.split("|")]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return ["", *lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]


def markdown(s: dict[str, Any]) -> str:
    """All of figures.json that the card shows."""
    f, t = s["over_seeds"], s["training"]
    worst = sorted(s["patients"].items(), key=lambda item: item[1]["accuracy"])[:5]
    lines = [
        f"{sum(s['windows'].values())} windows, each judged once a seed by a model that never saw "
        f"its patient; seeds {', '.join(map(str, t['seeds']))}, mean ± standard deviation over "
        f"them. Accuracy **{said(f['accuracy'])} %**, macro F1 **{said(f['macro_f1'])} %** "
        f"(always saying N: accuracy {s['always_n_accuracy']} %). N sensitivity where 95 % of the "
        f"other windows are not called N: **{said(f['n_sensitivity_at_95'])} %**. Calibration "
        f"error (ECE) {f['ece']['mean']} of 1.",
        *table(
            "class | windows | sensitivity % | positive predictivity % | F1 %",
            [[k, s["windows"][k], *(said(v) for v in f["classes"][k].values())] for k in LABELS],
        ),
        f"Confusion of seed {t['seeds'][0]}:",
        *table(
            "true | given N | S | V",
            [[k, *row] for k, row in zip(LABELS, s["confusion"], strict=True)],
        ),
        "Over the patients (means over the seeds):",
        *table(
            "figure | patients | mean % | sd | least | greatest",
            [[k, v["patients"], *list(v.values())[1:]] for k, v in s["over_patients"].items()],
        ),
        "The worst five, by accuracy: "
        + ", ".join(f"{name} ({p['accuracy']} %)" for name, p in worst)
        + ". All are in figures.json.",
        "",
        "Robustness, the same windows and models with one disturbance added before the 8-bit "
        "converter:",
        *table(
            "disturbance | accuracy % | F1 N | S | V | labels changed %",
            [
                [kind, v["accuracy"]["mean"], *(v["classes"][k]["f1"]["mean"] for k in LABELS),
                 v["labels_changed"]["mean"]]
                for kind, v in f["disturbed"].items()
            ],
        ),
        f"{t['parameters']} parameters, {4 * t['parameters'] / 1000:.0f} kB as float32. TensorFlow "
        f"{t['tensorflow']}, Keras {t['keras']}; {t['fits']} fits with all that is above took "
        f"{t['minutes']} minutes on two cores.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
