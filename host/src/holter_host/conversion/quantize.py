"""How a TFLiteConverter quantises.

    none      nothing
    float16   weights as float16, made float32 again when the model is loaded
    dynamic   weights as int8, the values between ops float32
    int8      weights and values between ops int8; input and output float32, or int8 as well

Two things here were measured on ECG models (DESIGN.md):

- dynamic: weights of dense layers get one scale each, not one a row. TensorFlow 2.19 and later else
  write FULLY_CONNECTED version 12, which tflite-runtime 2.14 lacks; the accuracy is the same.
- int8: the normalisation that Holter puts into the graph and the head, which is the last weighted
  layer with all that comes after it, stay float32. Both are a handful of small ops: 8 bits of raw
  input before a z-score, and 8 bits of a probability that a head goes on computing with, cost most
  of what int8 costs. DIV stays float32 too: of int8 tflite-runtime 2.14 has no kernel.

Imports TensorFlow, so only the conversion child imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import flatbuffers
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from tensorflow.lite.python.convert import mlir_quantize

from holter_host.conversion import unroll
from holter_host.conversion.normalize import SCOPE
from holter_host.conversion.options import Quantize

_PROGRESS_EVERY: Final = 25
_OPERATOR: Final = schema.BuiltinOperator
_WEIGHTED: Final = frozenset(
    {
        _OPERATOR.CONV_2D,
        _OPERATOR.CONV_3D,
        _OPERATOR.DEPTHWISE_CONV_2D,
        _OPERATOR.TRANSPOSE_CONV,
        _OPERATOR.FULLY_CONNECTED,
        _OPERATOR.BATCH_MATMUL,
    }
)
# tflite-runtime 2.14 runs these in float32 alone, and no version of the op tells.
_UNQUANTIZED: Final = frozenset({_OPERATOR.DIV})


class Quantizer:
    """One way to quantise.

    Args:
        kind: which.
        inputs: for int8, what the ranges of values are measured on: the model's whole input, once
            for each window.
        tell: is given a sentence now and then while ranges are measured.
        edges: for int8, whether input and output are int8 too.

    Attributes:
        tell: as it was given.
        needs_unrolled: whether a loop in the graph must be written out first: TensorFlow's
            calibrator dies by a signal in one.
    """

    def __init__(
        self,
        kind: Quantize,
        inputs: Sequence[npt.NDArray[np.float32]] = (),
        tell: Callable[[str], None] = lambda text: None,
        edges: bool = False,
    ) -> None:
        self._kind = kind
        self._edges = tf.int8 if edges else tf.float32
        self._inputs = inputs
        self.tell = tell
        self.needs_unrolled = kind == "int8"

    def convert(self, converter: Any) -> bytes:
        """The .tflite of a TFLiteConverter whose ops are chosen already.

        Raises:
            Exception: TensorFlow's own.
        """
        if self._kind == "none":
            return bytes(converter.convert())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if self._kind == "float16":
            converter.target_spec.supported_types = [tf.float16]
        elif self._kind == "dynamic":
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        else:
            return self._int8(converter)
        return bytes(converter.convert())

    def _int8(self, converter: Any) -> bytes:
        converter.representative_dataset = self._calibration
        converter._experimental_calibrate_only = True
        calibrated = _renamed(bytes(converter.convert()))
        self.tell("Quantising")
        return bytes(
            mlir_quantize(
                calibrated,
                input_data_type=self._edges,
                output_data_type=self._edges,
                denylisted_nodes=float_ops(calibrated),
            )
        )

    def _calibration(self) -> Iterator[list[npt.NDArray[np.float32]]]:
        for index, value in enumerate(self._inputs):
            if index % _PROGRESS_EVERY == 0:
                self.tell(f"Calibrating: window {index + 1} of {len(self._inputs)}")
            yield [value]


def _renamed(tflite: bytes) -> bytes:
    """The same model, each tensor that was fused of several named by the first of them alone.

    An op is left in float32 by its name, and one with several (A;B) is not found by them.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite, 0))
    for graph in model.subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        for index, tensor in enumerate(graph.tensors):
            if b";" in tensor.name and index not in ends:
                tensor.name = tensor.name.split(b";")[0] + f"_{index}".encode()
    builder = flatbuffers.Builder(len(tflite))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def float_ops(tflite: bytes) -> list[str]:
    """Names of the ops that int8 leaves in float32, each named by its first output."""
    model = schema.Model.GetRootAs(tflite, 0)
    graph = model.Subgraphs(0)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    operators = [graph.Operators(index) for index in range(graph.OperatorsLength())]
    makers = {int(op.Outputs(i)): op for op in operators for i in range(op.OutputsLength())}
    names = {
        name
        for op in operators
        if f"{SCOPE}/" in (name := _name(graph, op))
        or _code(codes[op.OpcodeIndex()]) in _UNQUANTIZED
    }
    reached = [(int(graph.Outputs(index)), 0) for index in range(graph.OutputsLength())]
    seen: set[tuple[int, int]] = set()
    while reached:
        tensor, passed = reached.pop()
        if (tensor, passed) in seen or tensor not in makers:
            continue
        seen.add((tensor, passed))
        op = makers[tensor]
        if f"{unroll.SCOPE}/" in _name(graph, op):
            continue  # a step's state leads back through all steps and no weight
        passed += _code(codes[op.OpcodeIndex()]) in _WEIGHTED
        if passed < 2:
            names.add(_name(graph, op))
            reached += [(int(op.Inputs(index)), passed) for index in range(op.InputsLength())]
    return sorted(names)


def _name(graph: Any, op: Any) -> str:
    return str(graph.Tensors(op.Outputs(0)).Name().decode())


def _code(code: Any) -> int:
    return max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))
