"""What a model file says of itself: `holter/spec.json`, version 1.

A Holter model is one .tflite file with a zip archive appended. The archive holds
`holter/spec.json` (this module), `holter/golden.npz` (windows and the scores that the SavedModel
gave them), `holter/report.json` (how it was converted) and `labels.txt`. Host and device both read
the spec through this module, so that neither can drift from the other.

Errors:
    SpecError (a ValueError): the spec is not JSON, misses a key, has an unknown one, or a value is
    out of range. `key` names the key.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Final, Literal, cast, get_args

SPEC_PATH: Final = "holter/spec.json"
GOLDEN_PATH: Final = "holter/golden.npz"
REPORT_PATH: Final = "holter/report.json"
LABELS_PATH: Final = "labels.txt"

SPEC_VERSION: Final = 1

Unit = Literal["counts", "volts", "millivolts"]
ScoreKind = Literal["probabilities", "logits"]
Layout = Literal["channels_last", "channels_first"]
Ops = Literal["builtin", "select_tf"]

UNITS: Final = cast("tuple[Unit, ...]", get_args(Unit))
SCORE_KINDS: Final = cast("tuple[ScoreKind, ...]", get_args(ScoreKind))
LAYOUTS: Final = cast("tuple[Layout, ...]", get_args(Layout))
OPS: Final = cast("tuple[Ops, ...]", get_args(Ops))

# Keys that came after version 1 was first read: written only where they say something, so that an
# older holterd, which refuses a key that it does not know, reads every model that it can run.
_LATER: Final = ("ops",)


class SpecError(ValueError):
    """Error raised when a model's spec cannot be read or says what no model can be.

    Attributes:
        key: the key of spec.json that is wrong, or "" when the whole text is.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What a device must know to feed a model and to name its scores.

    Attributes:
        name: the model's name, for people; 1 to 100 characters. Texts here are printable.
        version: the model's own version, 0 or more.
        rate_hz: sampling rate of the window, in frames a second.
        window: frames in a window, 1 or more.
        hop: frames from one window's start to the next one's, 1 to `window`.
        channels: names of the device's channels that are fed, in this order; empty means its first.
        unit: what the values are: raw counts, volts at the converter, or ECG millivolts.
        labels: one name for each score, in the output's order.
        input: name of the input tensor in the chosen signature.
        output: name of the output tensor in the chosen signature.
        signature: name of the signature in the .tflite; "" where it has none.
        input_shape: the whole shape of the input, batch included, e.g. (1, 3600, 1).
        layout: whether the values of a frame lie side by side ("channels_last") or those of a
            channel ("channels_first"); alike for one channel.
        score_kind: what the scores are.
        tolerance: greatest absolute difference from the golden scores that a device may show.
        ops: "builtin", or "select_tf" where some are TensorFlow's own, which no light runtime runs.
    """

    name: str
    version: int = 1
    rate_hz: float
    window: int
    hop: int
    channels: tuple[str, ...] = ()
    unit: Unit
    labels: tuple[str, ...]
    input: str
    output: str
    signature: str = ""
    input_shape: tuple[int, ...]
    layout: Layout = "channels_last"
    score_kind: ScoreKind = "probabilities"
    tolerance: float = 1e-3
    ops: Ops = "builtin"

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SpecError: a value is of the wrong type or out of range; `key` says which.
        """
        _text(self.name, "name", 1, 100)
        _whole(self.version, "version", 0)
        _positive(self.rate_hz, "rate_hz")
        _whole(self.window, "window", 1)
        _whole(self.hop, "hop", 1)
        if self.hop > self.window:
            raise SpecError(f"hop is {self.hop}, more than the window of {self.window}", "hop")
        _names(self.channels, "channels", 0)
        _one_of(self.unit, UNITS, "unit")
        _names(self.labels, "labels", 1)
        _text(self.input, "input", 1, 1000)
        _text(self.output, "output", 1, 1000)
        _text(self.signature, "signature", 0, 1000)
        self._check_shape()
        _one_of(self.layout, LAYOUTS, "layout")
        _one_of(self.score_kind, SCORE_KINDS, "score_kind")
        _positive(self.tolerance, "tolerance")
        _one_of(self.ops, OPS, "ops")

    @property
    def channel_count(self) -> int:
        """Number of channels in a window: 1 where `channels` leaves it to the device."""
        return max(1, len(self.channels))

    def to_json(self) -> str:
        """The text of spec.json, in the order of this class; a later key only where it is said."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _LATER or getattr(self, field.name) != field.default
        }
        return json.dumps({"spec_version": SPEC_VERSION, **values}, indent=2)

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelSpec:
        """Read spec.json.

        Raises:
            SpecError: it is not JSON, not of this version, has an unknown key or misses one, or a
                value is out of range.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"spec.json is not JSON: {error}") from error
        if not isinstance(raw, dict):
            raise SpecError("spec.json is not a JSON object")
        version = raw.pop("spec_version", None)
        if version != SPEC_VERSION:
            raise SpecError(
                f"spec_version is {version!r}; this Holter reads version {SPEC_VERSION}",
                "spec_version",
            )
        return cls.from_dict(raw)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ModelSpec:
        """Make a spec from the keys of this class, lists for tuples.

        Raises:
            SpecError: as `from_json`.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key in raw:
            if key not in fields:
                raise SpecError(f"unknown key {key!r}; the keys are {', '.join(fields)}", key)
        for key, field in fields.items():
            if key not in raw and field.default is dataclasses.MISSING:
                raise SpecError(f"the key {key!r} is missing", key)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        return cls(**values)

    def _check_shape(self) -> None:
        shape = self.input_shape
        if not isinstance(shape, tuple) or not shape:
            raise SpecError("input_shape is not a list of whole numbers", "input_shape")
        for size in shape:
            _whole(size, "input_shape", 1)
        values = self.window * self.channel_count
        if math.prod(shape) != values or shape[0] != 1:
            raise SpecError(
                f"input_shape {list(shape)} does not hold one window of {self.window} frames of "
                f"{self.channel_count} channel(s): it must begin with 1 and have {values} values",
                "input_shape",
            )


def _text(value: object, key: str, least: int, most: int) -> None:
    # What cannot be printed could be half a character, which no message of gRPC takes, or a command
    # to the terminal that shows it.
    if not isinstance(value, str) or not least <= len(value) <= most or not value.isprintable():
        raise SpecError(
            f"{key} is {value!r}, not a text of {least} to {most} printable characters", key
        )


def _whole(value: object, key: str, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**31:
        raise SpecError(f"{key} is {value!r}, not a whole number from {least}", key)


def _positive(value: object, key: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(cast("float", value)) or cast("float", value) <= 0:
        raise SpecError(f"{key} is {value!r}, not a number above 0", key)


def _one_of(value: object, choices: tuple[str, ...], key: str) -> None:
    if value not in choices:
        raise SpecError(f"{key} is {value!r}, not one of {', '.join(choices)}", key)


def _names(value: object, key: str, least: int) -> None:
    if not isinstance(value, tuple) or not least <= len(value) <= 1000:
        raise SpecError(f"{key} is {value!r}, not a list of {least} to 1000 names", key)
    for name in value:
        _text(name, key, 1, 100)
    if len(set(value)) != len(value):
        raise SpecError(f"{key} {list(value)} names one twice", key)
