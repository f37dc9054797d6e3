"""Laws of quantised models, with TensorFlow; those of the parts are in test_conversion_parts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holter_host.bundle import Bundle
from holter_host.conversion import ConversionOptions, convert
from holter_host.conversion.golden import synthetic_windows
from holter_host.errors import ConversionError
from holter_host.op_versions import lacking
from support.models import ZOO_WINDOW, saved_models
from support.runtime_scores import TFLITE_PYTHON, scores_in

pytestmark = [pytest.mark.tensorflow, pytest.mark.litert, pytest.mark.timeout(300)]

Array = np.ndarray[Any, np.dtype[Any]]

# Labels of an untrained model flip at will, so here all may; tests of full size count them.
QUANTIZED: dict[str, tuple[str, dict[str, Any]]] = {
    "float16": ("zoo/transformer/export", {}),
    "dynamic": ("zoo/se_lstm/export", {}),
    "int8": ("zoo/cnn/saved", {"int8_edges": True}),
    "int8, unrolled": ("zoo/gru/export", {}),
}


@pytest.fixture(scope="module")
def windows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows for int8 to be calibrated on."""
    path = tmp_path_factory.mktemp("representative") / "windows.npy"
    np.save(path, synthetic_windows("millivolts", 360.0, ZOO_WINDOW, 1, 20, seed=5))
    return path


@pytest.fixture
def quantized(converted: Any, windows_file: Path, request: pytest.FixtureRequest) -> Bundle:
    """A model of the zoo, quantised in the way that the test is for."""
    model, options = QUANTIZED[request.param]
    kind = request.param.partition(",")[0]
    if kind == "int8":
        options = {**options, "representative": (str(windows_file),)}
    bundle: Bundle = converted(
        model, quantize=kind, max_label_flips=1.0, tolerance=0.5, unit="millivolts", **options
    )
    return bundle


each_kind = pytest.mark.parametrize("quantized", QUANTIZED, indirect=True)


@each_kind
@pytest.mark.parametrize("runtime", ["litert", "tflite"])
def test_both_runtimes_run_it(quantized: Bundle, runtime: str, tmp_path: Path) -> None:
    """Each quantisation loads in LiteRT and in tflite-runtime 2.14, and is faithful in both."""
    if runtime == "tflite" and not TFLITE_PYTHON.exists():
        pytest.skip("no .venv-tflite: make test makes it where tflite-runtime exists")
    python = sys.executable if runtime == "litert" else str(TFLITE_PYTHON)
    scores = scores_in(python, quantized.path, quantized.golden.windows, tmp_path)
    found = quantized.report["fidelity"]["max_abs_difference"]
    assert np.abs(scores - quantized.golden.scores).max() <= found + 0.02


@each_kind
def test_the_report_says_what_was_done(quantized: Bundle) -> None:
    """The kind, what it was calibrated on, the evaluation, and no op that a runtime lacks."""
    report = quantized.report
    kind = report["quantization"]["kind"]
    representative = report["quantization"]["representative"]
    if kind == "int8":
        assert (representative["source"], representative["window_count"]) == ("recordings", 20)
        assert len(representative["sha256"]) == 64
        assert not any(op["name"] == "WHILE" for op in report["ops"])
    else:
        assert representative is None
    assert report["evaluation"]["windows"]["source"] == "synthetic"
    assert report["evaluation"]["window_count"] == 200
    for runtime, version in (("tflite-runtime", "2.14.0"), ("ai-edge-litert", "2.3.0")):
        assert lacking(report["ops"], runtime, version) == []
    assert quantized.spec.tolerance == 0.5


@each_kind
def test_it_is_quantised(quantized: Bundle, request: pytest.FixtureRequest) -> None:
    """Quantised tensors are in the file; its ends are float32, or int8 where that was said."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=quantized.data)
    kinds = {np.dtype(tensor["dtype"]) for tensor in interpreter.get_tensor_details()}
    kind = quantized.report["quantization"]["kind"]
    assert np.dtype(np.float16 if kind == "float16" else np.int8) in kinds
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    has_edges = "int8_edges" in QUANTIZED[request.node.callspec.params["quantized"]][1]
    assert quantized.report["quantization"]["int8_edges"] is has_edges
    edges = np.int8 if has_edges else np.float32
    assert {np.dtype(tensor["dtype"]) for tensor in ends} == {np.dtype(edges)}


@pytest.mark.long
class TestFullSize:
    def test_a_loop_that_the_window_ends_is_not_unrolled(
        self, converted: Any, tmp_path: Path
    ) -> None:
        """int8 of a loop whose number of steps depends on the values is refused with the reason."""
        with pytest.raises(ConversionError, match=r"ends by the values of the window.*dynamic"):
            convert(
                saved_models() / "value_loop",
                tmp_path / "o.tflite",
                options=ConversionOptions(quantize="int8"),
                converter=converted.converter,
            )
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["se_lstm/export", "bilstm/tf1", "stacked_lstm/keras.keras"])
    def test_unrolled_models_are_the_same_models(
        self, converted: Any, tmp_path: Path, name: str
    ) -> None:
        """Loops written out and quantised give about the scores of the loop."""
        options = {"quantize": "int8", "max_label_flips": 1.0, "tolerance": 0.5}
        made = convert(
            saved_models() / "zoo" / name,
            tmp_path / "o.tflite",
            options=ConversionOptions.from_dict(options),
            converter=converted.converter,
        )
        assert not any(op["name"] == "WHILE" for op in made.report["ops"])
        assert made.report["fidelity"]["mean_abs_difference"] < 0.05

    def test_the_same_windows_give_the_same_file(
        self, converted: Any, windows_file: Path, tmp_path: Path
    ) -> None:
        """Two calibrations on the same windows give the same digest; other windows another."""
        digests = []
        for scale in (1, 1, 3):
            path = tmp_path / f"{len(digests)}.npy"
            np.save(path, scale * np.load(windows_file))
            options = {"quantize": "int8", "max_label_flips": 1.0, "tolerance": 0.5}
            made = convert(
                saved_models() / "zoo" / "cnn" / "saved",
                tmp_path / "o.tflite",
                options=ConversionOptions.from_dict({**options, "representative": [str(path)]}),
                converter=converted.converter,
            )
            digests.append(made.sha256)
        assert digests[0] == digests[1] != digests[2]
