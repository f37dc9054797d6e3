"""What the cards of the reference models say can be done."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from holter_host import read_bundle
from support.runtime_scores import TFLITE_PYTHON, scores_in

CARDS = sorted(ROOT.glob("models/*/MODEL_CARD.md"))
HOLTER = Path(sys.executable).parent / "holter"
MOST_BYTES = 500_000
RECORDS = ("101", "208", "209")  # one of each class; a card's own figures take all


def commands(card: Path) -> list[list[str]]:
    """The words of each `holter` command in the card's fenced blocks, lines with \\ joined."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", card.read_text(), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition("#")[0].split() for line in lines if line.startswith("holter ")]


def check_file(model: Path, folder: Path) -> None:
    """A model file is small enough, and passes its golden windows in each runtime there is."""
    assert model.stat().st_size < MOST_BYTES
    bundle = read_bundle(model)
    for python in (sys.executable, *([TFLITE_PYTHON] if TFLITE_PYTHON.exists() else [])):
        scores = scores_in(python, model, bundle.golden.windows, folder)
        assert np.abs(scores - bundle.golden.scores).max() <= bundle.spec.tolerance


@pytest.mark.tensorflow
@pytest.mark.litert
@pytest.mark.timeout(300)
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_a_cards_commands_run(card: Path, mitdb: Path, tmp_path: Path) -> None:
    """Each model is converted and evaluated as its card says, in a directory with `models` and
    `mitdb`, and what is evaluated is what the card is of.
    """
    tmp_path.joinpath("models").symlink_to(ROOT / "models")
    few = tmp_path / "few"
    few.mkdir()
    for name in RECORDS:
        for file in mitdb.glob(f"{name}.*"):
            few.joinpath(file.name).symlink_to(file.resolve())
    records = tmp_path / "mitdb"
    said = commands(card)
    assert {"convert", "evaluate"} <= {words[1] for words in said}
    for words in said:
        records.unlink(missing_ok=True)
        # int8 is calibrated on all: three patients do not show it what the others' signals are.
        records.symlink_to(mitdb.resolve() if "--representative" in words else few)
        more = ["--json"] if words[1] == "evaluate" and "--json" not in words else []
        done = subprocess.run(
            [HOLTER, *words[1:], *more], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        if words[1] == "convert":
            check_file(tmp_path / words[words.index("-o") + 1], tmp_path)
        if words[1] == "evaluate":
            made = json.loads(done.stdout)
            assert made["model"]["name"] == card.parent.name
            assert [row["record"] for row in made["per_record"]] == list(RECORDS)
