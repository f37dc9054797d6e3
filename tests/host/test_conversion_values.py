"""Laws of what goes into a model, comes out of it, and of what TensorFlow's errors mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_host.conversion import ConversionOptions
from holter_host.conversion.failures import (
    conversion_failure,
    loading_failure,
    running_failure,
    runtime_failure,
)
from holter_host.conversion.normalize import normalized
from holter_host.conversion.values import as_probabilities, as_whole_numbers, check_input_type
from holter_host.errors import BadInputError, ConversionError

MODEL = Path("ecg") / "saved_model"


class TestAffine:
    @given(
        st.floats(-100, 100, width=32).filter(bool),
        st.floats(-1000, 1000, width=32),
        st.lists(st.integers(-32768, 32767), min_size=1, max_size=20),
    )
    def test_it_is_two_float32_steps(self, scale: float, offset: float, counts: list[int]) -> None:
        """affine:A,B is x * A + B, rounded to float32 after each of the two."""
        x = np.array(counts, np.float32).reshape(1, -1, 1)
        made = normalized(x, f"affine:{scale!r},{offset!r}")
        expected = (x * np.float32(scale)).astype(np.float32) + np.float32(offset)
        np.testing.assert_array_equal(made, expected)

    @pytest.mark.parametrize(
        "text", ["affine", "affine:", "affine:1", "affine:1,2,3", "affine:0,1", "affine:a,b"]
    )
    def test_two_numbers_are_needed(self, text: str) -> None:
        """Anything but two finite numbers, A not 0, is refused with an example."""
        with pytest.raises(BadInputError, match="not affine:A,B with two numbers"):
            ConversionOptions(normalize=text)
        with pytest.raises(BadInputError, match="not affine:A,B with two numbers"):
            ConversionOptions(normalize="affine:1,inf")


class TestWholeNumbers:
    @pytest.mark.parametrize(
        ("said", "is_good"),
        [
            ({"unit": "counts"}, True),
            ({"unit": "counts", "normalize": "affine:1,-128"}, True),
            ({"normalize": "affine:200,0"}, True),
            ({}, False),
            ({"unit": "volts"}, False),
            ({"unit": "counts", "normalize": "zscore"}, False),
            ({"unit": "counts", "normalize": "minmax"}, False),
        ],
    )
    def test_they_are_counts_or_made_on_purpose(self, said: dict[str, Any], is_good: bool) -> None:
        """An input of whole numbers takes counts, or what an affine map makes of any unit."""
        options = ConversionOptions(**said)
        if is_good:
            check_input_type("int16", "x", options)
            return
        with pytest.raises(BadInputError, match="takes int16, whole numbers: feed it --unit count"):
            check_input_type("int16", "x", options)

    def test_ties_go_to_even(self) -> None:
        """Values are rounded to the nearest whole number, ties to even."""
        values = np.array([[[-1.5], [-0.5], [0.5], [1.5], [2.4]]], np.float32)
        made = as_whole_numbers(values, np.int8, "x")
        np.testing.assert_array_equal(made.ravel(), [-2, 0, 0, 2, 2])

    def test_a_window_out_of_range_is_refused(self) -> None:
        """What would be clipped is refused, with the range and the remedy."""
        counts = np.full((1, 5, 1), 200, np.float32)
        with pytest.raises(BadInputError, match="int8, -128 to 127, but a window goes from 200"):
            as_whole_numbers(counts, np.int8, "x")
        np.testing.assert_array_equal(as_whole_numbers(counts, np.uint8, "x"), counts)


class TestSoftmax:
    def test_rows_become_probabilities(self) -> None:
        """The softmax of a row, however large its logits."""
        made = as_probabilities(np.array([[1000, 1000], [0, np.log(3)]], np.float32))
        np.testing.assert_allclose(made, [[0.5, 0.5], [0.25, 0.75]], atol=1e-7)

    @pytest.mark.parametrize(
        ("scores", "words"),
        [([[0.25, 0.75]], "are probabilities already"), ([[3.0]], "gives one score")],
    )
    def test_it_is_refused_where_it_means_nothing(self, scores: Any, words: str) -> None:
        """Probabilities, and a single score, are left as they are."""
        with pytest.raises(BadInputError, match=f"{words}.*leave out --softmax"):
            as_probabilities(np.array(scores, np.float32))

    def test_it_makes_no_logits(self) -> None:
        """softmax and score_kind = logits contradict each other."""
        with pytest.raises(BadInputError, match="leave out score_kind"):
            ConversionOptions(softmax=True, score_kind="logits")


# What TensorFlow 2.21 says, shortened, and what it means.
FAILURES: list[tuple[Any, str, type[Exception], str]] = [
    (loading_failure, "OSError: SavedModel file does not exist at: x", BadInputError, "is not a"),
    (loading_failure, "Cannot parse proto file b'x/saved_model.pb'", BadInputError, "is damaged"),
    (loading_failure, "but there are 0 MetaGraphs in x", BadInputError, "is empty or damaged"),
    (loading_failure, "TensorSliceReader constructor: x", BadInputError, "lacks its weights"),
    (loading_failure, "Read less bytes than requested", BadInputError, "are cut short"),
    (loading_failure, "Checksum does not match: stored 1", BadInputError, "that are damaged"),
    (loading_failure, "something new\nand more", BadInputError, "Error: something new"),
    (running_failure, "Could not find callback with key=pyfunc_0", BadInputError, "Python code"),
    (running_failure, "{{node a}} Incompatible shapes", BadInputError, r"\[1, 9\]: .*Incompatible"),
    (
        conversion_failure,
        "error: 'tf.MatrixInverse' op is neither a custom op nor a flex op",
        ConversionError,
        "uses MatrixInverse, which no light runtime has; build",
    ),
    (
        conversion_failure,
        "Some ops are not supported\n\tCustom ops: A, B\nDetails:",
        ConversionError,
        "uses A, B, which no light runtime has",
    ),
    (
        conversion_failure,
        "<unknown>:0: error: loc(\"a\"): 'tf.TensorListReserve' op requires element_shape\nnote: b",
        ConversionError,
        "its op TensorListReserve requires element_shape; build the model without",
    ),
    (
        conversion_failure,
        'failed.<unknown>:0: error: loc(callsite(fused["Cast:", "PartitionedCall/dense/Cast@_f"] '
        'at callsite(fused["While:", "b"]))): error: Unsupported type\nnote: c',
        ConversionError,
        r"at its op Cast \(dense/Cast\): Unsupported type; build the model without",
    ),
    (conversion_failure, "", ConversionError, "no reason given"),
]


@pytest.mark.parametrize(("meaning", "text", "kind", "words"), FAILURES)
def test_each_failure_of_tensorflow_is_one_sentence(
    meaning: Any, text: str, kind: type[Exception], words: str
) -> None:
    """TensorFlow's errors are told with the path, in one line, as what they mean to the user."""
    shape = [(1, 9)] if meaning is running_failure else []
    error = meaning(RuntimeError(text), MODEL, *shape)
    assert type(error) is kind
    assert str(MODEL) in str(error)
    assert "\n" not in str(error)
    assert re.search(words, str(error))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "rfft2d.cc:121 IsPowerOfTwo(n) was not true.Node number 7",
            "no power of two, .*; give it",
        ),
        (
            "hashtable need to be initialized before using",
            "looks values up in a table, .*; convert",
        ),
        ("something new\nand more", "LiteRT cannot load the model: something new"),
        ("", "LiteRT cannot load the model: RuntimeError"),
    ],
)
def test_each_failure_of_litert_is_one_sentence(text: str, words: str) -> None:
    """What LiteRT says of its kernels is told as what it means to the one who exported."""
    error = runtime_failure(RuntimeError(text), "load")
    assert type(error) is ConversionError
    assert "\n" not in str(error)
    assert re.search(words, str(error))
