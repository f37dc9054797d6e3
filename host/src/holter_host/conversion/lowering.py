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
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from holter_host.conversion import unroll
from holter_host.conversion.failures import freeze_failure
from holter_host.conversion.freezing import frozen, imported
from holter_host.conversion.options import DEFAULT_SIGNATURE, Normalize
from holter_host.conversion.quantize import Quantizer
from holter_host.conversion.resolve import InputPlan
from holter_host.conversion.saved_model import Source
from holter_host.errors import HolterError

Route = tuple[str, Callable[[], bytes]]
SELECT_TF_OPS = "select_tf_ops"
_BUILTINS = (tf.lite.OpsSet.TFLITE_BUILTINS,)


def routes(
    source: Source,
    plan: InputPlan,
    normalize: Normalize,
    quantizer: Quantizer,
    select_tf_ops: bool = False,
) -> Iterator[Route]:
    """The ways to convert, by name, the best first; each is to be tried where the last failed.

    Those after the first are TensorFlow's own, and take what cannot be frozen, such as a lookup
    table. The model is saved again, with what is put around it and with the weights that Keras 3
    leaves out; where nothing is put around it, the SavedModel is tried as it is too. The last,
    named SELECT_TF_OPS, leaves in what only TensorFlow can run.

    Args:
        source: what is converted.
        plan: how a window goes in.
        normalize: what the graph does with a window first.
        quantizer: how the result is quantised.
        select_tf_ops: whether there is that last way.
    """
    yield "frozen", lambda: _from_frozen(source, plan, normalize, quantizer)
    has_loop = unroll.has_loop(source.function.graph.as_graph_def())
    if not (quantizer.needs_unrolled and has_loop):
        yield "from_saved_model", lambda: _saved_again(source, plan, normalize, quantizer)
        if source.takes_as_it_is(plan, normalize):
            yield "from_saved_model", lambda: _as_it_is(source, quantizer)
    if select_tf_ops:
        both = (tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS)
        yield SELECT_TF_OPS, lambda: _from_frozen(source, plan, normalize, quantizer, both)


def _from_frozen(
    source: Source,
    plan: InputPlan,
    normalize: Normalize,
    quantizer: Quantizer,
    ops: Sequence[Any] = _BUILTINS,
) -> bytes:
    try:
        model = frozen(source.traced(plan, normalize))
        is_unrolled = quantizer.needs_unrolled and unroll.has_loop(model.graph)
        if is_unrolled:
            quantizer.tell("Writing out the loops, for int8")
        remade = unroll.unrolled if is_unrolled else imported
        function = remade(model.graph, model.input, model.output)
    except HolterError:
        raise
    except Exception as error:
        raise freeze_failure(error, source.path) from error
    spec = tf.TensorSpec(plan.shape, tf.float32, name=source.ends.input)

    def named(value: Any) -> Any:
        return {source.ends.output: function(value)}

    # Without autograph an error of ours leaves as it is.
    traced = tf.function(named, input_signature=[spec], autograph=False).get_concrete_function()
    return _saved_and_converted(tf.Module(), traced, quantizer, ops)


def _saved_again(
    source: Source, plan: InputPlan, normalize: Normalize, quantizer: Quantizer
) -> bytes:
    traced = source.traced(plan, normalize)
    module = tf.Module()
    module.owner, module.variables_of_it = source.owner, list(traced.graph.variables)
    return _saved_and_converted(module, traced, quantizer, _BUILTINS)


def _as_it_is(source: Source, quantizer: Quantizer) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(source.path), signature_keys=[source.ends.signature], tags=set(source.tags)
    )
    return _converted(converter, quantizer, _BUILTINS)


def _saved_and_converted(
    module: Any, traced: Any, quantizer: Quantizer, ops: Sequence[Any]
) -> bytes:
    """Convert a function of `module`'s.

    `TFLiteConverter.from_concrete_functions` saves it too; where that fails it says nothing and
    goes on without the names, as it does for Keras's swish, whose gradient it cannot save.
    """
    without_gradients = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with tempfile.TemporaryDirectory(prefix="holter-convert-") as directory:
        signatures = {DEFAULT_SIGNATURE: traced}
        tf.saved_model.save(module, directory, signatures=signatures, options=without_gradients)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            directory, signature_keys=list(signatures)
        )
        return _converted(converter, quantizer, ops)


def _converted(converter: Any, quantizer: Quantizer, ops: Sequence[Any]) -> bytes:
    converter.target_spec.supported_ops = list(ops)
    return quantizer.convert(converter)
