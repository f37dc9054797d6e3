"""Laws of `holter convert`, `holter bundle` and `holter inspect`."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holter_host.bundle import read_bundle
from holter_host.cli import run
from holter_host.conversion import ConversionOptions, convert
from support.models import saved_models
from support.tflite_scores import score
from support.zoo import LABELS, keras_scores

needs_tensorflow = [pytest.mark.tensorflow, pytest.mark.litert, pytest.mark.timeout(300)]


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What one run of `holter` did."""

    exit_code: int
    stdout: str
    stderr: str


Holter = Callable[..., Result]


@pytest.fixture
def holter(capfd: pytest.CaptureFixture[str]) -> Holter:
    """Runs `holter` with arguments."""

    def call(*args: object) -> Result:
        code = run([str(arg) for arg in args])
        said = capfd.readouterr()
        return Result(code, said.out, said.err)

    return call


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file made by the command in a process of its own."""
    out = tmp_path_factory.mktemp("cli") / "out.tflite"
    code = "from holter_host.cli import main; main()"
    args = ["--labels", "N, L,R,A,V,F,Q", "--rate", "250"]
    command = [
        sys.executable,
        "-c",
        code,
        "convert",
        str(saved_models() / "zoo" / "se_lstm" / "export"),
        "-o",
        str(out),
    ]
    bare = {key: value for key, value in os.environ.items() if key != "HOLTER_MITDB"}
    done = subprocess.run([*command, *args], capture_output=True, text=True, check=False, env=bare)
    assert done.returncode == 0, done.stderr
    assert "proven    against the SavedModel on 8 golden windows" in done.stdout
    assert "ms a window in ai-edge-litert" in done.stdout
    assert done.stderr.splitlines() == [
        "Loading TensorFlow …",
        "Loading the SavedModel …",
        "Running the SavedModel on synthetic ECG …",
        "Converting …",
        "Comparing 8 golden windows with the SavedModel …",
        "Comparing with synthetic ECG …",
    ]
    return out


class TestWithTensorFlow:
    pytestmark = needs_tensorflow

    def test_flags_reach_the_spec(self, model: Path) -> None:
        """What the flags say stands in spec.json."""
        spec = read_bundle(model).spec
        assert (spec.labels, spec.unit, spec.rate_hz) == (LABELS, "millivolts", 250.0)

    def test_the_file_agrees_with_keras(self, model: Path) -> None:
        """It gives in LiteRT the scores that Keras gave before the model was saved."""
        windows, expected = keras_scores(saved_models() / "zoo", "se_lstm/export")
        np.testing.assert_allclose(score(model.read_bytes(), windows), expected, atol=1e-4)

    def test_the_same_model_gives_the_same_bytes(
        self, model: Path, converted: Any, tmp_path: Path
    ) -> None:
        """A fresh process and one that converted before give the same file, so the same name."""
        options = ConversionOptions(labels=LABELS, rate_hz=250.0)
        source, out = saved_models() / "zoo" / "se_lstm" / "export", tmp_path / "second.tflite"
        converted(
            "zoo/transformer/export",
            quantize="float16",
            max_label_flips=1.0,
            tolerance=0.5,
            unit="millivolts",
        )
        second = convert(source, out, options=options, converter=converted.converter)
        first = read_bundle(model)
        assert first.tflite == second.tflite
        assert first.spec == second.spec
        np.testing.assert_array_equal(first.golden.scores, second.golden.scores)
        assert first.report == second.report
        assert first.sha256 == second.sha256

    def test_inspect_shows_what_is_in_the_file(self, model: Path, holter: Holter) -> None:
        """The readable form has the digest, the labels and the proof; --ops has every op."""
        shown = holter("inspect", model, "--ops")
        assert shown.exit_code == 0
        assert read_bundle(model).sha256 in shown.stdout
        assert "N, L, R, A, V, F, Q (probabilities)" in shown.stdout
        assert "CONV_2D" in shown.stdout

    def test_inspect_json_is_one_object(self, model: Path, holter: Holter) -> None:
        """--json prints one object with the spec and the report."""
        shown = json.loads(holter("inspect", model, "--json").stdout)
        made = read_bundle(model)
        assert shown["sha256"] == made.sha256
        assert shown["spec"]["labels"] == list(LABELS)
        assert shown["report"] == made.report

    def test_bundle_prints_json_on_stdout_alone(
        self, model: Path, tmp_path: Path, holter: Holter
    ) -> None:
        """With --json stdout is one object, and progress is on stderr."""
        plain = tmp_path / "plain.tflite"
        plain.write_bytes(read_bundle(model).tflite)
        done = holter(
            "bundle", plain, "-o", tmp_path / "o.tflite", "--labels", "a,b,c,d,e,f,g", "--json"
        )
        assert done.exit_code == 0
        assert json.loads(done.stdout)["report"]["proven"] is False
        assert "Running 8 golden windows" in done.stderr

    def test_a_refusal_is_one_sentence_and_status_1(self, tmp_path: Path, holter: Holter) -> None:
        """A model with an op that no light runtime has: status 1, one line, the noise in a file."""
        out, log = tmp_path / "o.tflite", tmp_path / "log"
        done = holter("convert", saved_models() / "no_builtin", "-o", out, "--log-file", log)
        assert done.exit_code == 1
        assert done.stdout == ""
        errors = [line for line in done.stderr.splitlines() if not line.endswith("…")]
        assert len(errors) == 1
        assert "uses MatrixInverse, which no light runtime has" in errors[0]
        assert not out.exists()
        assert "MatrixInverse" in log.read_text()


def test_bad_input_is_one_sentence_and_status_2(tmp_path: Path, holter: Holter) -> None:
    """A missing SavedModel, a plain file and an unknown key end with status 2 and one line."""
    (tmp_path / "plain.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3")
    model = tmp_path / "model"
    model.mkdir()
    (model / "saved_model.pb").touch()
    (model / "model.toml").write_text("widow = 3")
    out = tmp_path / "o.tflite"
    for result, words in (
        (holter("convert", tmp_path / "gone", "-o", out), "does not exist"),
        (holter("convert", model, "-o", out), "unknown key 'widow'"),
        (holter("bundle", tmp_path / "gone", "-o", out), "does not exist"),
        (holter("inspect", tmp_path / "plain.tflite"), "holter bundle"),
        (holter("inspect", tmp_path / "gone"), "No such file"),
    ):
        assert result.exit_code == 2
        assert words in result.stderr
        assert result.stderr.splitlines()[-1].startswith("holter: ")
        assert "Traceback" not in result.stderr
        assert not out.exists()


@pytest.mark.parametrize(
    "args",
    [
        ("m", "-o", "x", "--unit", "mV"),
        ("m", "-o", "x", "--labels", "a,,b"),
        ("m", "-o", "x", "--window", "ten"),
        ("m",),
        (),
    ],
)
def test_bad_usage_is_status_2(args: tuple[str, ...], holter: Holter) -> None:
    """A flag's value that cannot be meant, or a missing one, is refused by name."""
    result = holter("convert", *args)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("holter: ")


@pytest.mark.parametrize("verb", ["convert", "bundle", "inspect"])
def test_help_shows_an_example(verb: str, holter: Holter) -> None:
    """Each command's --help has an example that names the command."""
    shown = holter(verb, "--help").stdout
    assert f"holter {verb} " in shown.split("Example:")[1]
