"""How faithful a converted model is: its scores held against the SavedModel's."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from holter_host.conversion.failures import FinalError
from holter_host.conversion.options import Quantize
from holter_host.conversion.resolve import FLOAT_TOLERANCE, are_probabilities
from holter_host.errors import ConversionError

MAX_ABS_DIFFERENCE: Final = 1e-4
QUANTIZED_TOLERANCE: Final = 0.05
MARGIN: Final = 0.8

Array = npt.NDArray[np.float32]
# Why scores may differ: as the model is quantised; "half" where it is not, but the SavedModel
# itself computes in float16 or bfloat16 and the .tflite in float32.
Loss = Quantize | Literal["half"]
_HALVES: Final = frozenset({"float16", "bfloat16"})


@dataclasses.dataclass(frozen=True, slots=True)
class Fidelity:
    """SavedModel against .tflite over the same windows.

    Attributes:
        window_count: how many windows.
        max_abs_difference: greatest absolute difference of any score.
        mean_abs_difference: mean absolute difference of all scores.
        label_flips: windows whose highest score belongs to another label; of a single score, those
            where it is on the other side of 0.5, or of 0 for logits.
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
            label_flips=_flips(expected, actual),
        )

    def facts(self) -> dict[str, Any]:
        """For report.json: the figures, and the share of the windows whose label changed."""
        share = round(self.label_flips / self.window_count, 6)
        return {**dataclasses.asdict(self), "label_flip_share": share}

    def check_difference(self, limit: float, loss: Loss) -> None:
        """Refuse a model that is not faithful.

        Raises:
            ConversionError: a difference is over the limit; a FinalError where something is lost.
        """
        if self.max_abs_difference <= limit:
            return
        said = (
            f"scores differ by up to {self.max_abs_difference:.2g} (allowed {limit:.2g}) over "
            f"{self.window_count} windows, {self.label_flips} labels change"
        )
        if loss == "none":
            raise ConversionError(f"The converted model disagrees with the SavedModel: {said}.")
        raise FinalError(
            f"{_how(loss)}, the model disagrees with the SavedModel: {said}; "
            f"{_REMEDIES[loss]}, or allow more with --tolerance."
        )

    def check_labels(self, allowed: float, loss: Loss, over: str) -> None:
        """Refuse a quantisation that changes too many labels.

        Args:
            allowed: greatest share of the windows.
            loss: why they may change.
            over: what the windows are, as the error names them.

        Raises:
            FinalError: it does.
        """
        if self.label_flips <= allowed * self.window_count:
            return
        share = 100 * self.label_flips / self.window_count
        raise FinalError(
            f"{_how(loss)}, the model changes the label of "
            f"{self.label_flips} of {self.window_count} "
            f"windows of {over}, {share:.2g} % (allowed {100 * allowed:g} %); "
            f"{_REMEDIES[loss]}, or allow more with --max-label-flips."
        )


_REMEDIES: Final[dict[Loss, str]] = {
    "none": "export the model again",
    "half": "build it with the dtype policy float32, load its weights and export that",
    "float16": "convert it without --quantize",
    "dynamic": "use --quantize float16",
    "int8": "calibrate it on more recordings with --representative, use --quantize dynamic",
}


def _how(loss: Loss) -> str:
    named = {"none": "Converted", "half": "In float32 instead of half precision"}
    return named.get(loss, f"Quantised ({loss})")


def loss_of(kind: Quantize, computes_in: Collection[str]) -> Loss:
    """Why the scores of a conversion may differ.

    Args:
        kind: how it is quantised.
        computes_in: the types besides float32 that the SavedModel computes in.
    """
    return "half" if kind == "none" and not _HALVES.isdisjoint(computes_in) else kind


def default_tolerance(loss: Loss, expected: Array) -> float:
    """What a device may differ by from golden scores where the user did not say."""
    share = FLOAT_TOLERANCE if loss == "none" else QUANTIZED_TOLERANCE
    return share * _scale(expected)


def difference_limit(loss: Loss, expected: Array, tolerance: float) -> float:
    """The greatest difference from the SavedModel's scores that is allowed here.

    Args:
        loss: why they may differ.
        expected: the SavedModel's scores.
        tolerance: what a device may differ by from them; a model stays below it here, for the same
            ops round in other ways in another runtime.
    """
    limit = MARGIN * tolerance
    return min(limit, MAX_ABS_DIFFERENCE * _scale(expected)) if loss == "none" else limit


def _flips(expected: Array, actual: Array) -> int:
    if expected.shape[1] > 1:
        return int((expected.argmax(axis=1) != actual.argmax(axis=1)).sum())
    threshold = 0.5 if are_probabilities(expected) else 0.0
    return int(((expected > threshold) != (actual > threshold)).sum())


def _scale(expected: Array) -> float:
    """1 for probabilities; for scores that exceed 1 the greatest of them."""
    return max(1.0, float(np.abs(expected).max()))
