"""The figures of the model cards: what they are made of, and that cards and files agree."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from training import card, figures, folds

MODELS = sorted(path.parent for path in ROOT.glob("models/*/figures.json"))
FOLDS = (("a", "b"), ("c", "d"))


def made(seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """Truth and logits of four records, of a model that is mostly right."""
    rng = np.random.default_rng(seed)
    truth = {name: rng.integers(0, 3, 40) for name in "abcd"}
    logits = {
        name: {
            "none": 2.0 * np.eye(3)[labels] + rng.normal(0, 1, (40, 3)),
            "hum": rng.normal(0, 1, (40, 3)),
        }
        for name, labels in truth.items()
    }
    return truth, logits


def test_the_summary_counts_each_window_once_a_seed() -> None:
    """Over two seeds: windows, confusion and patients hang together, and robustness is told."""
    (truth, one), (_, two) = made(0), made(1)
    told = figures.summary(truth, {1: one, 2: two}, FOLDS)
    right = [
        np.mean(logits[n]["none"].argmax(-1) == truth[n]) for logits in (one, two) for n in truth
    ]
    assert told["over_seeds"]["accuracy"]["mean"] == pytest.approx(100 * np.mean(right), abs=0.06)
    assert sum(told["windows"].values()) == 160
    assert np.sum(told["confusion"]) == 160
    for name, patient in told["patients"].items():
        assert np.sum(patient["confusion_by_seed"], axis=(1, 2)).tolist() == [len(truth[name])] * 2
    assert told["over_seeds"]["disturbed"]["none"]["labels_changed"]["mean"] == 0
    assert told["over_seeds"]["disturbed"]["hum"]["labels_changed"]["mean"] > 30


def test_folds_hold_each_record_once() -> None:
    """And both blocks of each kind are not in the same one."""
    names = [name for fold in folds.FOLDS for name in fold]
    assert len(names) == len(set(names)) == 22
    for pair in (("109", "207"), ("118", "124")):
        assert not any(set(pair) <= set(fold) for fold in folds.FOLDS)


def test_missing_records_are_named_and_others_left_out() -> None:
    """Nobody's patient gets into training because of what else is in the folder."""
    names = [name for fold in folds.FOLDS for name in fold]
    paths = [Path("mitdb") / name for name in (*names, "100", "202")]
    assert [[path.name for path in fold] for fold in folds.deal(paths)] == [*map(list, folds.FOLDS)]
    with pytest.raises(SystemExit, match=r"of which 101 223 are not there.*--records"):
        folds.deal([path for path in paths if path.name not in ("101", "223")])


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_a_card_shows_its_figures(model: Path) -> None:
    """The section in MODEL_CARD.md is what figures.json gives; of whole fits, with three seeds or
    more.
    """
    told = json.loads(model.joinpath("figures.json").read_text())
    text = model.joinpath("MODEL_CARD.md").read_text()
    assert card.BEGIN + card.markdown(told) + card.END in text
    assert len(told["training"]["seeds"]) >= 3
    assert told["training"]["effort"] == 1
    assert tomllib.loads(model.joinpath("model.toml").read_text())["labels"] == list("NSV")


def test_the_models_are_compared_by_their_figures() -> None:
    """The table in the card of senet-lstm."""
    text = (ROOT / "models" / "senet-lstm" / "MODEL_CARD.md").read_text()
    for model in MODELS:
        told = json.loads(model.joinpath("figures.json").read_text())
        over, parameters = told["over_seeds"], told["training"]["parameters"]
        shown = [over["accuracy"], *(over["classes"][k]["f1"] for k in "NSV")]
        row = " | ".join([model.name, *map(card.said, shown), str(parameters)])
        assert f"| {row} |" in text


def test_every_model_has_figures() -> None:
    """So that no card can do without."""
    assert sorted(path.parent for path in ROOT.glob("models/*/model.toml")) == MODELS
