"""A zoo of ECG architectures, each saved in every way that applies: python zoo.py DIRECTORY.

Makes DIRECTORY/ARCHITECTURE/WAY for each of `ARCHITECTURES` and of `WAYS`: SavedModels, but for the
way "keras", a file. NAME.npz beside them holds `windows`, float32 (count, WINDOW, 1), and `scores`
that Keras itself gave for them before anything was saved.

Imports TensorFlow in functions only, and Keras 2 (tf_keras) where it is installed, else leaves out
the way "keras2".
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

WINDOW = 3600
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
    return layers.LSTM(10, dropout=0.2)(_squeezed(keras, x))


def _gru(keras: Any, x: Any) -> Any:
    """With dropout of both kinds, whose seeds Keras 3 exports as state that each call assigns."""
    return keras.layers.GRU(12, dropout=0.2, recurrent_dropout=0.1)(_front(keras, x))


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
    signal = layers.Reshape((WINDOW,))(x)
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
    "bilstm": _bilstm,
    "stacked_lstm": _stacked_lstm,
    "tcn": _tcn,
    "transformer": _transformer,
    "stft": _stft,
}


def _model(keras: Any, architecture: str) -> Any:
    """A model with random weights, BatchNormalization's statistics among them."""
    keras.utils.set_random_seed(3)
    inputs = keras.layers.Input((WINDOW, 1), name="ecg")
    x = ARCHITECTURES[architecture](keras, inputs)
    outputs = keras.layers.Dense(len(LABELS), activation="softmax", name="rhythm")(x)
    model = keras.Model(inputs, outputs, name=architecture)
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


def _export(model: Any, path: Path) -> None:
    """Keras 3's own way, its batch free."""
    model.export(str(path), verbose=False)


def _saved(model: Any, path: Path) -> None:
    """A Keras 3 model given to tf.saved_model.save: its variables are not in the object graph."""
    import tensorflow as tf

    tf.saved_model.save(model, str(path))


def _module(model: Any, path: Path) -> None:
    """A tf.Module around a model, of one window."""
    import tensorflow as tf

    module = tf.Module()
    module.model = model
    spec = tf.TensorSpec([1, WINDOW, 1], tf.float32, name="ecg")
    function = tf.function(lambda ecg: {"rhythm": model(ecg)}, input_signature=[spec])
    tf.saved_model.save(module, str(path), signatures=function)


def _tf1(model: Any, path: Path) -> None:
    """A frozen graph in a SavedModel of TensorFlow 1: tags and signature, and no object graph."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    v1 = tf.compat.v1
    spec = tf.TensorSpec([None, WINDOW, 1], tf.float32, name="ecg")
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


def path_of(directory: Path, architecture: str, way: str) -> Path:
    """Where a model of the zoo is."""
    return directory / architecture / f"{way}{WAYS[way][1]}"


def build(
    directory: Path, pairs: list[tuple[str, str]], windows: npt.NDArray[np.float32]
) -> Iterator[str]:
    """Build and save (architecture, way) pairs; yields what was left out, and why."""
    import keras

    models: dict[tuple[str, bool], Any] = {}
    has_keras2 = importlib.util.find_spec("tf_keras") is not None
    for architecture, way in pairs:
        is_keras2 = way == "keras2"
        if is_keras2 and not has_keras2:
            yield f"{architecture} {way}: no tf_keras is installed"
            continue
        key = (architecture, is_keras2)
        if key not in models:
            models[key] = _model(_keras2() if is_keras2 else keras, architecture)
        path = path_of(directory, architecture, way)
        path.parent.mkdir(parents=True, exist_ok=True)
        WAYS[way][0](models[key], path)
        scores = models[key](windows, training=False)
        np.savez(path.with_suffix(".npz"), windows=windows, scores=np.array(scores))


def _keras2() -> Any:
    import tf_keras

    return tf_keras


if __name__ == "__main__":
    random = np.random.default_rng(7).normal(0, 1, (4, WINDOW, 1)).astype(np.float32)
    every = [(architecture, way) for architecture in ARCHITECTURES for way in WAYS]
    for left_out in build(Path(sys.argv[1]), every, random):
        print(left_out)
