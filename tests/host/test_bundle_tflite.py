"""Laws of `bundle_tflite`, which describes a .tflite that exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from holter_host.bundle import Bundle
from holter_host.conversion import ConversionOptions, bundle_tflite
from holter_host.errors import BadInputError, ConversionError
from support import tflite_models
from support.models import LABELS, saved_models
from support.tflite_scores import score

pytestmark = [pytest.mark.tensorflow, pytest.mark.litert, pytest.mark.timeout(300)]


@pytest.fixture
def plain() -> Path:
    """A .tflite that TensorFlow made, without a spec."""
    return saved_models() / "dense.tflite"


@pytest.fixture
def bundled(converted: Any, tmp_path: Path) -> Any:
    """Bundles a .tflite as tmp_path/out.tflite."""

    def run(path: Path, **options: Any) -> Bundle:
        said = ConversionOptions(**options)
        out = tmp_path / "out.tflite"
        return bundle_tflite(path, out, options=said, converter=converted.converter)

    return run


def test_a_plain_tflite_becomes_deployable(bundled: Any, plain: Path) -> None:
    """The flatbuffer stays as it is; scores are its own, and the report says so."""
    bundle = bundled(plain, labels=LABELS, rate_hz=250.0, unit="millivolts")
    assert bundle.tflite == plain.read_bytes()
    assert bundle.report["proven"] is False
    assert bundle.report["fidelity"] is None
    assert bundle.spec.name == "dense"
    scores = score(bundle.data, bundle.golden.windows)
    np.testing.assert_array_equal(scores, bundle.golden.scores)


def test_a_tflite_without_signatures_is_fed_by_tensor_names(
    bundled: Any, plain: Path, tmp_path: Path
) -> None:
    """A .tflite from before signatures is described by the names of its tensors."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(plain.read_bytes(), 0))
    model.signatureDefs = None
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    old = tmp_path / "old.tflite"
    old.write_bytes(bytes(builder.Output()))
    bundle = bundled(old)
    details = Interpreter(model_content=bundle.data).get_input_details()
    assert (bundle.spec.signature, bundle.spec.input) == ("", details[0]["name"])


def test_int8_edges_are_mapped(bundled: Any, tmp_path: Path) -> None:
    """Of a .tflite that takes and gives int8 the golden scores are those of its scale."""
    path = tmp_path / "int8.tflite"
    path.write_bytes(tflite_models.int8_edges(2.0, -100))
    bundle = bundled(path, unit="counts")
    golden = bundle.golden
    assert bundle.spec.tolerance == pytest.approx(0.05 * golden.scores.max())
    whole = np.clip(np.rint(golden.windows[:, :3, 0] / 2) - 100, -128, 127)
    np.testing.assert_array_equal(golden.scores, (whole + 100) * 2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lost_weights.tflite", "have no value in the .tflite"),
        ("flex.tflite", "uses FlexMatrixInverse, which no light runtime has"),
        ("random.tflite", "other scores when it is given the same window again"),
    ],
)
def test_what_tensorflow_calls_converted_is_refused(
    bundled: Any, tmp_path: Path, name: str, words: str
) -> None:
    """A .tflite of TensorFlow's with Flex ops, without its weights, or with dice is refused."""
    with pytest.raises(ConversionError, match=words):
        bundled(saved_models() / name)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_not_bundled_again(bundled: Any, plain: Path, tmp_path: Path) -> None:
    """A model file keeps its proof: bundling it is refused."""
    made = bundled(plain)
    again = made.path.rename(tmp_path / "made.tflite")
    with pytest.raises(BadInputError, match="is a Holter model already"):
        bundled(again)


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"PK not a model", {}, "not a TensorFlow Lite model"),
        (b"\x1c\x00\x00\x00TFL3" + b"\xff" * 99, {}, "is damaged"),
        (None, {"normalize": "zscore"}, "cannot be added to a .tflite"),
        (None, {"softmax": True}, "cannot be added to a .tflite"),
        (None, {"labels": ("N",)}, "gives 3 score"),
        (None, {"window": 77}, "not windows of 77 frames"),
        (None, {"output": "z"}, "The .tflite has no output 'z'"),
    ],
)
def test_a_bad_tflite_is_one_sentence(
    bundled: Any,
    plain: Path,
    tmp_path: Path,
    content: bytes | None,
    options: dict[str, Any],
    words: str,
) -> None:
    """What is no .tflite, or does not fit what was said, is refused and leaves no file."""
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(plain.read_bytes() if content is None else content)
    with pytest.raises(BadInputError, match=words):
        bundled(bad, **options)
    assert list(tmp_path.iterdir()) == [bad]
