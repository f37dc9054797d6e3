"""Freezes a traced SavedModel: every weight a constant, every shape of the window's batch fixed.

Imports TensorFlow, so only the conversion child imports this module.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from holter_host.conversion.failures import FinalError
from holter_host.conversion.graphs import name_by_content, name_captures
from holter_host.conversion.precision import make_single, other_precisions

# Which input of each op is the shape of a list's elements.
_ELEMENT_SHAPE: Final = {
    "EmptyTensorList": 0,
    "TensorListFromTensor": 1,
    "TensorListReserve": 0,
    "TensorListStack": 1,
}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """A GraphDef without variables, its calls inlined, its loops kept.

    Attributes:
        graph: the GraphDef.
        input: name of the tensor that takes a window.
        output: name of the tensor that gives the scores.
    """

    graph: Any
    input: str
    output: str


def frozen(traced: Any) -> Frozen:
    """Freeze a concrete function of one input and one output, batch 1.

    Raises:
        FinalError: its scores depend on what it keeps from call to call.
        Exception: TensorFlow's own, where something in it cannot be frozen.
    """
    # The control flow is kept, for TensorFlow Lite has WHILE and not Enter, Merge and Exit. All
    # calls are inlined: the signature of a TensorFlow 1 SavedModel else stays a function, in which
    # the list shapes could not be set.
    constant = convert_to_constants.convert_variables_to_constants_v2(
        _pruned(traced), lower_control_flow=False, aggressive_inlining=True
    )
    graph = constant.graph.as_graph_def()
    name_captures(graph)
    _set_list_shapes(graph)
    if other_precisions(graph):
        make_single(graph)
    return Frozen(graph, constant.inputs[0].name, constant.outputs[0].name)


def imported(graph: Any, input_name: str, output_name: str) -> Any:
    """A function of one tensor of a GraphDef that gives another, pruned to what that needs."""
    return _imported(graph, input_name, output_name, variables=(), captures=())


def _imported(graph: Any, input_name: str, output_name: str, variables: Any, captures: Any) -> Any:
    name_by_content(graph)

    def body() -> None:
        here = tf.compat.v1.get_default_graph()
        for variable in variables:
            here.watch_variable(variable)
        outer = {inner.name: here.capture(value) for value, inner in captures}
        tf.graph_util.import_graph_def(graph, name="", input_map=outer)

    wrapped = tf.compat.v1.wrap_function(body, [])
    tensor = wrapped.graph.get_tensor_by_name
    return wrapped.prune(tensor(input_name), tensor(output_name))


def _pruned(traced: Any) -> Any:
    """The same function of what its output's value needs alone.

    What goes is bound to the output by its order at most: assignments (Keras 3 counts the seed of a
    layer's dropout), tf.print, assertions, a lookup table of another output.

    Raises:
        FinalError: the output depends on what is assigned.
    """
    graph = convert_to_constants._run_inline_graph_optimization(traced, False, True)
    nodes = {node.name: node for node in graph.node}
    assigned = {_variable(nodes, node.input[0]) for node in nodes.values() if _is_assignment(node)}
    needed = _needed(nodes, traced.inputs[0].name, traced.outputs[0].name)
    if any(_variable(nodes, n.input[0]) in assigned for n in needed if n.op == "ReadVariableOp"):
        raise FinalError(
            "The model keeps state from window to window (a stateful layer, or the seed of a "
            "dropout that stays on), and a device gives each window a fresh start; export it "
            "without."
        )
    del graph.node[:]
    for node in needed:
        kept = graph.node.add()
        kept.CopyFrom(node)
        kept.input[:] = [name for name in node.input if not name.startswith("^")]
        kept.attr.pop("_class", None)  # it may name a node that is gone
    names = {node.name for node in needed}
    return _imported(
        graph,
        traced.inputs[0].name,
        traced.outputs[0].name,
        variables=traced.graph.variables,
        captures=[pair for pair in traced.graph.captures if pair[1].op.name in names],
    )


def _is_assignment(node: Any) -> bool:
    return bool(node.op.startswith("Assign"))


def _variable(nodes: dict[str, Any], name: str) -> str:
    """The node that a handle comes from."""
    node = nodes[name.split(":")[0]]
    return _variable(nodes, node.input[0]) if node.op == "Identity" else str(node.name)


def _needed(nodes: dict[str, Any], *tensors: str) -> list[Any]:
    """The nodes that the values of tensors depend on, by data alone."""
    waiting, found = [name.split(":")[0] for name in tensors], dict[str, Any]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = nodes[name]
            inputs = (text for text in nodes[name].input if not text.startswith("^"))
            waiting += [text.split(":")[0] for text in inputs]
    return list(found.values())


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
