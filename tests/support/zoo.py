"""A zoo of ECG architectures, each saved in every way that applies.

`build` makes DIRECTORY/ARCHITECTURE/WAY for pairs of `ARCHITECTURES` and `WAYS`: SavedModels, but
for the way "keras", a file. Those of `FURTHER`, which users build too, are saved by Keras 3's
export alone. An .npz beside each holds `windows`, float32 (count, frames, 1), and `scores`, those
that Keras itself gave for them before anything was saved.

TensorFlow and Keras are imported when they are needed, and Keras 2 (tf_keras) where it is installed
or in .build/tf_keras, where `make zoo` and `make test` put it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

KERAS2 = Path(__file__).parents[2] / ".build" / "tf_keras"
LABELS = ("N", "L", "R", "A", "V", "F", "Q")

_Layer = Callable[[Any, Any], Any]


def _front(keras: Any, x: Any) -> Any:
    """What every ECG network of the zoo but two begins with: 1 of 12 frames is left."""
    layers = keras.layers
    x = layers.Conv1D(16, 20, strides=3, padding="same", activation="relu")(x)
    x = layers.BatchNormalization()(x)
    return layers.MaxPooling1D(4)(x)


def _cnn(keras: Any, x: Any) -> Any:
    layers = keras.layers
    x = _front(keras, x)
    x = layers.SeparableConv1D(32, 7, padding="same", activation="relu")(x)
    return layers.GlobalAveragePooling1D()(layers.MaxPooling1D(2)(x))


def _squeezed(keras: Any, x: Any) -> Any:
    """A squeeze-and-excitation block (Hu et al. 2018): each filter weighted by what all see."""
    layers = keras.layers
    filters = x.shape[-1]
    weights = layers.GlobalAveragePooling1D()(x)
    weights = layers.Dense(filters // 8, activation="relu")(weights)
    weights = layers.Dense(filters, activation="sigmoid")(weights)
    return layers.Multiply()([x, layers.Reshape((1, filters))(weights)])


def _se_lstm(keras: Any, x: Any) -> Any:
    layers = keras.layers
    x = layers.Conv1D(128, 20, strides=3, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling1D(2)(x)
    x = _squeezed(keras, x)
    x = layers.Conv1D(32, 7, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling1D(2)(x)
    return layers.LSTM(10)(_squeezed(keras, x))


def _gru(keras: Any, x: Any) -> Any:
    return keras.layers.GRU(12)(_front(keras, x))


def _dropout_lstm(keras: Any, x: Any) -> Any:
    """Keras 3 exports the seed of this dropout as state, which each call assigns.

    And the swish of Keras has a gradient of its own, which cannot be saved again.
    """
    layers = keras.layers
    x = layers.Activation("swish")(_front(keras, x))
    return layers.LSTM(10, dropout=0.2, recurrent_dropout=0.1)(x)


def _bilstm(keras: Any, x: Any) -> Any:
    return keras.layers.Bidirectional(keras.layers.LSTM(8))(_front(keras, x))


def _stacked_lstm(keras: Any, x: Any) -> Any:
    x = keras.layers.LSTM(8, return_sequences=True)(_front(keras, x))
    return keras.layers.LSTM(8)(x)


def _tcn(keras: Any, x: Any) -> Any:
    """Dilated causal convolutions with residuals (Bai et al. 2018)."""
    layers = keras.layers
    x = _front(keras, x)
    for dilation in (1, 2, 4, 8):
        y = layers.Conv1D(16, 3, padding="causal", dilation_rate=dilation, activation="relu")(x)
        x = layers.Add()([x, layers.LayerNormalization()(y)])
    return layers.GlobalMaxPooling1D()(x)


def _transformer(keras: Any, x: Any) -> Any:
    layers = keras.layers
    x = layers.AveragePooling1D(4)(_front(keras, x))
    y = layers.MultiHeadAttention(num_heads=2, key_dim=8)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    y = layers.Dense(16)(layers.Dense(32, activation="gelu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    return layers.GlobalAveragePooling1D()(x)


def _stft(keras: Any, x: Any) -> Any:
    """A spectrogram by tf.signal.stft, in Keras 3 through keras.ops, then Conv2D over it."""
    layers = keras.layers
    signal = layers.Reshape((x.shape[1],))(x)
    if hasattr(keras, "ops"):
        real, imaginary = keras.ops.stft(signal, 128, 64, 128, center=False)
    else:
        import tensorflow as tf

        spectrum = tf.signal.stft(signal, 128, 64, 128)
        real, imaginary = tf.math.real(spectrum), tf.math.imag(spectrum)
    power = layers.Add()([layers.Multiply()([part, part]) for part in (real, imaginary)])
    x = layers.Reshape((*power.shape[1:], 1))(power)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    return layers.GlobalAveragePooling2D()(x)


ARCHITECTURES: dict[str, _Layer] = {
    "cnn": _cnn,
    "se_lstm": _se_lstm,
    "gru": _gru,
    "dropout_lstm": _dropout_lstm,
    "bilstm": _bilstm,
    "stacked_lstm": _stacked_lstm,
    "tcn": _tcn,
    "transformer": _transformer,
    "stft": _stft,
}


def _attention_over_lstm(keras: Any, x: Any) -> Any:
    """Each step weighted by a score of its own (Zhou et al. 2016), then Keras's two attentions."""
    layers = keras.layers
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(_front(keras, x))
    weights = layers.Softmax(axis=1)(layers.Dense(1, activation="tanh")(x))
    pooled = layers.Dot(axes=1)([weights, x])
    both = [layers.Attention(use_scale=True)([x, x]), layers.AdditiveAttention()([x, x])]
    both = [layers.GlobalMaxPooling1D()(y) for y in both]
    return layers.Concatenate()([layers.Flatten()(pooled), *both])


def _convlstm(keras: Any, x: Any) -> Any:
    layers = keras.layers
    x = layers.Reshape((10, x.shape[1] // 10, 1))(x)
    return layers.Flatten()(layers.ConvLSTM1D(4, 5, strides=4, padding="same")(x))


def _masked_lstm(keras: Any, x: Any) -> Any:
    layers = keras.layers
    x = layers.Masking(0.0)(layers.AveragePooling1D(12)(x))
    return layers.LSTM(8)(x)


def _residual_bigru(keras: Any, x: Any) -> Any:
    layers = keras.layers
    x = _front(keras, x)
    for _ in range(2):
        y = layers.Bidirectional(layers.GRU(8, return_sequences=True))(x)
        x = layers.LayerNormalization()(layers.Add()([x, y]))
    return layers.GlobalAveragePooling1D()(x)


def _cells(keras: Any, x: Any) -> Any:
    """Recurrent cells stacked in one loop, the other way round, and one inside TimeDistributed."""
    layers = keras.layers
    x = layers.Reshape((10, x.shape[1] // 10, 1))(x)
    x = layers.TimeDistributed(layers.Conv1D(8, 5, strides=4, activation="relu"))(x)
    x = layers.TimeDistributed(layers.GlobalMaxPooling1D())(x)
    x = layers.RNN([layers.GRUCell(6), layers.LSTMCell(5)], return_sequences=True)(x)
    return layers.SimpleRNN(6, go_backwards=True)(x)


def _resnet_se(keras: Any, x: Any) -> Any:
    layers = keras.layers
    x = layers.Conv1D(16, 15, strides=2, padding="same", use_bias=False)(x)
    for filters, strides in ((16, 1), (32, 2), (32, 2)):
        y = layers.Conv1D(filters, 7, strides=strides, padding="same", use_bias=False)(x)
        y = layers.SpatialDropout1D(0.1)(layers.Activation("swish")(layers.BatchNormalization()(y)))
        y = _squeezed(keras, layers.Conv1D(filters, 7, padding="same")(y))
        x = layers.Add()([y, layers.Conv1D(filters, 1, strides=strides)(x)])
    return layers.GlobalAveragePooling1D()(x)


def _unet(keras: Any, x: Any) -> Any:
    """A class map over time (Ronneberger et al. 2015), averaged to one row."""
    layers = keras.layers
    first = layers.Conv1D(8, 9, padding="same", activation="relu")(x)
    second = layers.Conv1D(16, 9, padding="same", activation="relu")(layers.MaxPooling1D(2)(first))
    y = layers.Conv1D(16, 9, padding="same", activation="relu")(layers.MaxPooling1D(2)(second))
    y = layers.Concatenate()([layers.UpSampling1D(2)(y), second])
    y = layers.Conv1DTranspose(8, 4, strides=2, padding="same")(y)
    class_map = layers.Conv1D(8, 1, activation="softmax")(layers.Concatenate()([y, first]))
    return layers.GlobalAveragePooling1D()(class_map)


def _wavenet(keras: Any, x: Any) -> Any:
    layers = keras.layers
    x = layers.Conv1D(8, 1)(x)
    for rate in (1, 2, 4, 8):
        halves = [
            layers.Conv1D(8, 2, dilation_rate=rate, padding="causal", activation=activation)(x)
            for activation in ("tanh", "sigmoid")
        ]
        x = layers.Add()([x, layers.Conv1D(8, 1)(layers.Multiply()(halves))])
    return layers.GlobalAveragePooling1D()(layers.GroupNormalization(4)(x))


def _checked(keras: Any, x: Any) -> Any:
    """tf.print and an assertion in the graph, which a window's scores do not depend on."""
    import tensorflow as tf

    def checked(x: Any) -> Any:
        tf.debugging.assert_all_finite(x, "not finite")
        tf.print("window", tf.shape(x), output_stream="file:///dev/null")
        return x

    return _gru(keras, keras.layers.Lambda(checked)(x))


def _in(policy: str) -> _Layer:
    """A GRU by one of Keras's policies; of mixed_float16 all but the weights is float16."""

    def layer(keras: Any, x: Any) -> Any:
        keras.config.set_dtype_policy(policy)
        try:
            return _gru(keras, x)
        finally:
            keras.config.set_dtype_policy("float32")

    return layer


FURTHER: dict[str, _Layer] = {
    "attention_over_lstm": _attention_over_lstm,
    "convlstm": _convlstm,
    "masked_lstm": _masked_lstm,
    "residual_bigru": _residual_bigru,
    "cells": _cells,
    "resnet_se": _resnet_se,
    "unet": _unet,
    "wavenet": _wavenet,
    "checked": _checked,
    "mixed": _in("mixed_float16"),
    "double": _in("float64"),
}


def _model(keras: Any, architecture: str, windows: npt.NDArray[np.float32]) -> Any:
    """A model with random weights, whose scores differ from window to window."""
    keras.utils.set_random_seed(3)
    inputs = keras.layers.Input(windows.shape[1:], name="ecg")
    features = {**ARCHITECTURES, **FURTHER}[architecture](keras, inputs)
    head = keras.layers.Dense(len(LABELS), activation="softmax", name="rhythm")
    model = keras.Model(inputs, head(features), name=architecture)
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    # Untrained, a network says nearly the same of every window: its logits are spread to 0 ± 3.
    seen = np.array(keras.Model(inputs, features)(windows, training=False))
    kernel, bias = head.get_weights()
    logits = seen @ kernel + bias
    gain = np.minimum(3 / logits.std(axis=0), 100)
    head.set_weights([kernel * gain, (bias - logits.mean(axis=0)) * gain])
    return model


def _export(model: Any, path: Path) -> None:
    """Keras 3's own way, its batch free."""
    model.export(str(path), verbose=False)


def _saved(model: Any, path: Path) -> None:
    """A Keras 3 model given to tf.saved_model.save: its variables are not in the object graph."""
    import tensorflow as tf

    tf.saved_model.save(model, str(path))


def _module(model: Any, path: Path) -> None:
    """A tf.Module around a model, its batch 1."""
    import tensorflow as tf

    module = tf.Module()
    module.model = model
    spec = tf.TensorSpec([1, *model.input_shape[1:]], tf.float32, name="ecg")
    function = tf.function(lambda ecg: {"rhythm": model(ecg)}, input_signature=[spec])
    tf.saved_model.save(module, str(path), signatures=function)


def _tf1(model: Any, path: Path) -> None:
    """A frozen graph in a SavedModel of TensorFlow 1: tags and signature, and no object graph."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    v1 = tf.compat.v1
    spec = tf.TensorSpec(model.input_shape, tf.float32, name="ecg")
    traced = tf.function(lambda ecg: model(ecg), input_signature=[spec]).get_concrete_function()
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    with v1.Graph().as_default(), v1.Session() as session:
        tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), name="")
        tensor = session.graph.get_tensor_by_name
        inputs = {"ecg": tensor(frozen.inputs[0].name)}
        outputs = {"rhythm": tensor(frozen.outputs[0].name)}
        v1.saved_model.simple_save(session, str(path), inputs, outputs)


def _keras_file(model: Any, path: Path) -> None:
    """Keras 3's own file."""
    model.save(path)


# By way: what is called with a model, and the ending of what it writes.
WAYS: dict[str, tuple[Callable[[Any, Path], None], str]] = {
    "export": (_export, ""),
    "saved": (_saved, ""),
    "module": (_module, ""),
    "tf1": (_tf1, ""),
    "keras": (_keras_file, ".keras"),
    "keras2": (_saved, ""),
}


def pairs() -> list[tuple[str, str]]:
    """Each (architecture, way) that applies: no one else saves the seed of a Keras 3 dropout."""
    seeded = ("export", "keras", "keras2")
    every = [(architecture, way) for architecture in ARCHITECTURES for way in WAYS]
    kept = [(a, way) for a, way in every if a != "dropout_lstm" or way in seeded]
    return kept + [(architecture, "export") for architecture in FURTHER]


def path_of(directory: Path, architecture: str, way: str) -> Path:
    """Where a model of the zoo is."""
    return directory / architecture / f"{way}{WAYS[way][1]}"


def keras_scores(
    directory: Path, name: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Windows and what Keras said of them before the model ("cnn/export") was saved."""
    architecture, way = name.split("/")
    path = path_of(directory, architecture, way.split(".")[0])
    with np.load(path.with_suffix(".npz")) as arrays:
        return arrays["windows"], arrays["scores"]


def build(directory: Path, which: list[tuple[str, str]], windows: npt.NDArray[np.float32]) -> None:
    """Make and save (architecture, way) pairs; none of the way "keras2" where there is no Keras 2.

    Args:
        directory: where they go; none of them is there yet.
        which: what is made.
        windows: float32, shape (count, frames, 1), millivolts of ECG.
    """
    models: dict[tuple[str, bool], Any] = {}
    for architecture, way in which:
        library = _library(way)
        if library is None:
            continue
        key = (architecture, way == "keras2")
        if key not in models:
            models[key] = _model(library, architecture, windows)
        path = path_of(directory, architecture, way)
        path.parent.mkdir(parents=True, exist_ok=True)
        WAYS[way][0](models[key], path)
        scores = np.array(models[key](windows, training=False))
        np.savez(path.with_suffix(".npz"), windows=windows, scores=scores)


def _library(way: str) -> Any:
    """Keras 3, or for "keras2" Keras 2, None where it is not installed."""
    if way != "keras2":
        import keras

        return keras
    sys.path.append(str(KERAS2))
    try:
        return importlib.import_module("tf_keras")
    except ImportError:
        return None
    finally:
        sys.path.pop()


def main() -> None:
    """python zoo.py DIRECTORY WINDOWS.npy ARCHITECTURE:WAY…"""
    directory, windows, *words = sys.argv[1:]
    named = [word.split(":") for word in words]
    build(Path(directory), [(name, way) for name, way in named], np.load(windows))


if __name__ == "__main__":
    main()
