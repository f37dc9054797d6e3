"""What the conversion child is asked to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from holter_host.conversion.golden import golden_windows
from holter_host.conversion.options import (
    DEFAULT_RATE_HZ,
    DEFAULT_UNIT,
    OPTIONS_NAME,
    ConversionOptions,
    Quantize,
)
from holter_host.conversion.resolve import InputPlan

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done.

    Attributes:
        model: the SavedModel's directory, or the .tflite.
        default_name: the model's name where the options give none.
        options: what the user said.
        output: the model file to write.
        tell: is given a short sentence when a new stage begins.
        here: is filled with what is true of this machine only, and so not stored.
    """

    model: Path
    default_name: str
    options: ConversionOptions
    output: Path
    tell: Callable[[str], None]
    here: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def kind(self) -> Quantize:
        """How the model is to be quantised."""
        return self.options.quantize or "none"

    def source_bytes(self) -> int:
        """Size of what is converted; model.toml is not part of it."""
        if self.model.is_file():
            return self.model.stat().st_size
        files = (path for path in self.model.rglob("*") if path.name != OPTIONS_NAME)
        return sum(path.stat().st_size for path in files if path.is_file())

    def windows(self, plan: InputPlan) -> Array:
        """The golden windows for this model."""
        unit = self.options.unit or DEFAULT_UNIT
        rate_hz = self.options.rate_hz or DEFAULT_RATE_HZ
        return golden_windows(unit, rate_hz, plan.window, plan.channel_count)
