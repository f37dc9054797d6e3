"""What freezing makes of graphs of more than their output needs, or of other types than float32.

python -m support.frozen_graph prints a JSON object: for each name of `_BUILDERS` the ops that are
left in the frozen graph, the types besides float32 that it computes in, and by how much it differs
from the function that was frozen; or the error. A process of its own, so that pytest needs no
TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from holter_host.conversion.freezing import frozen, imported
from holter_host.conversion.precision import other_precisions
from holter_host.errors import HolterError

_WIDTH = 6
_SPEC = tf.TensorSpec([1, _WIDTH], tf.float32, name="x")

_Body = Callable[[tf.Module, Any], Any]


def _beside_the_output(module: tf.Module, x: Any) -> Any:
    """A print, an assertion, a count of calls, and a table of integers that only they use."""
    module.count.assign_add(1)
    tf.print(module.table.lookup(module.count), output_stream="file:///dev/null")
    tf.debugging.assert_all_finite(x, "not finite")
    return tf.linalg.matmul(x, module.weights)


def _looked_up(module: tf.Module, x: Any) -> Any:
    return tf.linalg.matmul(x, module.weights) + module.table.lookup(tf.argmax(x, axis=1))


def _counted(module: tf.Module, x: Any) -> Any:
    return x * tf.cast(module.count.assign_add(1), tf.float32)


def _loop_of(dtype: Any) -> _Body:
    """A loop in another precision, with a list in it and constants of that precision."""

    def body(module: tf.Module, x: Any) -> Any:
        wide, kernel = tf.cast(x, dtype), tf.cast(module.weights, dtype)
        steps = tf.TensorArray(dtype, 3, element_shape=[1, _WIDTH])
        for step in tf.range(3):
            wide = tf.tanh(tf.linalg.matmul(wide, kernel)) + tf.constant(0.25, dtype)
            steps = steps.write(step, wide)
        return tf.cast(tf.reduce_sum(steps.stack(), axis=0), tf.float32)

    return body


_BUILDERS: dict[str, _Body] = {
    "beside the output": _beside_the_output,
    "looked up": _looked_up,
    "counted": _counted,
    "float16": _loop_of(tf.float16),
    "bfloat16": _loop_of(tf.bfloat16),
    "float64": _loop_of(tf.float64),
}


def main() -> None:
    """Freeze each, and run it."""
    print(json.dumps({name: _frozen(body) for name, body in _BUILDERS.items()}))


def _frozen(body: _Body) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    module = tf.Module()
    module.weights = tf.Variable(rng.normal(0, 0.5, (_WIDTH, _WIDTH)).astype(np.float32))
    module.count = tf.Variable(0, dtype=tf.int64)
    content = tf.lookup.KeyValueTensorInitializer(tf.constant([0], tf.int64), tf.constant([0.5]))
    module.table = tf.lookup.StaticHashTable(content, 0.0)
    traced = tf.function(lambda x: body(module, x), input_signature=[_SPEC]).get_concrete_function()
    value = tf.constant(rng.normal(0, 1, (1, _WIDTH)).astype(np.float32))
    try:
        result = frozen(traced)
        function = imported(result.graph, result.input, result.output)
    except HolterError as error:
        return {"error": str(error)}
    except Exception as error:  # TensorFlow's own
        return {"error": type(error).__name__}
    difference = np.abs(traced(value).numpy() - function(value).numpy())
    return {
        "ops": sorted({node.op for node in result.graph.node}),
        "types": sorted(other_precisions(result.graph)),
        "types_before": sorted(other_precisions(traced.graph.as_graph_def())),
        "difference": float(difference.max()),
    }


if __name__ == "__main__":
    main()
