"""Reads a SavedModel in TensorFlow: one signature of it, what goes in and what comes out.

Imports TensorFlow, so only the conversion child imports this module.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from holter_host.conversion.normalize import MIN_DEVIATION, MIN_RANGE, SCOPE, normalized
from holter_host.conversion.options import DEFAULT_SIGNATURE, ConversionOptions, Normalize
from holter_host.conversion.resolve import Ends, InputPlan, Shape, as_scores, choose, one_input
from holter_host.errors import BadInputError

_OWNER: Final = "The SavedModel"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One signature of a loaded SavedModel.

    Attributes:
        path: the SavedModel's directory.
        ends: names of the signature, its input, and the output that gives the scores.
        input_dtype: its TensorFlow type.
        input_shape: None for a free axis; None where even the rank is free.
        function: the signature, to be called with the input by name.
        owner: what keeps the signature's variables alive.
        written_by: version of the TensorFlow that wrote it, "" where it does not say.
    """

    path: Path
    ends: Ends
    input_dtype: Any
    input_shape: Shape | None
    function: Any
    owner: Any
    written_by: str

    def facts(self) -> dict[str, Any]:
        """What report.json says of the SavedModel."""
        names = dataclasses.asdict(self.ends)
        return {"saved_model": {**names, "tensorflow_version": self.written_by}}

    def scores(
        self, windows: npt.NDArray[np.float32], plan: InputPlan, normalize: Normalize
    ) -> npt.NDArray[np.float32]:
        """What the SavedModel itself gives, outside of any converted graph.

        Args:
            windows: float32, shape (count, window, channel_count), in the model's unit.
            plan: how a window goes in.
            normalize: applied first, by its NumPy definition.

        Returns:
            float32, shape (count, label_count).

        Raises:
            BadInputError: the output is not one row of floating-point scores.
        """
        rows = []
        for window in normalized(windows, normalize):
            value = tf.cast(tf.constant(plan.feed(window)), self.input_dtype)
            rows.append(
                as_scores(self.function(**{self.ends.input: value})[self.ends.output].numpy())
            )
        return np.stack(rows)

    def traced(self, plan: InputPlan, normalize: Normalize) -> Any:
        """One concrete function of fixed shape: normalisation, then the signature.

        It takes float32 of shape `plan.shape` under the signature's own input name and gives the
        chosen output alone, under its own name.
        """
        spec = tf.TensorSpec(plan.shape, tf.float32, name=self.ends.input)

        def model(value: Any) -> Any:
            with tf.name_scope(SCOPE):
                value = _normalized(value, plan, normalize)
            value = tf.cast(value, self.input_dtype)
            return {self.ends.output: self.function(**{self.ends.input: value})[self.ends.output]}

        return tf.function(model, input_signature=[spec]).get_concrete_function()


def load(path: Path, options: ConversionOptions) -> Source:
    """Load a SavedModel and choose its signature, input and output.

    Raises:
        BadInputError: no signature, input or output can be chosen, or the input holds no numbers.
        Exception: TensorFlow's own, where it cannot load it; `failures` says what it means.
    """
    loaded = tf.saved_model.load(str(path))
    name = choose("signature", loaded.signatures, options.signature, _OWNER, DEFAULT_SIGNATURE)
    function = loaded.signatures[name]
    inputs = function.structured_input_signature[1]
    one_input(inputs)
    input_name = choose("input", inputs, options.input, _OWNER)
    spec = inputs[input_name]
    if not (spec.dtype.is_floating or spec.dtype.is_integer):
        raise BadInputError(
            f"The input {input_name} takes {spec.dtype.name}, not numbers; export the model with "
            "float32 windows as its input."
        )
    output = choose("output", function.structured_outputs, options.output, _OWNER)
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    written_by = str(getattr(loaded, "tensorflow_version", "") or "")
    ends = Ends(input=input_name, output=output, signature=name)
    return Source(path, ends, spec.dtype, shape, function, loaded, written_by)


def _normalized(value: Any, plan: InputPlan, kind: Normalize) -> Any:
    """The graph of `holter_host.conversion.normalize`, for a tensor of shape `plan.shape`."""
    if kind == "none":
        return value
    axis = 0 if plan.layout == "channels_last" else 1
    frames = [plan.window, plan.channel_count]
    x = tf.reshape(value, frames if axis == 0 else frames[::-1])
    x -= x[:1] if axis == 0 else x[:, :1]
    if kind == "zscore":
        x -= tf.reduce_mean(x, axis, keepdims=True)
        deviation = tf.sqrt(tf.reduce_mean(tf.square(x), axis, keepdims=True))
        x /= tf.maximum(deviation, MIN_DEVIATION)
    else:
        x -= tf.reduce_min(x, axis, keepdims=True)
        x /= tf.maximum(tf.reduce_max(x, axis, keepdims=True), MIN_RANGE)
    return tf.reshape(x, plan.shape)
