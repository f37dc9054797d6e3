"""Reads a SavedModel in TensorFlow: one signature of it, what goes in and what comes out.

Imports TensorFlow, so only the conversion child imports this module.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.tools.saved_model_utils import get_saved_model_tag_sets

from holter_host.conversion import keras_file, tf1
from holter_host.conversion.normalize import MIN_DEVIATION, MIN_RANGE, SCOPE, normalized
from holter_host.conversion.options import (
    DEFAULT_SIGNATURE,
    ConversionOptions,
    Normalize,
    affine_factors,
)
from holter_host.conversion.precision import other_precisions
from holter_host.conversion.resolve import Ends, InputPlan, Shape, choose, one_input
from holter_host.conversion.values import (
    as_probabilities,
    as_scores,
    as_whole_numbers,
    check_input_type,
)
from holter_host.errors import BadInputError

_OWNER: Final = "The SavedModel"
_BATCH: Final = 64
_FEW: Final = 16


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One signature of a loaded SavedModel.

    Attributes:
        path: the SavedModel's directory.
        tags: of the graph that was loaded.
        ends: names of the signature, its input, and the output that gives the scores.
        input_dtype: its TensorFlow type.
        input_shape: None for a free axis; None where even the rank is free.
        softmax: whether its output is made probabilities.
        function: the signature, to be called with the input by name.
        owner: what keeps the signature's variables, and a temporary directory, alive.
        written_by: version of the TensorFlow that wrote it, "" where it does not say.
        computes_in: the types besides float32 that it computes in.
    """

    path: Path
    tags: tuple[str, ...]
    ends: Ends
    input_dtype: Any
    input_shape: Shape | None
    softmax: bool
    function: Any
    owner: Any
    written_by: str
    computes_in: frozenset[str]

    def facts(self) -> dict[str, Any]:
        """What report.json says of the SavedModel."""
        names = dataclasses.asdict(self.ends)
        return {
            "saved_model": {**names, "tensorflow_version": self.written_by},
            "computes_in": sorted(self.computes_in),
            "softmax": self.softmax,
        }

    def takes_as_it_is(self, plan: InputPlan, normalize: Normalize) -> bool:
        """Whether nothing is put around the signature, and no axis but the batch is fixed."""
        is_bare = normalize == "none" and not self.softmax and self.input_dtype == tf.float32
        return is_bare and self.input_shape is not None and self.input_shape[1:] == plan.shape[1:]

    def scores(
        self, windows: npt.NDArray[np.float32], plan: InputPlan, normalize: Normalize
    ) -> npt.NDArray[np.float32]:
        """What the SavedModel itself gives, outside of any converted graph.

        What Holter puts around it is done here by its NumPy definition.

        Args:
            windows: float32, shape (count, window, channel_count), in the model's unit.
            plan: how a window goes in.
            normalize: applied first.

        Returns:
            float32, shape (count, label_count).

        Raises:
            BadInputError: the output is not one row of floating-point scores, a window does not fit
                an input of whole numbers, or scores to make probabilities of are such already.
        """
        values = normalized(windows, normalize)
        if self.input_dtype.is_integer:
            values = as_whole_numbers(values, self.input_dtype.as_numpy_dtype, self.ends.input)
        fed = np.concatenate([plan.feed(window) for window in values])
        rows = self._in_batches(fed) if len(fed) > _FEW else None
        if rows is None:
            rows = [self._output(fed[n : n + 1]) for n in range(len(fed))]
        scores = np.stack([as_scores(row) for row in rows])
        return as_probabilities(scores) if self.softmax else scores

    def _output(self, fed: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        value = tf.cast(tf.constant(fed), self.input_dtype)
        output = self.function(**{self.ends.input: value})[self.ends.output]
        return np.asarray(output.numpy())

    def _in_batches(self, fed: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]] | None:
        """The output of each window, computed many at once, which is many times faster for an LSTM.

        None where the model takes one window at a time, or one's output depends on the others.
        """
        if self.input_shape is None or self.input_shape[0] is not None:
            return None
        alone = self._output(fed[:1])
        rows: list[npt.NDArray[Any]] = []
        try:
            for start in range(0, len(fed), _BATCH):
                part = fed[start : start + _BATCH]
                rows += np.split(self._output(part), len(part))
        except (ValueError, tf.errors.OpError):  # a batch of 1 stands in the graph
            return None
        is_same = rows[0].shape == alone.shape and np.allclose(rows[0], alone, atol=1e-5)
        return rows if is_same else None

    def traced(self, plan: InputPlan, normalize: Normalize) -> Any:
        """One concrete function of fixed shape: normalisation, the signature, the softmax.

        It takes float32 of shape `plan.shape` under the signature's own input name and gives the
        chosen output alone, under its own name.
        """
        spec = tf.TensorSpec(plan.shape, tf.float32, name=self.ends.input)
        call = self._call()

        def model(value: Any) -> Any:
            with tf.name_scope(SCOPE):
                value = normalized_graph(value, plan, normalize)
                value = _typed(value, self.input_dtype)
            scores = call(value)
            return {self.ends.output: tf.nn.softmax(scores) if self.softmax else scores}

        return tf.function(model, input_signature=[spec]).get_concrete_function()

    def _call(self) -> Any:
        """The signature as a function of its input that gives its output."""
        if tf1.is_tf1(self.function):
            return tf1.frozen_function(self.path, self.tags, self.ends)
        return lambda value: self.function(**{self.ends.input: value})[self.ends.output]


def load(path: Path, options: ConversionOptions) -> Source:
    """Load a SavedModel, or a .keras file, and choose its signature, input and output.

    Raises:
        BadInputError: no signature, input or output can be chosen, the input holds no numbers, or
            Keras cannot load the file.
        Exception: TensorFlow's own, where it cannot load it; `failures` says what it means.
    """
    exported = None
    if path.is_file():
        exported = tempfile.TemporaryDirectory(prefix="holter-convert-")
        keras_file.export(path, Path(exported.name))
        path = Path(exported.name)
    tags = _tags(path)
    loaded = tf.saved_model.load(str(path), tags=list(tags) or None)
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
    if spec.dtype.is_integer:
        check_input_type(spec.dtype.name, input_name, options)
    output = choose("output", function.structured_outputs, options.output, _OWNER)
    return Source(
        path=path,
        tags=tags,
        ends=Ends(input=input_name, output=output, signature=name),
        input_dtype=spec.dtype,
        input_shape=None if spec.shape.rank is None else tuple(spec.shape.as_list()),
        softmax=bool(options.softmax),
        function=function,
        owner=(loaded, exported),
        written_by=str(getattr(loaded, "tensorflow_version", "") or ""),
        computes_in=other_precisions(function.graph.as_graph_def()),
    )


def _tags(path: Path) -> tuple[str, ...]:
    """Those of the graph to load: of the only one, else of the one for serving.

    Raises:
        BadInputError: it has several graphs, and none is tagged "serve" alone.
    """
    sets = [sorted(tags) for tags in get_saved_model_tag_sets(str(path))]
    if len(sets) > 1 and ["serve"] not in sets:
        listed = "; ".join(" ".join(tags) for tags in sets)
        raise BadInputError(
            f"{path} holds {len(sets)} graphs (tags: {listed}) and none is tagged serve; export "
            "the one for inference alone."
        )
    return tuple(["serve"] if ["serve"] in sets else sets[0] if sets else [])


def _typed(value: Any, dtype: Any) -> Any:
    """A float32 tensor as the signature takes it; whole numbers are rounded and kept in range."""
    if dtype.is_integer:
        most = np.float32(dtype.max)
        if int(most) > dtype.max:  # 2**31 - 1 is no float32, and a larger one would overflow
            most = np.nextafter(most, np.float32(0))
        # tf.saturate_cast would do it, by an op that TensorFlow Lite lacks.
        value = tf.minimum(tf.maximum(tf.round(value), float(dtype.min)), most)
    return tf.cast(value, dtype)


def normalized_graph(value: Any, plan: InputPlan, kind: Normalize) -> Any:
    """The graph of `holter_host.conversion.normalize`, for a tensor of shape `plan.shape`."""
    if kind == "none":
        return value
    factors = affine_factors(kind)
    if factors is not None:
        return value * factors[0] + factors[1]
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
