"""The parts of the rhythm network that are rules and not learnt, and that a fit is reproducible."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest

from conftest import ROOT

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def computed() -> dict[str, Any]:
    """What tests/support/rhythm_network.py prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "rhythm_network.py", ROOT / "models"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_beat_is_a_peak_and_a_plateau_is_one_beat(computed: dict[str, Any]) -> None:
    """Eight bits make plateaus out of peaks; none may be counted twice or lost."""
    four, two, none = computed["beats"]
    assert [abs(a - b) <= 2 for a, b in zip(four, (0, 30, 60, 449), strict=True)] == [True] * 4
    assert len(two) == 2
    assert two[0] == 102
    assert 200 <= two[1] < 220
    assert none == []


def test_the_row_is_what_lies_at_the_beats(computed: dict[str, Any]) -> None:
    """In order of time, zeros after the last one, and at most 32."""
    assert computed["row"] == {
        "at": [7.0, 99.0, 0.0],
        "places": [7, 99, 0],
        "present": [1, 1, 0],
        "most": 32,
    }


def test_an_early_beat_is_told_in_units_of_its_window(computed: dict[str, Any]) -> None:
    """Intervals 40 40 22 58 40 places: the fourth beat is early against the mean and the usual."""
    features = computed["timing"]
    logs = [math.log(rr / 45) for rr in (40, 40, 22, 58, 40)]
    mean = sum(logs) / 5
    assert features[3][0] == pytest.approx(logs[2] - mean, abs=0.003)  # before it
    assert features[3][1] == pytest.approx(logs[3] - mean, abs=0.003)  # after it
    assert features[3][9] == pytest.approx(math.log(22 / 40), abs=0.02)  # against the usual
    assert features[0][0] == 0  # nothing is known of what is before the first beat
    assert all(value == 0 for slot in features[6:] for value in slot)


def test_a_patient_who_is_judged_is_not_learnt_from(computed: dict[str, Any]) -> None:
    """Of the pools "1" and "2", with "1" held out."""
    assert computed["others"] == ["2"]


def test_a_fit_is_the_same_for_the_same_seed(computed: dict[str, Any]) -> None:
    """To the last bit, on one thread, as training runs."""
    assert computed["finite"]
    assert computed["same"]
    assert not computed["other"]
