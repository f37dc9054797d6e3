"""How faithful a converted model is: its scores held against the SavedModel's."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from holter_host.conversion.options import Quantize
from holter_host.conversion.resolve import FLOAT_TOLERANCE
from holter_host.errors import ConversionError

MAX_ABS_DIFFERENCE: Final = 1e-4
QUANTIZED_TOLERANCE: Final = 0.05
MARGIN: Final = 0.8

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Fidelity:
    """SavedModel against .tflite over the same windows.

    Attributes:
        window_count: how many windows.
        max_abs_difference: greatest absolute difference of any score.
        mean_abs_difference: mean absolute difference of all scores.
        label_flips: windows whose highest score belongs to another label.
    """

    window_count: int
    max_abs_difference: float
    mean_abs_difference: float
    label_flips: int

    @classmethod
    def measure(cls, expected: Array, actual: Array) -> Fidelity:
        """Compare scores, both of shape (count, label_count).

        Raises:
            ConversionError: the shapes differ, or `actual` holds what is no number.
        """
        if expected.shape != actual.shape:
            raise ConversionError(
                f"The converted model gives {actual.shape[1]} scores, the SavedModel "
                f"{expected.shape[1]}."
            )
        if not np.isfinite(actual).all():
            raise ConversionError(
                "The converted model gives scores that are not numbers where the SavedModel gives "
                "good ones."
            )
        difference = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
        return cls(
            window_count=len(expected),
            max_abs_difference=float(difference.max()),
            mean_abs_difference=float(difference.mean()),
            label_flips=int((expected.argmax(axis=1) != actual.argmax(axis=1)).sum()),
        )

    def facts(self) -> dict[str, Any]:
        """For report.json: the figures, and the share of the windows whose label changed."""
        share = round(self.label_flips / self.window_count, 6)
        return {**dataclasses.asdict(self), "label_flip_share": share}

    def check_difference(self, limit: float, kind: Quantize) -> None:
        """Refuse a model that is not faithful.

        Raises:
            ConversionError: a difference is over the limit.
        """
        if self.max_abs_difference <= limit:
            return
        said = (
            f"scores differ by up to {self.max_abs_difference:.2g} (allowed {limit:.2g}) over "
            f"{self.window_count} windows, {self.label_flips} labels change"
        )
        if kind == "none":
            raise ConversionError(f"The converted model disagrees with the SavedModel: {said}.")
        raise ConversionError(
            f"Quantised ({kind}), the model disagrees with the SavedModel: {said}; "
            f"{_REMEDIES[kind]}, or allow more with --tolerance."
        )

    def check_labels(self, allowed: float, kind: Quantize, over: str) -> None:
        """Refuse a quantisation that changes too many labels.

        Args:
            allowed: greatest share of the windows.
            kind: how it was quantised.
            over: what the windows are, as the error names them.

        Raises:
            ConversionError: it does.
        """
        if self.label_flips <= allowed * self.window_count:
            return
        how = "Converted" if kind == "none" else f"Quantised ({kind})"
        share = 100 * self.label_flips / self.window_count
        raise ConversionError(
            f"{how}, the model changes the label of {self.label_flips} of {self.window_count} "
            f"windows of {over}, {share:.2g} % (allowed {100 * allowed:g} %); "
            f"{_REMEDIES[kind]}, or allow more with --max-label-flips."
        )


_REMEDIES: Final[dict[Quantize, str]] = {
    "none": "export the model again",
    "float16": "convert it without --quantize",
    "dynamic": "use --quantize float16",
    "int8": "calibrate it on more recordings with --representative, use --quantize dynamic",
}


def default_tolerance(kind: Quantize, expected: Array) -> float:
    """What a device may differ by from golden scores where the user did not say."""
    return FLOAT_TOLERANCE if kind == "none" else QUANTIZED_TOLERANCE * _scale(expected)


def difference_limit(kind: Quantize, expected: Array, tolerance: float) -> float:
    """The greatest difference from the SavedModel's scores that is allowed here.

    Args:
        kind: how the model is quantised.
        expected: the SavedModel's scores.
        tolerance: what a device may differ by from them; a quantised model stays below it here,
            for the same ops round in other ways in another runtime.
    """
    if kind == "none":
        return MAX_ABS_DIFFERENCE * _scale(expected)
    return MARGIN * tolerance


def _scale(expected: Array) -> float:
    """1 for probabilities; for scores that exceed 1 the greatest of them."""
    return max(1.0, float(np.abs(expected).max()))
