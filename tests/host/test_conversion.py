"""Laws of conversion, with TensorFlow and LiteRT; `converted` makes each model once for all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import ROOT
from holter_host.bundle import Bundle
from holter_host.conversion import ConversionOptions, Converter, convert
from holter_host.conversion.normalize import normalized
from holter_host.errors import BadInputError
from support.models import WINDOW, saved_models
from support.tflite_scores import score
from support.zoo import LABELS, keras_scores

pytestmark = [pytest.mark.tensorflow, pytest.mark.litert, pytest.mark.timeout(300)]

Array = np.ndarray[Any, np.dtype[Any]]
Convert = Callable[..., Bundle]

# Architectures of the zoo by how they were saved. With those of test_quantize.py and the one of
# test_convert_cli.py each is there.
FAITHFUL = (
    "dropout_lstm/export",
    "bilstm/tf1",
    "stacked_lstm/keras.keras",
    "tcn/keras2",
    "stft/module",
)
OPTIONS = {"labels": LABELS, "rate_hz": 250.0}
TFLITE_PYTHON = ROOT / ".venv-tflite" / "bin" / "python"


def zoo_model(name: str) -> str:
    """A model of the zoo as `converted` takes it."""
    if not (saved_models() / "zoo" / name).exists():
        pytest.skip("no Keras 2 in .build/tf_keras: `make test` puts it there")
    return f"zoo/{name}"


class TestFaithful:
    @pytest.mark.parametrize("name", FAITHFUL)
    def test_the_zoo_agrees_with_keras(self, converted: Convert, name: str) -> None:
        """Each architecture gives in LiteRT the scores that Keras gave before it was saved."""
        bundle = converted(zoo_model(name), **OPTIONS)
        windows, expected = keras_scores(saved_models() / "zoo", name)
        np.testing.assert_allclose(score(bundle.data, windows), expected, atol=1e-4)
        assert np.ptp(expected, axis=0).max() > 0.1
        assert bundle.report["proven"] is True
        assert bundle.report["route"] == "frozen"
        assert not any(op["is_custom"] for op in bundle.report["ops"])

    def test_the_zoo_agrees_with_keras_in_tflite_runtime(
        self, converted: Convert, tmp_path: Path
    ) -> None:
        """The same files give the same scores in tflite-runtime 2.14, in a process of its own."""
        if not TFLITE_PYTHON.exists():
            pytest.skip("no .venv-tflite: `make test` makes it on Python 3.11")
        names = [name for name in FAITHFUL if (saved_models() / "zoo" / name).exists()]
        jobs = []
        for index, name in enumerate(names):
            windows, scores = tmp_path / f"{index}.npy", tmp_path / f"{index}.scores.npy"
            np.save(windows, keras_scores(saved_models() / "zoo", name)[0])
            model = converted(zoo_model(name), **OPTIONS).path
            jobs.append({"model": str(model), "windows": str(windows), "scores": str(scores)})
        script = ROOT / "tests" / "support" / "tflite_scores.py"
        done = subprocess.run(
            [TFLITE_PYTHON, script],
            input=json.dumps(jobs),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == [None] * len(names)
        for job, name in zip(jobs, names, strict=True):
            scores = np.load(job["scores"])
            expected = keras_scores(saved_models() / "zoo", name)[1]
            np.testing.assert_allclose(scores, expected, atol=1e-4, err_msg=name)

    def test_what_cannot_be_frozen_is_saved_again(self, converted: Convert) -> None:
        """A lookup table takes TensorFlow's own route, with all that is to be put around it.

        One of two signatures and of two outputs is chosen, the free time axis is the window, and
        the affine map is rounded to the whole numbers that go in.
        """
        bundle = converted(
            "everything",
            signature="late",
            output="logits",
            window=WINDOW,
            unit="counts",
            normalize="affine:1.5,-100",
            softmax=True,
        )
        assert bundle.report["route"] == "from_saved_model"
        assert bundle.spec.input_shape == (1, 1, WINDOW, 1)
        assert bundle.spec.score_kind == "probabilities"
        windows = bundle.golden.windows
        mean = np.rint(windows * 1.5 - 100).mean(axis=1)
        logits = np.exp(mean * 3 * [[0.1, 0.2, 0.3]])
        expected = logits / logits.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(score(bundle.data, windows), expected, atol=1e-4)

    def test_select_tf_ops_is_marked(self, converted: Any) -> None:
        """What only TensorFlow runs is made when it is asked for, with a warning, and unproven."""
        bundle = converted("no_builtin", select_tf_ops=True)
        assert any("no light runtime runs" in text for text in converted.told)
        assert bundle.spec.ops == "select_tf"
        assert (bundle.report["proven"], bundle.report["route"]) == (False, "select_tf_ops")


@pytest.fixture(scope="module")
def frozen() -> dict[str, dict[str, Any]]:
    """What became of each graph of support.frozen_graph."""
    command = [sys.executable, "-m", "support.frozen_graph"]
    done = subprocess.run(command, check=True, cwd=ROOT / "tests", capture_output=True)
    graphs: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return graphs


class TestFreezing:
    def test_only_what_the_scores_need_is_left(self, frozen: dict[str, dict[str, Any]]) -> None:
        """A print, an assertion, an assignment and a table that no score needs are dropped."""
        left = frozen["beside the output"]
        assert set(left["ops"]) <= {"Const", "Identity", "MatMul", "Placeholder"}
        assert left["difference"] == 0

    def test_what_the_scores_need_is_not_dropped(self, frozen: dict[str, dict[str, Any]]) -> None:
        """State that a score needs is refused by name; a table goes to TensorFlow's own route."""
        assert "keeps state from window to window" in frozen["counted"]["error"]
        assert frozen["looked up"]["error"] == "UnliftableError"

    @pytest.mark.parametrize(
        ("dtype", "limit"), [("float16", 2e-3), ("bfloat16", 2e-2), ("float64", 1e-6)]
    )
    def test_all_becomes_float32(
        self, frozen: dict[str, dict[str, Any]], dtype: str, limit: float
    ) -> None:
        """Another precision is rewritten, in loops too, and what it rounded is all that differs."""
        graph = frozen[dtype]
        assert (graph["types_before"], graph["types"]) == ([dtype], [])
        assert graph["difference"] < limit


class TestNormalization:
    def test_the_graph_does_what_numpy_does(self, tmp_path: Path, mitdb: Path) -> None:
        """Of windows of a record and flat ones, in each unit, the graph makes what NumPy makes."""
        words = ["-m", "support.normalized_graph", mitdb / "208", tmp_path]
        subprocess.run(
            [sys.executable, *words], check=True, cwd=ROOT / "tests", capture_output=True
        )
        windows = np.load(tmp_path / "windows.npy")
        for kind, atol in (("none", 0), ("affine:0.3,-1.7", 0), ("minmax", 1e-6), ("zscore", 1e-4)):
            for layout in ("channels_last", "channels_first"):
                made = np.load(tmp_path / f"{kind}.{layout}.npy")
                np.testing.assert_allclose(made, normalized(windows, kind), rtol=0, atol=atol)
                if kind in ("minmax", "zscore"):
                    np.testing.assert_array_equal(made[np.ptp(windows, axis=(1, 2)) == 0], 0)

    def test_each_channel_is_normalised(self, converted: Convert) -> None:
        """The .tflite takes raw counts, channels first, and maps each channel to 0 to 1.

        The model gives values 0, 100 and the last of its input, which shows what reached it.
        """
        bundle = converted("channels_first", unit="counts", normalize="minmax", channels=("A", "B"))
        assert bundle.spec.layout == "channels_first"
        assert bundle.report["route"] == "frozen"
        raw = bundle.golden.windows.astype(np.float64)
        spread = np.ptp(raw, axis=1, keepdims=True)
        scaled = (raw - raw.min(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
        expected = scaled[:, [0, 100, WINDOW - 1]].swapaxes(1, 2).reshape(8, 6)
        scores = score(bundle.data, bundle.golden.windows)
        np.testing.assert_allclose(scores, expected, atol=1e-4)


class TestOptionsFile:
    def test_flags_then_inner_then_beside(self, tmp_path: Path) -> None:
        """A flag wins over model.toml; the file inside hides the one beside, and is named."""
        model = tmp_path / "ecg" / "saved_model"
        model.mkdir(parents=True)
        (model / "saved_model.pb").touch()
        (tmp_path / "ecg" / "model.toml").write_text('labels = ["x", "y", "z"]\n')
        assert asked(model)["options"] == {"labels": ["x", "y", "z"]}
        (model / "model.toml").write_text('labels = ["N", "S", "V"]\nversion = 4\n')
        told: list[str] = []
        request = asked(model, told, version=5)
        assert request["default_name"] == "ecg"
        assert request["options"] == {"labels": ["N", "S", "V"], "version": 5}
        assert told == [f"Using {model / 'model.toml'}"]


def asked(model: Path, told: list[str] | None = None, **options: Any) -> dict[str, Any]:
    """What the child is asked to do: a stand-in for it refuses with just that."""
    code = (
        "import json, sys; line = sys.stdin.readline(); "
        "print(json.dumps({'error': {'kind': 'bad_input', 'message': line}}))"
    )
    said = ConversionOptions(**options)
    out, tell = model.parent / "o", (told if told is not None else []).append
    with (
        Converter(command=(sys.executable, "-c", code)) as converter,
        pytest.raises(BadInputError) as caught,
    ):
        convert(model, out, options=said, progress=tell, converter=converter)
    request: dict[str, Any] = json.loads(str(caught.value))
    return request
