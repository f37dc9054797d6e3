"""Models that compute in another precision than float32, which is the only one of light runtimes.

Keras's policies mixed_float16 and mixed_bfloat16 compute in half precision, and NumPy's default
makes tf.Modules of float64. The frozen graph is rewritten to float32, every value and every weight.

Imports TensorFlow, so only the conversion child imports this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import tensorflow as tf

_SINGLE: Final = {
    tf.float16.as_datatype_enum: tf.float32,
    tf.bfloat16.as_datatype_enum: tf.float32,
    tf.float64.as_datatype_enum: tf.float32,
    tf.complex128.as_datatype_enum: tf.complex64,
}
# What carries a value and computes nothing: TensorFlow Lite casts between all types.
_CARRIERS: Final = frozenset({"Cast", "Const", "Identity", "IdentityN", "Placeholder"})


def other_precisions(graph: Any) -> frozenset[str]:
    """The types besides float32 ("float16", "float64", …) that a GraphDef computes in."""
    types = {
        kind
        for node in _nodes(graph)
        if node.op not in _CARRIERS
        for attribute in node.attr.values()
        for kind in (attribute.type, *attribute.list.type)
        if kind in _SINGLE
    }
    return frozenset(tf.as_dtype(kind).name for kind in types)


def make_single(graph: Any) -> None:
    """Rewrite a GraphDef without variables to float32, in place.

    Its functions get other names, for TensorFlow knows the old ones by their old content.
    """
    signatures = [call.signature for call in graph.library.function]
    names = {signature.name: f"{signature.name}_single" for signature in signatures}
    for signature in signatures:
        signature.name = names[signature.name]
        for argument in (*signature.input_arg, *signature.output_arg):
            if argument.type in _SINGLE:
                argument.type = _SINGLE[argument.type].as_datatype_enum
    for node in _nodes(graph):
        for attribute in node.attr.values():
            _make_attribute_single(attribute, names)


def _make_attribute_single(attribute: Any, names: dict[str, str]) -> None:
    kind = attribute.WhichOneof("value")
    if kind == "type" and attribute.type in _SINGLE:
        attribute.type = _SINGLE[attribute.type].as_datatype_enum
    elif kind == "tensor" and attribute.tensor.dtype in _SINGLE:
        single = _SINGLE[attribute.tensor.dtype]
        values = tf.make_ndarray(attribute.tensor).astype(single.as_numpy_dtype)
        attribute.tensor.CopyFrom(tf.make_tensor_proto(values))
    elif kind == "func":
        attribute.func.name = names.get(attribute.func.name, attribute.func.name)
    elif kind == "list":
        types = [_SINGLE.get(t, tf.as_dtype(t)).as_datatype_enum for t in attribute.list.type]
        attribute.list.type[:] = types
        for function in attribute.list.func:
            function.name = names.get(function.name, function.name)


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for call in graph.library.function:
        yield from call.node_def
