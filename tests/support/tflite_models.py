"""Tiny Holter models for tests, written as flatbuffers by hand: no TensorFlow is needed.

The graphs use ai_edge_litert's schema, which needs no runtime. A `Graph` collects tensors and
operators; the functions below make whole graphs of known behaviour; `holter_model` appends spec
and golden windows. All take one window of `window` frames of one channel unless they say other.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from holter.spec import GOLDEN_PATH, LABELS_PATH, REPORT_PATH, SPEC_PATH, ModelSpec

WINDOW = 40
LABELS = ("N", "S", "V")
RATE_HZ = 360.0

Floats = npt.NDArray[np.float32]
_Op = schema.BuiltinOperator
_Options = schema.BuiltinOptions
_TYPES = {
    np.dtype("f4"): schema.TensorType.FLOAT32,
    np.dtype("i4"): schema.TensorType.INT32,
    np.dtype("i1"): schema.TensorType.INT8,
    np.dtype("?"): schema.TensorType.BOOL,
}


class Subgraph:
    """One subgraph that grows by tensors and operators."""

    def __init__(self, model: Graph) -> None:
        self._model = model
        self.table = schema.SubGraphT()
        self.table.tensors, self.table.operators = [], []
        self.table.inputs, self.table.outputs = [], []
        self.table.name = "main"

    def tensor(
        self, shape: Sequence[int], dtype: Any = "f4", name: str = "", variable: bool = False
    ) -> int:
        """A tensor that is computed, or fed; its index."""
        return self._add(shape, np.dtype(dtype), name, 0, variable)

    def constant(self, value: Any) -> int:
        """A tensor that holds an array, float32 unless it says other; its index."""
        array = np.asarray(value, dtype=None if isinstance(value, np.ndarray) else "f4")
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self._model.table.buffers.append(buffer)
        return self._add(array.shape, array.dtype, "", len(self._model.table.buffers) - 1, False)

    def operator(
        self,
        code: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        *,
        version: int = 1,
        custom: str = "",
    ) -> None:
        """Append an operator."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._model.opcode(code, version, custom)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(_Options, name)
            operator.builtinOptions = options
        self.table.operators.append(operator)

    def _add(
        self, shape: Sequence[int], dtype: np.dtype[Any], name: str, buffer: int, variable: bool
    ) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type = list(shape), _TYPES[dtype]
        tensor.name = name or f"tensor_{len(self.table.tensors)}"
        tensor.buffer, tensor.isVariable = buffer, variable
        self.table.tensors.append(tensor)
        return len(self.table.tensors) - 1


class Graph:
    """A model that grows; its first subgraph is `main`."""

    def __init__(self) -> None:
        self.table = schema.ModelT()
        self.table.version = 3
        self.table.operatorCodes, self.table.subgraphs = [], []
        self.table.buffers = [schema.BufferT()]
        self.main = self.subgraph()

    def subgraph(self) -> Subgraph:
        """Append a subgraph."""
        subgraph = Subgraph(self)
        self.table.subgraphs.append(subgraph.table)
        return subgraph

    def opcode(self, code: int, version: int, custom: str) -> int:
        """Append an operator's code; its index."""
        table = schema.OperatorCodeT()
        table.builtinCode, table.deprecatedBuiltinCode = code, min(code, 127)
        table.version, table.customCode = version, custom or None
        self.table.operatorCodes.append(table)
        return len(self.table.operatorCodes) - 1

    def finish(self) -> bytes:
        """The .tflite file."""
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.table.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def linear(
    weights: Floats, bias: Floats, *, version: int = 1, input_shape: Sequence[int] = ()
) -> bytes:
    """Scores = weights @ window + bias; weights have shape (labels, values)."""
    graph = Graph()
    main = graph.main
    shape = tuple(input_shape) or (1, weights.shape[1], 1)
    source, target = main.tensor(shape, name="x"), main.tensor((1, len(weights)), name="y")
    parameters = main.constant(weights), main.constant(bias)
    code = _Op.FULLY_CONNECTED
    main.operator(
        code, [source, *parameters], [target], schema.FullyConnectedOptionsT(), version=version
    )
    main.table.inputs, main.table.outputs = [source], [target]
    return graph.finish()


def custom_op(name: str, window: int = WINDOW, labels: int = len(LABELS)) -> bytes:
    """One custom operator, such as Flex makes of what TensorFlow Lite does not have."""
    graph = Graph()
    main = graph.main
    source, target = main.tensor((1, window, 1), name="x"), main.tensor((1, labels), name="y")
    main.operator(_Op.CUSTOM, [source], [target], custom=name)
    main.table.inputs, main.table.outputs = [source], [target]
    return graph.finish()


def unknown_op(code: int, window: int = WINDOW, labels: int = len(LABELS)) -> bytes:
    """One built-in operator by a code that no runtime has."""
    graph = Graph()
    main = graph.main
    source, target = main.tensor((1, window, 1), name="x"), main.tensor((1, labels), name="y")
    main.operator(code, [source], [target])
    main.table.inputs, main.table.outputs = [source], [target]
    return graph.finish()


def wide(values: int, window: int = WINDOW, labels: int = len(LABELS)) -> bytes:
    """Scores are the first values; what is computed on the way has `values` values."""
    graph = Graph()
    main = graph.main
    source, target = main.tensor((1, window, 1), name="x"), main.tensor((1, labels), name="y")
    first, large = main.tensor((1, 1)), main.tensor((1, values))
    begin, size = main.constant(np.array([0, 0], "i4")), main.constant(np.array([1, labels], "i4"))
    one = main.constant(np.full((1, window), 1 / window, "f4"))
    options = schema.FullyConnectedOptionsT()
    main.operator(_Op.FULLY_CONNECTED, [source, one, main.constant([0.0])], [first], options)
    shape = main.constant(np.array([1, values], "i4"))
    main.operator(_Op.BROADCAST_TO, [first, shape], [large], version=2)
    main.operator(_Op.SLICE, [large, begin, size], [target], schema.SliceOptionsT())
    main.table.inputs, main.table.outputs = [source], [target]
    return graph.finish()


def integer_input(window: int = WINDOW, labels: int = len(LABELS)) -> bytes:
    """Takes int32, which no Holter model does."""
    graph = Graph()
    main = graph.main
    source = main.tensor((1, window, 1), "i4", name="x")
    middle, target = main.tensor((1, window, 1)), main.tensor((1, labels), name="y")
    main.operator(_Op.CAST, [source], [middle])
    parameters = main.constant(np.zeros((labels, window), "f4")), main.constant([0.0] * labels)
    options = schema.FullyConnectedOptionsT()
    main.operator(_Op.FULLY_CONNECTED, [middle, *parameters], [target], options)
    main.table.inputs, main.table.outputs = [source], [target]
    return graph.finish()


def int8_edges(scale: float, zero_point: int, window: int = WINDOW) -> bytes:
    """Takes and gives int8, q for (q - zero_point) * scale: its scores are the first values.

    The input has shape (1, window).
    """
    graph = Graph()
    main = graph.main
    labels = len(LABELS)
    source, target = main.tensor((1, window), "i1", "x"), main.tensor((1, labels), "i1", "y")
    for tensor in main.table.tensors:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
    begin, size = main.constant(np.array([0, 0], "i4")), main.constant(np.array([1, labels], "i4"))
    main.operator(_Op.SLICE, [source, begin, size], [target], schema.SliceOptionsT(), version=2)
    main.table.inputs, main.table.outputs = [source], [target]
    return graph.finish()


def recurrent(weights: Floats, recurrence: Floats) -> bytes:
    """Scores = weights @ window + recurrence @ state, which is then the scores; kept between runs.

    The input has shape (1, 1, values): one time step.
    """
    labels, values = weights.shape
    graph = Graph()
    main = graph.main
    source, target = main.tensor((1, 1, values), name="x"), main.tensor((1, 1, labels), name="y")
    parameters = [main.constant(weights), main.constant(recurrence), main.constant([0.0] * labels)]
    state = main.tensor((1, labels), name="state", variable=True)
    options = schema.SequenceRNNOptionsT()
    code = _Op.UNIDIRECTIONAL_SEQUENCE_RNN
    main.operator(code, [source, *parameters, state], [target], options)
    main.table.inputs, main.table.outputs = [source], [target]
    return graph.finish()


def endless_below_zero(window: int = WINDOW, labels: int = len(LABELS)) -> bytes:
    """Scores are the first value, for each label; if that is below 0 it never returns."""
    graph = Graph()
    main, condition, body = graph.main, graph.subgraph(), graph.subgraph()
    source = main.tensor((1, window, 1), name="x")
    pick = np.zeros((labels, window), "f4")
    pick[:, 0] = 1
    first, target = main.tensor((1, labels)), main.tensor((1, labels), name="y")
    parameters = main.constant(pick), main.constant([0.0] * labels)
    options = schema.FullyConnectedOptionsT()
    main.operator(_Op.FULLY_CONNECTED, [source, *parameters], [first], options)
    loop = schema.WhileOptionsT()
    loop.condSubgraphIndex, loop.bodySubgraphIndex = 1, 2
    main.operator(_Op.WHILE, [first], [target], loop)
    main.table.inputs, main.table.outputs = [source], [target]

    value = condition.tensor((1, labels))
    below, any_below = condition.tensor((1, labels), "?"), condition.tensor((), "?")
    condition.operator(_Op.LESS, [value, condition.constant(0.0)], [below], schema.LessOptionsT())
    axes = condition.constant(np.array([0, 1], "i4"))
    condition.operator(_Op.REDUCE_ANY, [below, axes], [any_below], schema.ReducerOptionsT())
    condition.table.inputs, condition.table.outputs = [value], [any_below]

    before, after = body.tensor((1, labels)), body.tensor((1, labels))
    body.operator(_Op.ADD, [before, body.constant(0.0)], [after], schema.AddOptionsT())
    body.table.inputs, body.table.outputs = [before], [after]
    return graph.finish()


def crashing(window: int = WINDOW) -> bytes:
    """A loop whose body is the graph itself: loading it never ends until the stack does."""
    graph = Graph()
    main, condition = graph.main, graph.subgraph()
    source, target = main.tensor((1, window, 1), name="x"), main.tensor((1, window, 1), name="y")
    loop = schema.WhileOptionsT()
    loop.condSubgraphIndex, loop.bodySubgraphIndex = 1, 0
    main.operator(_Op.WHILE, [source], [target], loop)
    main.table.inputs, main.table.outputs = [source], [target]
    value = condition.tensor((1, window, 1))
    condition.table.inputs = [value]
    condition.table.outputs = [condition.constant(np.array(True))]
    return graph.finish()


def cnn(widths: Sequence[int], kernel: int, window: int = 3600, labels: int = 3) -> bytes:
    """An untrained network of strided convolutions, a mean and a softmax, for benchmarks.

    Args:
        widths: channels of each convolution, each of which halves the length.
        kernel: frames that a convolution sees.
        window: frames of the input, shape (1, window, 1).
        labels: scores of the output.
    """
    rng = np.random.default_rng(3)
    graph = Graph()
    main = graph.main
    source, image = main.tensor((1, window, 1), name="x"), main.tensor((1, 1, window, 1))
    shape = main.constant(np.array([1, 1, window, 1], "i4"))
    main.operator(_Op.RESHAPE, [source, shape], [image], schema.ReshapeOptionsT())
    length, depth = window, 1
    for width in widths:
        length = -(-length // 2)
        kernels = rng.normal(0, (2 / (kernel * depth)) ** 0.5, (width, 1, kernel, depth))
        inputs = [image, main.constant(kernels.astype("f4")), main.constant([0.0] * width)]
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 2
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        image, depth = main.tensor((1, 1, length, width)), width
        main.operator(_Op.CONV_2D, inputs, [image], options)
    mean, logits = main.tensor((1, depth)), main.tensor((1, labels))
    axes = main.constant(np.array([1, 2], "i4"))
    main.operator(_Op.MEAN, [image, axes], [mean], schema.ReducerOptionsT())
    inputs = [mean, main.constant(rng.normal(0, 1, (labels, depth)).astype("f4"))]
    inputs.append(main.constant([0.0] * labels))
    main.operator(_Op.FULLY_CONNECTED, inputs, [logits], schema.FullyConnectedOptionsT())
    scores, softmax = main.tensor((1, labels), name="y"), schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    main.operator(_Op.SOFTMAX, [logits], [scores], softmax)
    main.table.inputs, main.table.outputs = [source], [scores]
    return graph.finish()


def averaging_weights(window: int = WINDOW, labels: int = len(LABELS), channels: int = 1) -> Floats:
    """Label k is k + 1 times the window's mean."""
    scale = np.arange(1, labels + 1)[:, None] / (window * channels)
    return np.broadcast_to(scale, (labels, window * channels)).astype("f4")


def make_spec(**changes: Any) -> ModelSpec:
    """The spec of `linear` with the default sizes, with changes."""
    spec = ModelSpec(
        name="averages",
        rate_hz=RATE_HZ,
        window=WINDOW,
        hop=WINDOW,
        unit="counts",
        labels=LABELS,
        input="x",
        output="y",
        input_shape=(1, WINDOW, 1),
        score_kind="logits",
    )
    return dataclasses.replace(spec, **changes)


def make_windows(spec: ModelSpec, count: int = 8) -> Floats:
    """Windows of values from 0 to 255, shape (count, window, channels)."""
    shape = (count, spec.window, spec.channel_count)
    return np.random.default_rng(7).integers(0, 256, shape).astype("f4")


def golden_bytes(windows: npt.NDArray[Any], scores: npt.NDArray[Any]) -> bytes:
    """golden.npz."""
    file = io.BytesIO()
    np.savez_compressed(file, windows=windows, scores=scores)
    return file.getvalue()


def append_members(tflite: bytes, members: dict[str, bytes | str]) -> bytes:
    """The .tflite with a zip of these behind it."""
    file = io.BytesIO()
    file.write(tflite)
    with zipfile.ZipFile(file, "a") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def holter_model(tflite: bytes, spec: ModelSpec, windows: Floats, scores: Floats) -> bytes:
    """A whole Holter model."""
    members: dict[str, bytes | str] = {
        SPEC_PATH: spec.to_json(),
        GOLDEN_PATH: golden_bytes(windows, scores.astype("f4")),
        REPORT_PATH: "{}",
        LABELS_PATH: "\n".join(spec.labels) + "\n",
    }
    return append_members(tflite, members)


def averaging_model(*, bias: Sequence[float] = (0.0, 0.0, 0.0), **changes: Any) -> bytes:
    """A good model: scores are 1, 2 and 3 times the window's mean, plus a bias."""
    spec = make_spec(**changes)
    weights = averaging_weights(spec.window, len(spec.labels), spec.channel_count)
    windows = make_windows(spec)
    scores = windows.reshape(len(windows), -1) @ weights.T + np.array(bias, "f4")
    tflite = linear(weights, np.array(bias, "f4"), input_shape=spec.input_shape)
    return holter_model(tflite, spec, windows, scores)


def overflowing_model() -> bytes:
    """A model that passes its golden windows, all zeros, and gives infinite scores on an ECG."""
    spec = make_spec(name="overflowing")
    windows = np.zeros((8, spec.window, 1), "f4")
    tflite = linear(np.full((3, spec.window), 3e38, "f4"), np.zeros(3, "f4"))
    return holter_model(tflite, spec, windows, np.zeros((8, 3), "f4"))


def endless_model() -> bytes:
    """A model that loads, and whose golden windows never end."""
    spec = make_spec()
    windows = make_windows(spec) - 300
    return holter_model(endless_below_zero(), spec, windows, np.zeros((8, 3), "f4"))
