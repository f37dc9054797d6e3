"""From what the model has and what the user said to one complete `ModelSpec`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from holter.spec import Layout, ModelSpec, SpecError
from holter_host.conversion.options import DEFAULT_RATE_HZ, DEFAULT_UNIT, ConversionOptions
from holter_host.errors import BadInputError

Shape = tuple[int | None, ...]
FLOAT_TOLERANCE: Final = 1e-3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InputPlan:
    """How a window goes into the model.

    Attributes:
        shape: the whole input, batch 1 included.
        window: frames in a window.
        channel_count: channels in a frame.
        layout: order of frames and channels in `shape`.
    """

    shape: tuple[int, ...]
    window: int
    channel_count: int
    layout: Layout

    def feed(self, window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One window of shape (window, channel_count) as the model's input of shape `shape`."""
        values = window if self.layout == "channels_last" else window.T
        return np.ascontiguousarray(values).reshape(self.shape)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Names of what goes in and comes out: of a tensor each, and of the signature ("" for none)."""

    input: str
    output: str
    signature: str


def plan_input(shape: Shape | None, options: ConversionOptions) -> InputPlan:
    """Fix every free axis of an input.

    Args:
        shape: as the model declares it, None for a free axis; None where even the rank is free.
        options: what the user said; window, channels, input_shape and layout are used.

    Raises:
        BadInputError: the shape holds no batch of one window, or more must be said to fix it.
    """
    channel_count = max(1, len(options.channels or ()))
    fixed = _fixed_shape(shape, options, channel_count)
    window = options.window
    if window is None:
        window, rest = divmod(math.prod(fixed), channel_count)
        if rest or (channel_count == 1 and sum(size > 1 for size in fixed) > 1):
            raise BadInputError(
                f"The model takes {list(fixed)}, which is not one window of "
                f"{_channels(channel_count)}; name the channels with --channels or give --window."
            )
    if window * channel_count != math.prod(fixed):
        raise BadInputError(
            f"The model takes {list(fixed)}, not windows of {window} frames of "
            f"{_channels(channel_count)}; correct --window or --channels."
        )
    layout = options.layout or _layout(fixed, window, channel_count)
    return InputPlan(shape=fixed, window=window, channel_count=channel_count, layout=layout)


def resolve_spec(
    options: ConversionOptions,
    plan: InputPlan,
    ends: Ends,
    scores: npt.NDArray[np.float32],
    default_name: str,
    tolerance: float = FLOAT_TOLERANCE,
) -> ModelSpec:
    """The complete spec of a model.

    Args:
        options: what the user said.
        plan: how a window goes in.
        ends: the names in the .tflite.
        scores: of the golden windows, shape (count, label_count).
        default_name: what it is called where the user did not say.
        tolerance: what a device may differ by where the user did not say.

    Raises:
        BadInputError: as many labels were named as the model has not, or hop exceeds the window.
    """
    count = scores.shape[1]
    labels = options.labels or tuple(f"class_{index}" for index in range(count))
    if len(labels) != count:
        raise BadInputError(
            f"The labels {', '.join(labels)} are {len(labels)}, but the model gives {count} "
            f"{'score' if count == 1 else 'scores'}; name as many with --labels."
        )
    values: dict[str, Any] = {
        "name": default_name,
        "rate_hz": DEFAULT_RATE_HZ,
        "hop": plan.window,
        "unit": DEFAULT_UNIT,
        "score_kind": "probabilities" if are_probabilities(scores) else "logits",
        "tolerance": tolerance,
        **options.spec_values(),
        **dataclasses.asdict(ends),
        "labels": labels,
        "window": plan.window,
        "input_shape": plan.shape,
        "layout": plan.layout,
    }
    values["rate_hz"] = float(values["rate_hz"])
    try:
        return ModelSpec(**values)
    except SpecError as error:
        raise BadInputError(f"{error}.") from error


def are_probabilities(scores: npt.NDArray[np.float32]) -> bool:
    """Whether all scores lie in 0 to 1, but for rounding."""
    return bool((scores >= -1e-6).all() and (scores <= 1 + 1e-6).all())


def choose(
    what: str, names: Collection[str], wanted: str | None, owner: str, default: str = ""
) -> str:
    """One of several names: the wanted one, else `default` if it is there, else the only one.

    Args:
        what: "signature", "input" or "output".
        names: those that there are.
        wanted: what the user said.
        owner: what has the names, as errors call it.
        default: taken where nothing was said.

    Raises:
        BadInputError: there is none, not the wanted one, or more than one.
    """
    listed = ", ".join(sorted(names))
    if not names:
        raise BadInputError(
            f"{owner} has no {what}; export it with Keras's model.export, or give "
            "tf.saved_model.save a function with an input_signature as signatures=."
        )
    if wanted is not None and wanted not in names:
        raise BadInputError(f"{owner} has no {what} {wanted!r}; it has {listed}.")
    if wanted is None and default not in names and len(names) > 1:
        raise BadInputError(
            f"{owner} has more than one {what}; choose one of {listed} with --{what}."
        )
    return wanted or (default if default in names else next(iter(names)))


def one_input(names: Collection[str]) -> None:
    """Refuse a model that takes more than one input.

    Raises:
        BadInputError: it does.
    """
    if len(names) > 1:
        raise BadInputError(
            f"The model takes {len(names)} inputs ({', '.join(sorted(names))}), but a device has "
            "one window to feed it; export a function of the window alone, the others constants in "
            "it."
        )


def _fixed_shape(
    shape: Shape | None, options: ConversionOptions, channel_count: int
) -> tuple[int, ...]:
    if shape is None and options.input_shape is None:
        raise BadInputError("The model's input has no rank; give input_shape in model.toml.")
    if options.input_shape is not None:
        fits = shape is None or (
            len(shape) == len(options.input_shape)
            and all(a in (None, b) for a, b in zip(shape, options.input_shape, strict=True))
        )
        if not fits:
            raise BadInputError(
                f"input_shape is {list(options.input_shape)}, but the model takes {_shown(shape)}."
            )
        return options.input_shape
    assert shape is not None
    if len(shape) < 2 or shape[0] not in (None, 1):
        raise BadInputError(
            f"The model takes {_shown(shape)}, not a batch of one window; export it with a free "
            "batch or a batch of 1 as the first axis."
        )
    return (1, *_fixed_axes(shape, options.window, channel_count))


def _fixed_axes(shape: Shape, window: int | None, channel_count: int) -> list[int]:
    axes = list(shape[1:])
    free = [index for index, size in enumerate(axes) if size is None]
    if len(free) > 1:
        raise BadInputError(
            f"The model takes {_shown(shape)}: more than one axis is free besides the batch; give "
            "input_shape in model.toml."
        )
    if free:
        if window is None:
            raise BadInputError(
                f"The model takes {_shown(shape)}: its time axis is free; say how many frames a "
                "window has with --window."
            )
        known = math.prod(size for size in axes if size is not None)
        axes[free[0]] = max(1, window * channel_count // max(1, known))
    return [size for size in axes if size is not None]


def _layout(shape: tuple[int, ...], window: int, channel_count: int) -> Layout:
    axes = [size for size in shape if size > 1]
    is_first = channel_count > 1 and axes == [channel_count, window] and channel_count != window
    return "channels_first" if is_first else "channels_last"


def _shown(shape: Shape | None) -> str:
    if shape is None:
        return "any rank"
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


def _channels(count: int) -> str:
    return f"{count} channel" if count == 1 else f"{count} channels"
