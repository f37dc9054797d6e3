"""How faithful a converted model is, and the report that goes into its file.

report.json, version 1:

    report_version        1
    proven                whether the golden scores are the SavedModel's
    route                 "frozen", "from_saved_model", or "bundle" for a .tflite that was given
    normalize             what the graph does with a window first
    saved_model           signature, input, output, TensorFlow that wrote it (not for "bundle")
    versions              of what took part in the conversion, by distribution
    ops                   name, version, count and is_custom of every op
    min_runtime_version   the converter's own note, a hint only; "" where it made none
    fidelity              `Fidelity` over the golden windows; null where nothing was proven
    tflite_bytes          size without the archive

It holds nothing that differs from run to run, such as a time: the same SavedModel gives the same
file, and so keeps its name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
from typing import Final

import numpy as np
import numpy.typing as npt

from holter_host.errors import ConversionError

REPORT_VERSION: Final = 1
MAX_ABS_DIFFERENCE: Final = 1e-4
_DISTRIBUTIONS: Final = (
    "ai-edge-litert",
    "holter-host",
    "keras",
    "numpy",
    "tensorflow",
    "tensorflow-cpu",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Fidelity:
    """SavedModel against .tflite over the same windows.

    Attributes:
        window_count: how many windows.
        max_abs_difference: greatest absolute difference of any score.
        mean_abs_difference: mean absolute difference of all scores.
        label_flips: windows whose highest score belongs to another label.
        limit: greatest difference that is allowed: 1e-4 of a probability, and of scores that
            exceed 1 that much of the greatest.
    """

    window_count: int
    max_abs_difference: float
    mean_abs_difference: float
    label_flips: int
    limit: float

    @classmethod
    def measure(
        cls, expected: npt.NDArray[np.float32], actual: npt.NDArray[np.float32]
    ) -> Fidelity:
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
            limit=MAX_ABS_DIFFERENCE * max(1.0, float(np.abs(expected).max())),
        )

    def check(self) -> None:
        """Refuse a model that is not faithful.

        Raises:
            ConversionError: a difference is over the limit.
        """
        if self.max_abs_difference > self.limit:
            raise ConversionError(
                f"The converted model disagrees with the SavedModel: scores differ by up to "
                f"{self.max_abs_difference:.2g} (allowed {self.limit:.2g}) over "
                f"{self.window_count} windows, {self.label_flips} labels change."
            )


def installed_versions() -> dict[str, str]:
    """Versions of the distributions that take part in a conversion, of those that are installed."""
    versions = {}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
