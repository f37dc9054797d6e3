"""SavedModels of TensorFlow 1, whose variables may be of a kind that TensorFlow 2 cannot freeze.

Imports TensorFlow, so only the conversion child imports this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.eager.wrap_function import WrappedFunction

from holter_host.conversion.freezing import imported
from holter_host.conversion.resolve import Ends


def is_tf1(signature: Any) -> bool:
    """Whether a signature that `tf.saved_model.load` gave comes from TensorFlow 1."""
    return isinstance(signature, WrappedFunction)


def frozen_function(path: Path, tags: tuple[str, ...], ends: Ends) -> Any:
    """A signature as a function of its input, with a constant for each variable.

    It is frozen as TensorFlow 1 did it, in a session: a variable there may be a reference, which
    `convert_variables_to_constants_v2` leaves without a value.

    Raises:
        Exception: TensorFlow's own.
    """
    v1 = tf.compat.v1
    with v1.Graph().as_default() as graph, v1.Session() as session:
        meta = v1.saved_model.load(session, list(tags), str(path))
        signature = meta.signature_def[ends.signature]
        output = signature.outputs[ends.output].name
        constant = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), [output.split(":")[0]]
        )
    return imported(constant, signature.inputs[ends.input].name, output)
