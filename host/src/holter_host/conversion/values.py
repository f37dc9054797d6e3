"""The numbers that go into a model and come out of it, and what is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from holter_host.conversion.options import DEFAULT_UNIT, ConversionOptions, affine_factors
from holter_host.errors import BadInputError


def check_input_type(dtype: str, name: str, options: ConversionOptions) -> None:
    """Refuse to round to whole numbers what would be nothing when it is rounded.

    Args:
        dtype: the input's type, of whole numbers.
        name: of the input.
        options: unit and normalize are used.

    Raises:
        BadInputError: neither counts nor an affine map goes in.
    """
    kind = options.normalize or "none"
    if affine_factors(kind) is not None:
        return
    if kind != "none" or (options.unit or DEFAULT_UNIT) != "counts":
        raise BadInputError(
            f"The input {name} takes {dtype}, whole numbers: feed it --unit counts with no "
            "normalisation, or give --normalize affine:A,B that makes whole numbers of the unit."
        )


def as_whole_numbers(
    windows: npt.NDArray[np.float32], dtype: type[np.integer[Any]], name: str
) -> npt.NDArray[np.float32]:
    """Windows rounded to the nearest whole number, ties to even, as the graph does it.

    Raises:
        BadInputError: one is outside of what the type holds, which the graph would clip.
    """
    rounded = np.rint(windows)
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    low, high = float(rounded.min()), float(rounded.max())
    if low < least or high > most:
        raise BadInputError(
            f"The input {name} takes {np.dtype(dtype)}, {least} to {most}, but a window goes from "
            f"{low:g} to {high:g}; shift or scale it with --normalize affine:A,B."
        )
    return rounded


def as_probabilities(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The softmax of each row of scores.

    Raises:
        BadInputError: there is one score only, or each row is one of probabilities already.
    """
    if scores.shape[1] == 1:
        raise BadInputError(
            "The model gives one score, whose softmax is always 1; leave out --softmax."
        )
    if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-4):
        raise BadInputError("The model's scores are probabilities already; leave out --softmax.")
    x = scores.astype(np.float64)
    x = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(x / x.sum(axis=1, keepdims=True), np.float32)


def as_scores(output: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The scores of one window, float32 of shape (label_count,), from the model's output.

    Raises:
        BadInputError: the output is not one row of numbers.
    """
    if output.dtype.kind != "f":
        kind = str(output.dtype) if output.dtype.kind in "biuc" else "text"
        raise BadInputError(
            f"The model's output is {kind}, not floating-point scores; choose an output of scores "
            "with --output, or export the model with the scores that the label is made of."
        )
    if output.ndim == 0 or output.size != output.shape[-1] or not output.size:
        raise BadInputError(
            f"The model's output has shape {list(output.shape)}, not one score for each label; "
            "choose another with --output, or export the model with one row of scores (a map over "
            "time averaged or counted in its graph)."
        )
    return output.astype(np.float32).reshape(-1)
