"""Laws of what `convert` refuses: one sentence each, no file, and no word of TensorFlow."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holter_host.conversion import Converter, convert
from holter_host.errors import BadInputError, ConversionError, HolterError
from support.models import saved_models

pytestmark = [pytest.mark.tensorflow, pytest.mark.litert, pytest.mark.timeout(300)]

REFUSED: dict[str, tuple[type[HolterError], dict[str, Any], str]] = {
    "nan": (ConversionError, {}, "The SavedModel gives scores that are not numbers"),
    "stateful": (ConversionError, {}, "keeps state from window to window"),
    "py_function": (BadInputError, {}, "calls Python code"),
    "no_signature": (BadInputError, {}, "The SavedModel has no signature; export it"),
    "two_signatures": (BadInputError, {}, "choose one of early, late with --signature"),
    "two_outputs": (BadInputError, {}, "choose one of features, scores with --output"),
    "two_inputs": (BadInputError, {}, r"takes 2 inputs \(age, x\)"),
    "string_input": (BadInputError, {}, "The input x takes string, not numbers"),
    "class_name": (
        BadInputError,
        {},
        "output is text, not floating-point scores; choose an output",
    ),
    "class_number": (BadInputError, {}, "output is int64, not floating-point scores"),
    "row_per_frame": (BadInputError, {}, r"shape \[1, 240, 3\], not one score for each label"),
    "free_time": (BadInputError, {}, "its time axis is free"),
    "batch_32": (BadInputError, {}, "not a batch of one window"),
    "channels_last": (BadInputError, {}, "name the channels with --channels"),
    "dense": (BadInputError, {"labels": ("N", "V")}, "N, V are 2, but the model gives 3 scores"),
    "zoo/cnn/saved": (BadInputError, {"signature": "x"}, "no signature 'x'; it has"),
    "dense_rank_2": (BadInputError, {"output": "y"}, "no output 'y'; it has scores"),
    "zoo/gru/export": (BadInputError, {"hop": 999}, "hop is 999, more than the window of 720"),
    "zoo/transformer/export": (BadInputError, {"softmax": True}, "are probabilities already"),
    "int_input": (BadInputError, {}, "takes int32, whole numbers: feed it --unit counts"),
    "int8_input": (BadInputError, {"unit": "counts"}, "takes int8, -128 to 127, but a window goes"),
    "custom.keras": (BadInputError, {}, "uses Doubled, which is not part of Keras; load it where"),
    "lambda.keras": (BadInputError, {}, r"holds Python code \(a Lambda layer\), which is not run"),
}


def _saved_model_within(path: Path) -> None:
    (path / "v1").mkdir(parents=True)
    (path / "v1" / "saved_model.pb").touch()


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage": (lambda d: (d / "saved_model.pb").write_bytes(b"\x0f\xff" * 40), "is damaged"),
    "empty": (lambda d: (d / "saved_model.pb").write_bytes(b""), "is empty or damaged"),
    "cut": (lambda d: cut(d / "saved_model.pb"), "saved_model.pb that is damaged"),
    "no variables": (lambda d: shutil.rmtree(d / "variables"), "lacks its weights"),
    "no data": (lambda d: weights(d).unlink(), "lacks its weights"),
    "cut weights": (lambda d: cut(weights(d)), "cut short"),
    "changed weights": (lambda d: flip(weights(d)), "weights in variables/ that are damaged"),
    "cut index": (lambda d: cut(d / "variables" / "variables.index"), "index that is damaged"),
}


def weights(saved_model: Path) -> Path:
    """The file of a SavedModel that holds its weights."""
    return next((saved_model / "variables").glob("variables.data*"))


def cut(path: Path) -> None:
    """Leave the first 40 bytes of a file."""
    path.write_bytes(path.read_bytes()[:40])


def flip(path: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


class TestRefused:
    @pytest.mark.parametrize("name", REFUSED)
    def test_a_model_that_cannot_be_used_is_one_sentence(
        self, converted: Any, capfd: pytest.CaptureFixture[str], name: str
    ) -> None:
        """Each reason has its sentence and error type, and TensorFlow says nothing here."""
        kind, options, words = REFUSED[name]
        with pytest.raises(kind, match=words) as caught:
            converted(name, **options)
        assert "\n" not in str(caught.value)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("name", DAMAGED)
    def test_a_damaged_saved_model_is_one_sentence(
        self, converted: Any, tmp_path: Path, name: str
    ) -> None:
        """Damage to each part of a SavedModel is named, with the path, and no file is left."""
        damage, words = DAMAGED[name]
        model, out = tmp_path / "model", tmp_path / "out.tflite"
        shutil.copytree(saved_models() / "dense", model)
        damage(model)
        with pytest.raises(BadInputError, match=words) as caught:
            convert(model, out, converter=converted.converter)
        assert str(model) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not out.exists()

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda p: None, "does not exist"),
            (lambda p: p.mkdir(), "is not a SavedModel: it holds no saved_model.pb"),
            (_saved_model_within, r"holds no saved_model.pb, but .*model/v1 does: give that\."),
            (lambda p: p.write_bytes(b"x"), "is a file, not a SavedModel directory"),
            (lambda p: p.with_suffix(".h5").write_bytes(b"x"), r"model\.export\(DIRECTORY\)"),
            (lambda p: p.with_suffix(".hdf5").write_bytes(b"x"), r"model\.export\(DIRECTORY\)"),
            (lambda p: p.with_suffix(".keras").write_bytes(b"x"), "is not a .keras file"),
            (lambda p: (p.mkdir(), (p / "checkpoint").touch()), "is a checkpoint"),
        ],
    )
    def test_what_is_no_saved_model_is_said_at_once(
        self, tmp_path: Path, make: Callable[[Path], object], words: str
    ) -> None:
        """A path that is not a SavedModel is refused before TensorFlow is started."""
        make(tmp_path / "model")
        model = next(tmp_path.iterdir(), tmp_path / "model")
        with (
            Converter(command=("/nowhere/must-not-be-started",)) as converter,
            pytest.raises(BadInputError, match=words),
        ):
            convert(model, tmp_path / "out.tflite", converter=converter)

    def test_an_output_that_cannot_be_written_is_said_at_once(self, tmp_path: Path) -> None:
        """An output that is a directory, or in none, is refused before TensorFlow is started."""
        model = saved_models() / "dense"
        with Converter(command=("/nowhere/must-not-be-started",)) as converter:
            with pytest.raises(BadInputError, match="is a directory"):
                convert(model, tmp_path, converter=converter)
            with pytest.raises(BadInputError, match="does not exist"):
                convert(model, tmp_path / "no" / "out.tflite", converter=converter)

    def test_a_failure_leaves_the_old_file(self, converted: Any, tmp_path: Path) -> None:
        """A conversion that fails does not touch the model that was there."""
        out = tmp_path / "out.tflite"
        out.write_text("old")
        with pytest.raises(ConversionError):
            convert(saved_models() / "nan", out, converter=converted.converter)
        assert out.read_text() == "old"

    def test_tensorflow_dying_is_one_sentence(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The real child, TensorFlow in it, is killed by a fault: one error, no file, no words."""
        out = tmp_path / "out.tflite"
        with Converter(log_file=tmp_path / "log") as converter:

            def crash(stage: str) -> None:
                if stage == "Loading the SavedModel":
                    assert converter._process is not None
                    os.kill(converter._process.pid, signal.SIGSEGV)

            with pytest.raises(ConversionError, match="killed by SIGSEGV while it was") as caught:
                convert(saved_models() / "dense", out, progress=crash, converter=converter)
        assert "\n" not in str(caught.value)
        assert not out.exists()
        assert capfd.readouterr() == ("", "")
