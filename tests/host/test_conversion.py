"""Laws of conversion, with TensorFlow and LiteRT; one child process converts for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from holter_host.bundle import Bundle
from holter_host.conversion import ConversionOptions, Converter, bundle_tflite, convert
from holter_host.errors import BadInputError, ConversionError, HolterError
from support.models import KERAS_MODELS, LABELS, WINDOW, saved_models

pytestmark = [pytest.mark.tensorflow, pytest.mark.litert, pytest.mark.timeout(300)]

Array = np.ndarray[Any, np.dtype[Any]]
Convert = Callable[..., Bundle]


@pytest.fixture(scope="module")
def converter() -> Iterator[Converter]:
    """One child process for all conversions of this module."""
    with Converter() as shared:
        yield shared


@pytest.fixture
def converted(converter: Converter, tmp_path: Path) -> Convert:
    """Converts a test model by name, or a SavedModel by path, to a file in tmp_path."""

    def run(model: str | Path, **options: Any) -> Bundle:
        return convert(
            saved_models() / model,
            tmp_path / "out.tflite",
            options=ConversionOptions(**options),
            converter=converter,
        )

    return run


def run_tflite(data: bytes, bundle: Bundle, inputs: Array) -> Array:
    """What LiteRT gives, addressed by the names in the spec as a device does."""
    spec = bundle.spec
    runner = Interpreter(model_content=data, num_threads=1).get_signature_runner(spec.signature)
    rows = [runner(**{spec.input: x.reshape(spec.input_shape)})[spec.output] for x in inputs]
    return np.concatenate([row.reshape(1, -1) for row in rows])


class TestFaithful:
    @pytest.mark.parametrize("name", KERAS_MODELS)
    def test_keras_models_agree_with_keras(self, converted: Convert, name: str) -> None:
        """CNN, LSTM and GRU, saved either way, give the scores that Keras gave before saving.

        `*_saved` are the ones that TensorFlow's own converter silently strips of their weights.
        """
        bundle = converted(name, labels=LABELS)
        with np.load(saved_models() / f"{name}.npz") as keras:
            scores = run_tflite(bundle.data, bundle, keras["inputs"])
            np.testing.assert_allclose(scores, keras["scores"], atol=1e-5)
            assert np.ptp(keras["scores"], axis=0).max() > 1e-3
        assert bundle.report["fidelity"]["max_abs_difference"] < 1e-5
        assert bundle.report["proven"] is True
        assert bundle.report["route"] == "frozen"
        assert not any(op["is_custom"] for op in bundle.report["ops"])

    @pytest.mark.parametrize("name", ["lstm_export", "channels_first"])
    def test_the_golden_windows_pass_in_litert(self, converted: Convert, name: str) -> None:
        """The whole file, archive included, loads in LiteRT and gives its own golden scores."""
        channels = ("A", "B") if name == "channels_first" else None
        bundle = converted(name, unit="counts", normalize="zscore", channels=channels)
        windows = bundle.golden.windows
        fed = windows.swapaxes(1, 2) if name == "channels_first" else windows
        scores = run_tflite(bundle.data, bundle, fed)
        np.testing.assert_allclose(scores, bundle.golden.scores, atol=bundle.spec.tolerance)

    def test_the_same_model_gives_the_same_bytes(self, converted: Convert, tmp_path: Path) -> None:
        """Two conversions in fresh processes give the same file, and so the same name."""
        made = []
        for _ in range(2):
            path = tmp_path / "fresh.tflite"
            made.append(convert(saved_models() / "gru_export", path))
        first, second = made
        assert first.tflite == second.tflite
        assert first.spec == second.spec
        np.testing.assert_array_equal(first.golden.scores, second.golden.scores)
        assert first.report == second.report
        assert first.sha256 == second.sha256

    @pytest.mark.parametrize("name", ["dense_rank_2", "dense_rank_4", "int_input"])
    def test_ranks_and_types_of_inputs(self, converted: Convert, name: str) -> None:
        """Inputs of rank 2 and 4 and of whole numbers are fed float32 windows all the same."""
        bundle = converted(name, unit="counts")
        assert np.prod(bundle.spec.input_shape) == WINDOW
        assert bundle.report["fidelity"]["max_abs_difference"] < 1e-5

    def test_a_free_time_axis_is_the_window(self, converted: Convert) -> None:
        """A free time axis becomes the stated window, never 1."""
        bundle = converted("free_time", window=500)
        assert bundle.spec.input_shape == (1, 500, 1)

    def test_one_signature_and_one_output_are_chosen(self, converted: Convert) -> None:
        """The named signature and output are converted and no other."""
        bundle = converted("two_signatures", signature="late")
        np.testing.assert_array_equal(bundle.golden.scores, bundle.golden.windows[:, -3:, 0])
        assert len(converted("two_outputs", output="features").spec.labels) == 6

    def test_what_cannot_be_frozen_takes_the_second_route(self, converted: Convert) -> None:
        """A lookup table goes through TensorFlow's own converter under the same proof."""
        bundle = converted("lookup_table")
        assert bundle.report["route"] == "from_saved_model"
        assert bundle.report["fidelity"]["max_abs_difference"] < 1e-5

    def test_logits_are_called_so(self, converted: Convert) -> None:
        """Scores that leave 0 to 1 are logits."""
        assert converted("logits").spec.score_kind == "logits"


class TestNormalization:
    @pytest.mark.parametrize("name", ["channels_last", "channels_first"])
    @pytest.mark.parametrize("kind", ["none", "zscore", "minmax"])
    def test_the_graph_normalises_each_channel(
        self, converted: Convert, name: str, kind: str
    ) -> None:
        """The .tflite takes raw counts and does to each channel what the definition says.

        The model gives values 0, 100 and the last of its input, which shows what reached it.
        """
        bundle = converted(name, unit="counts", normalize=kind, channels=("A", "B"))
        assert bundle.spec.layout == name
        raw = bundle.golden.windows.astype(np.float64)
        low, spread = np.zeros((8, 1, 2)), np.ones((8, 1, 2))
        if kind == "zscore":
            low, spread = raw.mean(axis=1, keepdims=True), raw.std(axis=1, keepdims=True)
        elif kind == "minmax":
            low, spread = raw.min(axis=1, keepdims=True), np.ptp(raw, axis=1, keepdims=True)
        reached = ((raw - low) / np.where(spread > 0, spread, 1))[:, [0, 100, WINDOW - 1]]
        expected = reached if name == "channels_last" else reached.swapaxes(1, 2)
        np.testing.assert_allclose(bundle.golden.scores, expected.reshape(8, 6), atol=1e-4)
        fed = raw if name == "channels_last" else raw.swapaxes(1, 2)
        scores = run_tflite(bundle.data, bundle, fed.astype(np.float32))
        np.testing.assert_allclose(scores, expected.reshape(8, 6), atol=1e-4)


class TestOptionsFile:
    def test_flags_then_inner_then_beside(self, converted: Convert, tmp_path: Path) -> None:
        """A flag wins over model.toml; the file inside hides the one beside, and is named."""
        model = tmp_path / "ecg" / "saved_model"
        shutil.copytree(saved_models() / "dense", model)
        (tmp_path / "ecg" / "model.toml").write_text('labels = ["x", "y", "z"]\n')
        assert converted(model).spec.labels == ("x", "y", "z")
        (model / "model.toml").write_text('labels = ["N", "S", "V"]\nversion = 4\n')
        spec = converted(model, version=5).spec
        assert (spec.name, spec.labels, spec.version) == ("ecg", ("N", "S", "V"), 5)

    def test_the_file_that_is_used_is_told(self, converter: Converter, tmp_path: Path) -> None:
        """Progress begins with the path of model.toml, then has a sentence for each stage."""
        model = tmp_path / "dense"
        shutil.copytree(saved_models() / "dense", model)
        (model / "model.toml").write_text('unit = "volts"\n')
        told: list[str] = []
        convert(model, tmp_path / "o.tflite", progress=told.append, converter=converter)
        assert told[0] == f"Using {model / 'model.toml'}"
        assert "Converting" in told
        assert told[-1] == "Comparing 8 golden windows with the SavedModel"


REFUSED: dict[str, tuple[type[HolterError], dict[str, Any], str]] = {
    "no_builtin": (ConversionError, {}, "uses MatrixInverse, which no light runtime has"),
    "nan": (ConversionError, {}, "The SavedModel gives scores that are not numbers"),
    "stateful": (ConversionError, {}, "keeps state from window to window"),
    "random": (ConversionError, {}, "other scores when it is given the same window again"),
    "py_function": (BadInputError, {}, "calls Python code"),
    "no_signature": (BadInputError, {}, "The SavedModel has no signature; export it"),
    "two_signatures": (BadInputError, {}, "choose one of early, late with --signature"),
    "two_outputs": (BadInputError, {}, "choose one of features, scores with --output"),
    "two_inputs": (BadInputError, {}, r"takes 2 inputs \(age, x\)"),
    "string_input": (BadInputError, {}, "The input x takes string, not numbers"),
    "class_number": (BadInputError, {}, "output is int64, not floating-point scores"),
    "row_per_frame": (BadInputError, {}, r"shape \[1, 240, 3\], not one score for each label"),
    "free_time": (BadInputError, {}, "its time axis is free"),
    "batch_32": (BadInputError, {}, "not a batch of one window"),
    "channels_last": (BadInputError, {}, "name the channels with --channels"),
    "dense": (BadInputError, {"labels": ("N", "V")}, "N, V are 2, but the model gives 3 scores"),
    "cnn_export": (BadInputError, {"signature": "x"}, "no signature 'x'; it has"),
    "dense_rank_2": (BadInputError, {"output": "y"}, "no output 'y'; it has scores"),
    "gru_export": (BadInputError, {"hop": 999}, "hop is 999, more than the window of 240"),
    "dense_rank_4": (BadInputError, {"window": 9}, "not windows of 9 frames"),
}

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
        self, converted: Convert, tmp_path: Path, name: str
    ) -> None:
        """Each reason has a sentence of its own and an error type, and no file is left."""
        kind, options, words = REFUSED[name]
        with pytest.raises(kind, match=words) as caught:
            converted(name, **options)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", DAMAGED)
    def test_a_damaged_saved_model_is_one_sentence(
        self, converted: Convert, tmp_path: Path, name: str
    ) -> None:
        """Damage to each part of a SavedModel is named, with the path."""
        damage, words = DAMAGED[name]
        model = tmp_path / "model"
        shutil.copytree(saved_models() / "dense", model)
        damage(model)
        with pytest.raises(BadInputError, match=words) as caught:
            converted(model)
        assert str(model) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda p: None, "does not exist"),
            (lambda p: p.mkdir(), "is not a SavedModel: it holds no saved_model.pb"),
            (lambda p: p.write_bytes(b"x"), "is a file, not a SavedModel directory"),
            (lambda p: (p.mkdir(), (p / "checkpoint").touch()), "is a checkpoint"),
        ],
    )
    def test_what_is_no_saved_model_is_said_at_once(
        self, tmp_path: Path, make: Callable[[Path], object], words: str
    ) -> None:
        """A path that is not a SavedModel is refused before TensorFlow is started."""
        model = tmp_path / "model"
        make(model)
        with (
            Converter(command=("/nowhere/must-not-be-started",)) as converter,
            pytest.raises(BadInputError, match=words),
        ):
            convert(model, tmp_path / "out.tflite", converter=converter)

    @pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
    def test_keras_files_are_sent_to_export(self, tmp_path: Path, suffix: str) -> None:
        """A Keras file is refused with the call that makes a SavedModel of it."""
        model = (tmp_path / "model").with_suffix(suffix)
        model.write_bytes(b"x")
        with pytest.raises(BadInputError, match=r"model\.export\(DIRECTORY\)"):
            convert(model, tmp_path / "out.tflite")

    def test_an_output_that_cannot_be_written_is_said_at_once(self, tmp_path: Path) -> None:
        """An output that is a directory, or in none, is refused before TensorFlow is started."""
        model = saved_models() / "dense"
        with Converter(command=("/nowhere/must-not-be-started",)) as converter:
            with pytest.raises(BadInputError, match="is a directory"):
                convert(model, tmp_path, converter=converter)
            with pytest.raises(BadInputError, match="does not exist"):
                convert(model, tmp_path / "no" / "out.tflite", converter=converter)

    def test_a_failure_leaves_the_old_file(self, converted: Convert, tmp_path: Path) -> None:
        """A conversion that fails does not touch the model that was there."""
        (tmp_path / "out.tflite").write_text("old")
        with pytest.raises(ConversionError):
            converted("nan")
        assert (tmp_path / "out.tflite").read_text() == "old"


class TestBundleTflite:
    def test_a_plain_tflite_becomes_deployable(
        self, converted: Convert, converter: Converter, tmp_path: Path
    ) -> None:
        """The flatbuffer stays as it is; scores are its own, and the report says so."""
        made = converted("lstm_export")
        plain = tmp_path / "plain.tflite"
        plain.write_bytes(made.tflite)
        options = ConversionOptions(labels=LABELS, rate_hz=250.0, unit="millivolts")
        out = tmp_path / "bundled.tflite"
        bundle = bundle_tflite(plain, out, options=options, converter=converter)
        assert bundle.tflite == made.tflite
        assert bundle.report["proven"] is False
        assert bundle.report["fidelity"] is None
        assert bundle.spec.name == "plain"
        windows = bundle.golden.windows
        np.testing.assert_array_equal(
            run_tflite(out.read_bytes(), bundle, windows), bundle.golden.scores
        )

    def test_a_tflite_without_signatures_is_fed_by_tensor_names(
        self, converted: Convert, converter: Converter, tmp_path: Path
    ) -> None:
        """A .tflite from before signatures is described by the names of its tensors."""
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(converted("dense").tflite, 0))
        model.signatureDefs = None
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        plain, out = tmp_path / "old.tflite", tmp_path / "bundled.tflite"
        plain.write_bytes(bytes(builder.Output()))
        spec = bundle_tflite(plain, out, converter=converter).spec
        details = Interpreter(model_path=str(out)).get_input_details()
        assert (spec.signature, spec.input) == ("", details[0]["name"])

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("lost_weights.tflite", "have no value in the .tflite"),
            ("flex.tflite", "uses FlexMatrixInverse, which no light runtime has"),
        ],
    )
    def test_what_tensorflow_calls_converted_is_refused(
        self, converter: Converter, tmp_path: Path, name: str, words: str
    ) -> None:
        """A .tflite with Flex ops, or one that TensorFlow made without the weights, is refused."""
        with pytest.raises(ConversionError, match=words):
            bundle_tflite(saved_models() / name, tmp_path / "out.tflite", converter=converter)
        assert list(tmp_path.iterdir()) == []

    def test_a_bundle_is_not_bundled_again(
        self, converted: Convert, converter: Converter, tmp_path: Path
    ) -> None:
        """A model file keeps its proof: bundling it is refused."""
        made = converted("dense")
        with pytest.raises(BadInputError, match="is a Holter model already"):
            bundle_tflite(made.path, tmp_path / "again.tflite", converter=converter)

    @pytest.mark.parametrize(
        ("content", "options", "words"),
        [
            (b"PK not a model", {}, "not a TensorFlow Lite model"),
            (b"\x1c\x00\x00\x00TFL3" + b"\xff" * 99, {}, "is damaged"),
            (None, {"normalize": "zscore"}, "cannot be added to a .tflite"),
            (None, {"labels": ("N",)}, "gives 3 score"),
            (None, {"window": 77}, "not windows of 77 frames"),
            (None, {"output": "z"}, "The .tflite has no output 'z'"),
        ],
    )
    def test_a_bad_tflite_is_one_sentence(
        self,
        converted: Convert,
        converter: Converter,
        tmp_path: Path,
        content: bytes | None,
        options: dict[str, Any],
        words: str,
    ) -> None:
        """What is no .tflite, or does not fit what was said, is refused and leaves no file."""
        plain, out = tmp_path / "plain.tflite", tmp_path / "bundled.tflite"
        plain.write_bytes(converted("dense").tflite if content is None else content)
        with pytest.raises(BadInputError, match=words):
            bundle_tflite(plain, out, options=ConversionOptions(**options), converter=converter)
        assert not out.exists()
