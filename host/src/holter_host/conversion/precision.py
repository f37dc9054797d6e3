"""Models that compute in another precision than float32, which is the only one of light runtimes.

Keras's policies mixed_float16 and mixed_bfloat16 compute in half precision, and NumPy's default
makes tf.Modules of float64. The frozen graph is rewritten to float32, every value and every weight.

Imports TensorFlow, so only the conversion child imports this module.
"""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf

from holter_host.conversion.graphs import all_nodes

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
        for node in all_nodes(graph)
        if node.op not in _CARRIERS
        for attribute in node.attr.values()
        for kind in (attribute.type, *attribute.list.type)
        if kind in _SINGLE
    }
    return frozenset(tf.as_dtype(kind).name for kind in types)


def make_single(graph: Any) -> None:
    """Rewrite a GraphDef without variables to float32, in place."""
    for function in graph.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            if argument.type in _SINGLE:
                argument.type = _SINGLE[argument.type].as_datatype_enum
    for node in all_nodes(graph):
        for attribute in node.attr.values():
            _make_attribute_single(attribute)


def _make_attribute_single(attribute: Any) -> None:
    kind = attribute.WhichOneof("value")
    if kind == "type" and attribute.type in _SINGLE:
        attribute.type = _SINGLE[attribute.type].as_datatype_enum
    elif kind == "tensor" and attribute.tensor.dtype in _SINGLE:
        single = _SINGLE[attribute.tensor.dtype]
        values = tf.make_ndarray(attribute.tensor).astype(single.as_numpy_dtype)
        attribute.tensor.CopyFrom(tf.make_tensor_proto(values))
    elif kind == "list":
        types = [_SINGLE.get(t, tf.as_dtype(t)).as_datatype_enum for t in attribute.list.type]
        attribute.list.type[:] = types
