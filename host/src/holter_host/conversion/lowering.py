"""From a loaded SavedModel to .tflite bytes with builtin ops only.

Why not simply `TFLiteConverter.from_saved_model`: it refuses the LSTM and GRU of Keras 3 (their
TensorLists have the free batch in their element shape), and it loses, without a word, the weights
of a Keras 3 model that was saved by `tf.saved_model.save`. Freezing first, with the control flow
kept, makes every weight a constant; then the list shapes can be set, and the WHILE loop that comes
out keeps no state between calls.

Imports TensorFlow, so only the conversion child imports this module.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from holter_host.conversion import unroll
from holter_host.conversion.freezing import frozen, imported
from holter_host.conversion.options import Normalize
from holter_host.conversion.quantize import Quantizer
from holter_host.conversion.resolve import InputPlan
from holter_host.conversion.saved_model import Source

Route = tuple[str, Callable[[], bytes]]
SELECT_TF_OPS = "select_tf_ops"


def routes(
    source: Source,
    plan: InputPlan,
    normalize: Normalize,
    quantizer: Quantizer,
    select_tf_ops: bool = False,
) -> Iterator[Route]:
    """The ways to convert, by name, the best first; each is to be tried where the last failed.

    The second, TensorFlow's own, takes what cannot be frozen, such as a lookup table. It adds
    nothing to a graph, so where there is something to add, or a shape to fix, the model is saved
    again with that around it and the new SavedModel is converted. The third, named SELECT_TF_OPS,
    leaves in what only TensorFlow can run.

    Args:
        source: what is converted.
        plan: how a window goes in.
        normalize: what the graph does with a window first.
        quantizer: how the result is quantised.
        select_tf_ops: whether there is a third way.
    """
    yield "frozen", lambda: _converted(_from_frozen(source, plan, normalize, quantizer), quantizer)
    has_loop = unroll.has_loop(source.function.graph.as_graph_def())
    if not (quantizer.needs_unrolled and has_loop):
        yield "from_saved_model", lambda: _from_saved_model(source, plan, normalize, quantizer)
    if select_tf_ops:
        yield (
            SELECT_TF_OPS,
            lambda: _converted(
                _from_frozen(source, plan, normalize, quantizer),
                quantizer,
                [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS],
            ),
        )


def _from_frozen(
    source: Source, plan: InputPlan, normalize: Normalize, quantizer: Quantizer
) -> Any:
    model = frozen(source.traced(plan, normalize))
    is_unrolled = quantizer.needs_unrolled and unroll.has_loop(model.graph)
    remade = unroll.unrolled if is_unrolled else imported
    function = remade(model.graph, model.input, model.output)
    spec = tf.TensorSpec(plan.shape, tf.float32, name=source.ends.input)

    def named(value: Any) -> Any:
        return {source.ends.output: function(value)}

    # Without autograph an error of ours leaves as it is.
    traced = tf.function(named, input_signature=[spec], autograph=False).get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())


def _from_saved_model(
    source: Source, plan: InputPlan, normalize: Normalize, quantizer: Quantizer
) -> bytes:
    if source.takes_as_it_is(plan, normalize):
        name = source.ends.signature
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(source.path), signature_keys=[name], tags=set(source.tags)
        )
        return _converted(converter, quantizer)
    with tempfile.TemporaryDirectory(prefix="holter-convert-") as directory:
        traced = source.traced(plan, normalize)
        module = tf.Module()
        module.owner, module.variables_of_it = source.owner, list(traced.graph.variables)
        tf.saved_model.save(module, directory, signatures={source.ends.signature: traced})
        converter = tf.lite.TFLiteConverter.from_saved_model(
            directory, signature_keys=[source.ends.signature]
        )
        return _converted(converter, quantizer)


def _converted(converter: Any, quantizer: Quantizer, ops: Any = None) -> bytes:
    converter.target_spec.supported_ops = ops or [tf.lite.OpsSet.TFLITE_BUILTINS]
    return quantizer.convert(converter)
