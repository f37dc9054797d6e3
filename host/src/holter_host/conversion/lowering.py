"""From a traced SavedModel to .tflite bytes with builtin ops only.

Why not simply `TFLiteConverter.from_saved_model`: it refuses the LSTM and GRU of Keras 3 (their
TensorLists have the free batch in their element shape), and it loses, without a word, the weights
of a Keras 3 model that was saved by `tf.saved_model.save`. Freezing first, with the control flow
kept, makes every weight a constant; then the list shapes can be set, and the WHILE loop that comes
out keeps no state between calls.

Imports TensorFlow, so only the conversion child imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from holter_host.conversion import unroll
from holter_host.conversion.options import Normalize
from holter_host.conversion.quantize import Quantizer
from holter_host.conversion.resolve import InputPlan
from holter_host.conversion.saved_model import Source

Route = tuple[str, Callable[[], bytes]]

# Which input of each op is the shape of a list's elements.
_ELEMENT_SHAPE: Final = {
    "EmptyTensorList": 0,
    "TensorListFromTensor": 1,
    "TensorListReserve": 0,
    "TensorListStack": 1,
}


def routes(
    source: Source, plan: InputPlan, normalize: Normalize, quantizer: Quantizer
) -> Iterator[Route]:
    """The ways to convert, by name, the best first; each is to be tried where the last failed.

    The second, TensorFlow's own, takes what cannot be frozen (lookup tables, assigned state), but
    adds nothing to the graph, so it is offered only where there is nothing to add.

    Args:
        source: what is converted.
        plan: how a window goes in.
        normalize: what the graph does with a window first.
        quantizer: how the result is quantised.
    """
    yield "frozen", lambda: _from_frozen(source, plan, normalize, quantizer)
    has_loop = unroll.has_loop(source.function.graph.as_graph_def())
    if normalize == "none" and not (quantizer.needs_unrolled and has_loop):
        yield "from_saved_model", lambda: _from_saved_model(source, quantizer)


def _from_frozen(
    source: Source, plan: InputPlan, normalize: Normalize, quantizer: Quantizer
) -> bytes:
    traced = source.traced(plan, normalize)
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    graph = frozen.graph.as_graph_def()
    _set_list_shapes(graph)
    is_unrolled = quantizer.needs_unrolled and unroll.has_loop(graph)
    remade = unroll.unrolled if is_unrolled else _reimported
    function = remade(graph, frozen.inputs[0].name, frozen.outputs[0].name)
    spec = tf.TensorSpec(plan.shape, tf.float32, name=source.ends.input)

    def model(value: Any) -> Any:
        return {source.ends.output: function(value)}

    named = tf.function(model, input_signature=[spec]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([named], tf.Module())
    return _converted(converter, quantizer)


def _from_saved_model(source: Source, quantizer: Quantizer) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(source.path), signature_keys=[source.ends.signature]
    )
    return _converted(converter, quantizer)


def _converted(converter: Any, quantizer: Quantizer) -> bytes:
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return quantizer.convert(converter)


def _set_list_shapes(graph: Any) -> None:
    """Put batch 1 into each constant element shape [-1, n, …] of the main graph's TensorLists.

    The constant is copied for each op, for it may also serve as something else.
    """
    nodes = {node.name: node for node in graph.node}
    for node in list(nodes.values()):
        index = _ELEMENT_SHAPE.get(node.op)
        if index is None:
            continue
        constant = nodes.get(node.input[index].split(":")[0])
        if constant is None or constant.op != "Const":
            continue
        shape = tf.make_ndarray(constant.attr["value"].tensor).copy()
        if shape.ndim != 1 or not shape.size or shape[0] != -1:
            continue
        shape[0] = 1
        fixed = graph.node.add()
        fixed.CopyFrom(constant)
        fixed.name = f"{node.name}/batch_1_shape_{index}"
        fixed.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(shape))
        node.input[index] = fixed.name


def _reimported(graph: Any, input_name: str, output_name: str) -> Any:
    def body() -> None:
        tf.graph_util.import_graph_def(graph, name="")

    wrapped = tf.compat.v1.wrap_function(body, [])
    tensor = wrapped.graph.get_tensor_by_name
    return wrapped.prune(tensor(input_name), tensor(output_name))
