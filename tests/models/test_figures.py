"""The figures of the model cards: what they are made of, and that cards and files agree."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from holter_host.evaluation import metrics
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


def test_calibration_is_chosen_on_the_other_folds() -> None:
    """The windows of a record's own fold have no say in how its scores are calibrated."""
    truth, logits = made()
    plain = {name: kinds["none"] for name, kinds in logits.items()}
    before = figures.calibrated_apart(truth, plain, FOLDS)
    changed = {**plain, "a": plain["a"][:, ::-1], "b": -plain["b"]}
    after = figures.calibrated_apart(truth, changed, FOLDS)
    assert before["a"] == after["a"] == before["b"]
    assert before["c"] != after["c"]


def test_calibration_aims_at_the_goal_and_at_likely_scores() -> None:
    """Logits that say S too seldom are shifted; logits that are too sure are scaled down."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 900)
    logits = 12 * np.eye(3)[truth] + rng.normal(0, 4, (900, 3)) - np.array([0, 6, 0])
    scale, bias = figures.calibration(truth, logits)
    assert bias[0] == 0
    assert bias[1] > bias[2]
    assert scale < 1
    raw = metrics.by_class(metrics.confusion(truth, logits.argmax(-1)))["S"]["f1"]
    better = metrics.by_class(metrics.confusion(truth, (scale * logits + bias).argmax(-1)))
    assert raw is not None
    assert better["S"]["f1"] is not None
    assert better["S"]["f1"] > raw


def test_the_summary_counts_each_window_once_a_seed() -> None:
    """Over two seeds: windows, confusion and patients hang together, and robustness is told."""
    (truth, one), (_, two) = made(0), made(1)
    told = figures.summary(truth, {1: one, 2: two}, FOLDS)
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
    """The section in MODEL_CARD.md is what figures.json gives; of whole fits, and of the reference
    model with three seeds or more.
    """
    told = json.loads(model.joinpath("figures.json").read_text())
    text = model.joinpath("MODEL_CARD.md").read_text()
    assert card.BEGIN + card.markdown(told) + card.END in text
    assert len(told["training"]["seeds"]) >= (3 if model.name == "ecg-rhythm" else 1)
    assert told["training"]["effort"] == 1
    assert tomllib.loads(model.joinpath("model.toml").read_text())["labels"] == list("NSV")


def test_every_model_has_figures() -> None:
    """So that no card can do without."""
    assert sorted(path.parent for path in ROOT.glob("models/*/model.toml")) == MODELS
