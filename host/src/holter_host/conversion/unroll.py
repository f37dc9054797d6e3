"""Unrolls the loops of a frozen graph: each step of an LSTM or GRU becomes ops of its own.

Why: full int8 needs the range of every value between two ops, and TensorFlow's calibrator dies by a
signal in a WHILE loop. A loop whose number of steps is fixed by the window can be written out.

The graph is run once by a small interpreter: what depends on constants alone (loop counters, shapes
and conditions) is computed at once, TensorLists become Python lists, and what depends on the window
is written into the function that is being traced.

Imports TensorFlow, so only the conversion child imports this module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.python.eager.context import context
from tensorflow.python.eager.execute import execute
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def
from tensorflow.python.framework.op_def_registry import get as op_definition

from holter_host.conversion.graphs import all_nodes
from holter_host.errors import ConversionError

# A converter takes minutes for more, and a device milliseconds for each thousand.
MAX_OPS: Final = 30_000
SCOPE: Final = "holter_unrolled"  # what the ops of a step are named by in the graph
_LOOPS: Final = ("While", "StatelessWhile")
_OLD_LOOPS: Final = ("Enter", "RefEnter")  # TensorFlow 1, before loops were functions
_CALLS: Final = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES: Final = ("If", "StatelessIf")


@dataclasses.dataclass(frozen=True, slots=True)
class _List:
    """A TensorList: its items, None for one that was never set."""

    items: tuple[Any, ...]


# What an edge of the graph carries: a NumPy array that is known, a tensor that depends on the
# window, or a list of such.
_Value = Any


def has_loop(graph: Any) -> bool:
    """Whether a GraphDef, or a function in it, has a loop."""
    return any(node.op in _LOOPS or node.op in _OLD_LOOPS for node in all_nodes(graph))


def unrolled(graph: Any, input_name: str, output_name: str) -> Callable[[Any], Any]:
    """A function of a frozen GraphDef's input that can be traced and has no loop.

    Calling it raises:
        ConversionError: the steps of a loop depend on the values of the window, or are too many, or
            are TensorFlow 1's.
    """

    def function(value: Any) -> Any:
        if any(node.op in _OLD_LOOPS for node in all_nodes(graph)):
            raise ConversionError(
                "A loop of the model is one of TensorFlow 1 (Enter, Exit), which cannot be "
                "unrolled, and int8 needs that; quantise with: dynamic."
            )
        interpreter = _Interpreter({f.signature.name: f for f in graph.library.function})
        (result,) = interpreter.run(graph, {input_name: value}, [output_name])
        return interpreter.symbolic(result)

    plain: Callable[[Any], Any] = tf.autograph.experimental.do_not_convert(function)
    return plain


class _Interpreter:
    """Runs GraphDefs while a tf.function is being traced."""

    def __init__(self, functions: dict[str, Any]) -> None:
        self._functions = functions
        self._graphs: dict[str, tuple[Any, list[str], list[str]]] = {}
        self._constants: dict[int, tuple[Any, Any]] = {}
        self._count = 0
        self._depth = 0

    def run(self, graph: Any, given: dict[str, _Value], wanted: Sequence[str]) -> list[_Value]:
        """The values of the tensors `wanted`, where those of `given` are fed."""
        values = {_full(name): value for name, value in given.items()}
        for node in _ordered(graph, [_full(name) for name in wanted]):
            if f"{node.name}:0" not in values:
                inputs = [values[_full(name)] for name in node.input if name[0] != "^"]
                for index, value in enumerate(self._outputs(node, inputs)):
                    values[f"{node.name}:{index}"] = value
        return [values[_full(name)] for name in wanted]

    def symbolic(self, value: _Value) -> Any:
        """A value as a tensor of the traced function; the same array is written once."""
        if isinstance(value, _List):
            raise ConversionError("A list leaves the loop of the model, so it cannot be unrolled.")
        if not isinstance(value, np.ndarray):
            return value
        if id(value) not in self._constants:
            self._constants[id(value)] = (tf.constant(value), value)
        return self._constants[id(value)][0]

    def _outputs(self, node: Any, inputs: list[_Value]) -> Sequence[_Value]:
        if node.op == "Const":
            return [tf.make_ndarray(node.attr["value"].tensor)]
        if node.op in ("Identity", "StopGradient", "PreventGradient"):
            return inputs
        if node.op == "IdentityN":
            return inputs
        if node.op in _LOOPS:
            return self._loop(node, inputs)
        if node.op in _CALLS:
            return self._call(node.attr["f"].func.name, inputs)
        if node.op in _BRANCHES:
            return self._branch(node, inputs)
        if "TensorList" in node.op:
            return [self._list_op(node, inputs)]
        if node.op == "Shape" and not isinstance(inputs[0], np.ndarray):
            shape = inputs[0].shape
            if shape.is_fully_defined():
                dtype = tf.as_dtype(node.attr["out_type"].type or tf.int32).as_numpy_dtype
                return [np.array(shape.as_list(), dtype)]
        return self._plain(node, inputs)

    def _plain(self, node: Any, inputs: list[_Value]) -> Sequence[_Value]:
        """One op: computed where all of its inputs are known, else written down."""
        if inputs and all(isinstance(value, np.ndarray) for value in inputs):
            return _computed(node, inputs)
        self._count += 1
        if self._count > MAX_OPS:
            raise ConversionError(
                f"Written out for int8, the loops of the model have over {MAX_OPS} operations; "
                "make fewer steps before the recurrent layer (stride or pooling), or quantise "
                "with: dynamic."
            )
        attributes = {k: v for k, v in node.attr.items() if not k.startswith("_")}
        # Short in a step: thousands of tensors are named by it, in every copy of the model.
        name = f"{SCOPE}/{node.op}" if self._depth else node.name
        graph = tf.compat.v1.get_default_graph()
        tensors = [self.symbolic(value) for value in inputs]
        return list(graph.create_op(node.op, tensors, attrs=attributes, name=name).outputs)

    def _loop(self, node: Any, values: list[_Value]) -> list[_Value]:
        condition, body = node.attr["cond"].func.name, node.attr["body"].func.name
        while True:
            (goes_on,) = self._call(condition, values)
            if not isinstance(goes_on, np.ndarray):
                raise ConversionError(
                    "A loop of the model ends by the values of the window, so it cannot be "
                    "unrolled, which int8 needs; quantise with: dynamic."
                )
            if not goes_on:
                return values
            self._depth += 1
            values = self._call(body, values)
            self._depth -= 1

    def _branch(self, node: Any, inputs: list[_Value]) -> list[_Value]:
        if not isinstance(inputs[0], np.ndarray):
            raise ConversionError(
                "The model chooses its ops by the values of the window (tf.cond), so it cannot be "
                "unrolled, which int8 needs; quantise with: dynamic."
            )
        taken = "then_branch" if inputs[0] else "else_branch"
        return self._call(node.attr[taken].func.name, inputs[1:])

    def _call(self, name: str, inputs: list[_Value]) -> list[_Value]:
        if name not in self._graphs:
            definition = self._functions[name]
            graph, flat = function_def_to_graph_def(definition)
            signature = definition.signature
            ends = [flat[definition.ret[arg.name]] for arg in signature.output_arg]
            self._graphs[name] = graph, [arg.name for arg in signature.input_arg], ends
        graph, names, ends = self._graphs[name]
        return self.run(graph, dict(zip(names, inputs, strict=True)), ends)

    def _list_op(self, node: Any, inputs: list[_Value]) -> _Value:
        first = inputs[0]
        match node.op:
            case "EmptyTensorList":
                return _List(())
            case "TensorListReserve":
                return _List((None,) * int(_known(inputs[1])))
            case "TensorListFromTensor":
                return _List(tuple(_unstacked(first)))
            case "TensorListLength":
                return np.array(len(first.items), np.int32)
            case "TensorListPushBack":
                return _List((*first.items, inputs[1]))
            case "TensorListGetItem":
                item = first.items[int(_known(inputs[1]))]
                return self._zeros(node, inputs[2]) if item is None else item
            case "TensorListSetItem":
                items, index = list(first.items), int(_known(inputs[1]))
                items[index] = inputs[2]
                return _List(tuple(items))
            case "TensorListStack":
                items = [
                    self._zeros(node, inputs[1]) if item is None else item for item in first.items
                ]
                if all(isinstance(item, np.ndarray) for item in items):
                    return np.stack(items)
                return tf.stack([self.symbolic(item) for item in items])
        raise ConversionError(
            f"The model uses {node.op} in a loop, which cannot be unrolled, and int8 needs that; "
            "quantise with: dynamic."
        )

    def _zeros(self, node: Any, shape: _Value) -> Any:
        dtype = tf.as_dtype(node.attr["element_dtype"].type).as_numpy_dtype
        return np.zeros(np.maximum(_known(shape), 1), dtype)


def _known(value: _Value) -> Any:
    if isinstance(value, np.ndarray):
        return value
    raise ConversionError(
        "A loop of the model addresses its steps by the values of the window, so it cannot be "
        "unrolled, which int8 needs; quantise with: dynamic."
    )


def _unstacked(value: _Value) -> list[_Value]:
    if isinstance(value, np.ndarray):
        return [np.asarray(item) for item in value]
    # Not tf.unstack: its one op would give every item a name made of the names of all.
    with tf.name_scope(SCOPE):
        return [value[index] for index in range(value.shape[0])]


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _ordered(graph: Any, wanted: Sequence[str]) -> Iterator[Any]:
    """The nodes that the tensors `wanted` need, each after those that it needs."""
    nodes = {node.name: node for node in graph.node}
    done: set[str] = set()
    stack = [(name.partition(":")[0], False) for name in wanted]
    while stack:
        name, is_ready = stack.pop()
        if name in done:
            continue
        if is_ready:
            done.add(name)
            yield nodes[name]
        else:
            stack.append((name, True))
            needed = (tensor for tensor in nodes[name].input if tensor[0] != "^")
            stack += [(tensor.partition(":")[0], False) for tensor in needed]


def _computed(node: Any, inputs: list[_Value]) -> list[_Value]:
    """The outputs of a node whose inputs are all known."""
    attributes: list[Any] = []
    for name, value in node.attr.items():
        if not name.startswith("_"):
            attributes += [name, _attribute(value)]
    count = 0
    for output in op_definition(node.op).output_arg:
        many = output.type_list_attr and len(node.attr[output.type_list_attr].list.type)
        count += many or (output.number_attr and node.attr[output.number_attr].i) or 1
    with tf.init_scope():
        tensors = [tf.constant(value) for value in inputs]
        results = execute(node.op, count, tensors, tuple(attributes), context())
    return [np.asarray(result.numpy()) for result in results]


def _attribute(value: Any) -> Any:
    """An AttrValue as `execute` takes it."""
    kind = value.WhichOneof("value")
    if kind == "list":
        parts = value.list
        return [*parts.s, *parts.i, *parts.f, *parts.b, *parts.type]
    return getattr(value, kind)
