"""Laws of `holter inspect`: what stands in a model file is shown, whatever version wrote it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from holter_host.bundle import Bundle, read_bundle, write_bundle
from holter_host.cli import run
from support.model_files import make_model

# As Holter 0.1.0 wrote it.
VERSION_1: dict[str, Any] = {
    "report_version": 1,
    "proven": True,
    "normalize": "zscore",
    "route": "frozen",
    "saved_model": {
        "input": "ecg",
        "output": "scores",
        "signature": "serving_default",
        "tensorflow_version": "2.21.0",
    },
    "versions": {"ai-edge-litert": "2.3.0", "tensorflow-cpu": "2.21.0"},
    "ops": [
        {"name": "CONV_2D", "version": 3, "count": 2, "is_custom": False},
        {"name": "SOFTMAX", "version": 1, "count": 1, "is_custom": False},
    ],
    "min_runtime_version": "1.14.0",
    "fidelity": {
        "window_count": 8,
        "max_abs_difference": 2.0e-7,
        "mean_abs_difference": 4.0e-8,
        "label_flips": 0,
        "limit": 1e-4,
    },
    "tflite_bytes": 308,
}
SET = {
    "source": "recordings",
    "file_count": 3,
    "windows_found": 540,
    "window_count": 200,
    "sha256": "ab" * 32,
}
VERSION_2: dict[str, Any] = {
    **VERSION_1,
    "report_version": 2,
    "softmax": True,
    "quantization": {"kind": "int8", "representative": SET},
    "evaluation": {
        "windows": {**SET, "source": "synthetic", "windows_found": 200, "file_count": 0},
        "window_count": 200,
        "max_abs_difference": 0.03,
        "mean_abs_difference": 0.002,
        "label_flips": 1,
        "label_flip_share": 0.005,
        "max_label_flip_share": 0.01,
    },
    "source_bytes": 653047,
}


def with_report(path: Path, report: dict[str, Any]) -> Bundle:
    """A model file with this report."""
    made = make_model(path)
    return write_bundle(made.tflite, made.spec, made.golden, report, path)


def shown(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    """What `holter inspect` prints."""
    assert run(["inspect", *map(str, words)]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    return said.out


def test_a_report_of_version_1_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A model file that Holter 0.1 made is read, and shown without what it did not say."""
    path = tmp_path / "old.tflite"
    with_report(path, VERSION_1)
    text = shown(capfd, path, "--ops")
    assert "normalised in the graph: zscore" in text
    assert "differ by at most 2.0e-07, 4.0e-08 on average; 0 of 8 labels change" in text
    assert "CONV_2D                          version 3   2 times" in text
    assert "runs on   tflite-runtime 2.14; ai-edge-litert 2.3" in text
    assert "quantised" not in text
    assert "evaluated" not in text
    assert json.loads(shown(capfd, path, "--json"))["report"] == VERSION_1


def test_a_report_of_this_version_is_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Quantisation, what it was calibrated on, the evaluation and its set are shown."""
    path = tmp_path / "new.tflite"
    with_report(path, VERSION_2)
    text = shown(capfd, path)
    assert "quantised int8, calibrated on 200 windows of 540 of 3 files of recordings (abab" in text
    assert "evaluated on 200 windows of synthetic ECG (abababababab)" in text
    assert "1 of 200 labels changes (0.5 %) (allowed 1 %)" in text
    assert "by a softmax that Holter added" in text
    assert "the SavedModel has 653,047" in text


def test_what_a_runtime_lacks_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A model with an op version that a runtime has not is shown with that, also as JSON."""
    path = tmp_path / "m.tflite"
    op = {"name": "FULLY_CONNECTED", "version": 12, "count": 1, "is_custom": False}
    with_report(path, {**VERSION_2, "ops": [op]})
    assert "not tflite-runtime 2.14, which lacks FULLY_CONNECTED version 12" in shown(capfd, path)
    lacking = json.loads(shown(capfd, path, "--json"))["lacking"]
    assert lacking == {
        "tflite-runtime 2.14": ["FULLY_CONNECTED version 12 (it has 10)"],
        "ai-edge-litert 2.3": [],
    }


def test_a_report_of_a_later_version_is_no_obstacle(tmp_path: Path) -> None:
    """A report of a version to come does not make the model file unreadable."""
    path = tmp_path / "m.tflite"
    made = with_report(path, {"report_version": 99})
    assert dataclasses.replace(read_bundle(path)).sha256 == made.sha256
