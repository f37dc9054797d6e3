"""The command that trains a reference model, from records to a SavedModel and its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(900)]


def train(*words: object) -> subprocess.CompletedProcess[str]:
    """Run models/train.py."""
    return subprocess.run(
        [sys.executable, ROOT / "models" / "train.py", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )


@pytest.mark.long
@pytest.mark.parametrize("model", ["ecg-rhythm", "senet-lstm"])
def test_a_model_is_cross_validated_and_fitted(model: str, mitdb: Path, tmp_path: Path) -> None:
    """With a few steps: all figures, the card's section, a SavedModel, and nothing else is left."""
    card = ROOT / "models" / model / "MODEL_CARD.md"
    tmp_path.joinpath("MODEL_CARD.md").write_text(card.read_text())
    few = ("--effort", 0.002, "--pool", 30, "--seeds", 1, "--output", tmp_path)
    done = train(model, "--records", mitdb, "--cross-validate", *few)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(tmp_path.joinpath("figures.json").read_text())
    assert sum(told["windows"].values()) > 3900
    assert told["training"]["fits"] == 4
    assert "seeds 1, mean" in tmp_path.joinpath("MODEL_CARD.md").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "MODEL_CARD.md",
        "figures.json",
        "saved_model",
    ]


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    """One sentence, before any work."""
    done = train("ecg-rhythm", "--records", tmp_path)
    assert done.returncode == 1
    assert "holds no WFDB record" in done.stderr or "hold no WFDB record" in done.stderr
    assert "Traceback" not in done.stderr
