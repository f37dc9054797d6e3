"""What a user may say of a model: the keys of model.toml, which are also the command's flags.

Every key may be left out; what is left out is read from the model or has a default:

    name          the SavedModel's directory, or the one above it
    version       1
    rate_hz       360
    window        the input's shape (must be said where the time axis is free)
    hop           the window: no overlap
    channels      the device's first channel
    unit          millivolts
    normalize     none
    quantize      none
    int8_edges    false
    representative, evaluate   synthetic ECG (paths; from a model.toml, relative to it)
    max_label_flips            0.01
    labels        class_0, class_1, …
    signature     serving_default, or the only one
    input, output the only one
    input_shape   the input's shape with batch 1 and the free axis taken from the window
    layout        channels_last, unless the shape says otherwise
    score_kind    probabilities where all golden scores lie in 0 to 1, else logits
    softmax       false
    select_tf_ops false
    tolerance     1e-3, quantised 0.05, each of the greatest score where scores exceed 1
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeGuard, get_args

from holter.spec import Layout, ModelSpec, ScoreKind, SpecError, Unit
from holter_host.errors import BadInputError

# One of NORMALIZATIONS, with numbers for A and B.
Normalize = str
Quantize = Literal["none", "float16", "dynamic", "int8"]
_PLAIN_NORMALIZATIONS: Final = ("none", "zscore", "minmax")
NORMALIZATIONS: Final = (*_PLAIN_NORMALIZATIONS, "affine:A,B")
QUANTIZATIONS: Final[tuple[Quantize, ...]] = get_args(Quantize)
OPTIONS_NAME: Final = "model.toml"
DEFAULT_RATE_HZ: Final = 360.0
DEFAULT_SIGNATURE: Final = "serving_default"
DEFAULT_UNIT: Final[Unit] = "millivolts"
DEFAULT_MAX_LABEL_FLIPS: Final = 0.01
_SPEC_KEYS: Final = frozenset(field.name for field in dataclasses.fields(ModelSpec))
_PATH_KEYS: Final = ("representative", "evaluate")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConversionOptions:
    """What the user said of a model; None where nothing was said. The module lists the defaults.

    Attributes:
        normalize: what the graph does with a window, in the model's unit, before the SavedModel.
        softmax: whether the graph turns the SavedModel's scores into probabilities.
        select_tf_ops: whether ops that only TensorFlow has may be left in the result, which then
            runs in no light runtime.
        quantize: how the weights, and with "int8" the values between them, are stored.
        int8_edges: whether an int8 model takes and gives int8 too, by scales in the .tflite.
        representative: recordings, directories of them, or windows that int8 is calibrated on.
        evaluate: the same, on which the result is held against the SavedModel.
        max_label_flips: greatest share of the evaluated windows, 0 to 1, whose label a
            quantisation may change.
        (all others): as in `holter.spec.ModelSpec`; `input`, `output` and `signature` are the
            names in the SavedModel.

    Raises:
        BadInputError: a value is of the wrong type or out of range.
    """

    name: str | None = None
    version: int | None = None
    rate_hz: float | None = None
    window: int | None = None
    hop: int | None = None
    channels: tuple[str, ...] | None = None
    unit: Unit | None = None
    normalize: Normalize | None = None
    quantize: Quantize | None = None
    int8_edges: bool | None = None
    representative: tuple[str, ...] | None = None
    evaluate: tuple[str, ...] | None = None
    max_label_flips: float | None = None
    labels: tuple[str, ...] | None = None
    signature: str | None = None
    input: str | None = None
    output: str | None = None
    input_shape: tuple[int, ...] | None = None
    layout: Layout | None = None
    score_kind: ScoreKind | None = None
    softmax: bool | None = None
    select_tf_ops: bool | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        """Check each value that was given by the rules of `ModelSpec`."""
        if self.normalize is not None:
            affine_factors(self.normalize)
        for key in ("softmax", "select_tf_ops", "int8_edges"):
            if not isinstance(getattr(self, key), bool | None):
                raise BadInputError(f"{key} is {getattr(self, key)!r}, not true or false.")
        if self.softmax and self.score_kind == "logits":
            raise BadInputError("softmax makes probabilities; leave out score_kind = logits.")
        if self.quantize is not None and self.quantize not in QUANTIZATIONS:
            raise BadInputError(
                f"quantize is {self.quantize!r}, not one of {', '.join(QUANTIZATIONS)}."
            )
        for key in _PATH_KEYS:
            _check_paths(key, getattr(self, key))
        flips = self.max_label_flips
        if flips is not None and not (_is_number(flips) and 0 <= flips <= 1):
            raise BadInputError(f"max_label_flips is {flips!r}, not a share from 0 to 1.")
        try:
            ModelSpec(**{**self._stand_ins(), **self.spec_values()})
        except SpecError as error:
            raise BadInputError(f"{error}.") from error

    def _stand_ins(self) -> dict[str, Any]:
        """Values that agree with what was said, for the keys of a spec that were not."""
        channel_count = max(1, len(self.channels)) if isinstance(self.channels, tuple) else 1
        window = self.window
        if window is None and _is_shape(self.input_shape):
            window = math.prod(self.input_shape) // channel_count
        elif window is None:
            window = self.hop if isinstance(self.hop, int) and self.hop > 0 else 1
        values = window * channel_count if isinstance(window, int) else 1
        names = dict.fromkeys(("name", "input", "output"), "-")
        sizes = {"window": window, "hop": 1, "input_shape": (1, values)}
        others = {"labels": ("-",), "rate_hz": DEFAULT_RATE_HZ, "unit": DEFAULT_UNIT}
        return {**names, **sizes, **others}

    def given(self) -> dict[str, Any]:
        """The values that were said, by key."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {key: value for key, value in values.items() if value is not None}

    def spec_values(self) -> dict[str, Any]:
        """Those of `given` that stand in the spec; the others say how the model is made."""
        return {key: value for key, value in self.given().items() if key in _SPEC_KEYS}

    def over(self, other: ConversionOptions) -> ConversionOptions:
        """These options, and those of `other` where nothing was said."""
        values: dict[str, Any] = {**other.given(), **self.given()}
        return ConversionOptions(**values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ConversionOptions:
        """Make options from their keys, lists for tuples.

        Raises:
            BadInputError: an unknown key, or a bad value.
        """
        keys = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in keys:
                raise BadInputError(f"unknown key {key!r}; the keys are {', '.join(keys)}.")
        taken: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**taken)

    @classmethod
    def from_toml(cls, path: Path) -> ConversionOptions:
        """Read a model.toml.

        Raises:
            BadInputError: it cannot be read, is not TOML, has an unknown key or a bad value.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInputError(f"Cannot read {path}: {error.strerror or error}.") from error
        except ValueError as error:
            raise BadInputError(f"{path} is not TOML: {error}.") from error
        for key in _PATH_KEYS:
            if isinstance(values.get(key), list):
                values[key] = [_beside(path, name) for name in values[key]]
        try:
            return cls.from_dict(values)
        except BadInputError as error:
            raise BadInputError(f"{path}: {error}") from error


def find_options(model: Path) -> Path | None:
    """The model.toml of a model: inside it where it is a directory, else beside it, else None."""
    places = [model, model.absolute().parent] if model.is_dir() else [model.absolute().parent]
    return next((p / OPTIONS_NAME for p in places if (p / OPTIONS_NAME).is_file()), None)


def affine_factors(normalize: object) -> tuple[float, float] | None:
    """A and B of the normalisation "affine:A,B", x * A + B; None for another of NORMALIZATIONS.

    Raises:
        BadInputError: it is none of them, or A or B is no finite number, or A is 0.
    """
    if normalize in _PLAIN_NORMALIZATIONS:
        return None
    kind, _, numbers = str(normalize).partition(":")
    if kind == "affine":
        try:
            scale, offset = (float(text) for text in numbers.split(","))
        except ValueError:
            scale = math.nan
        if scale and math.isfinite(scale) and math.isfinite(offset):
            return scale, offset
        raise BadInputError(
            f"normalize is {normalize!r}, not affine:A,B with two numbers, A not 0, as in "
            "affine:0.01,-1.28 for x * 0.01 - 1.28."
        )
    raise BadInputError(f"normalize is {normalize!r}, not one of {', '.join(NORMALIZATIONS)}.")


def _check_paths(key: str, value: object) -> None:
    is_list = isinstance(value, tuple) and all(isinstance(path, str) and path for path in value)
    if value is not None and (not value or not is_list):
        raise BadInputError(f"{key} is {value!r}, not a list of paths.")


def _beside(path: Path, name: object) -> object:
    """A path that stands in the file `path`, seen from here."""
    return str(path.parent / name) if isinstance(name, str) else name


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_shape(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and bool(value) and all(isinstance(n, int) for n in value)
