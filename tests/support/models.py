"""Small SavedModels for tests, made once by TensorFlow in a process of its own and then kept.

`saved_models()` gives a directory with one SavedModel for each name of this module's `_BUILDERS`.
Those made by Keras also have NAME.npz beside them: `inputs` and the `scores` that Keras itself gave
for them, before anything was saved. `lost_weights.tflite` and `flex.tflite` are what TensorFlow's
own converter made of two of them, without a word of warning.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WINDOW = 240
LABELS = ("N", "S", "V")
KERAS_MODELS = tuple(
    f"{kind}_{way}" for kind in ("cnn", "lstm", "gru") for way in ("export", "saved")
)


@functools.cache
def saved_models() -> Path:
    """The directory of SavedModels, made if this version of them was not made on this machine."""
    tensorflow = _installed("tensorflow-cpu") or _installed("tensorflow")
    key = hashlib.sha256(Path(__file__).read_bytes() + tensorflow.encode()).hexdigest()[:12]
    target = Path(tempfile.gettempdir()) / f"holter-test-models-{os.getuid()}-{key}"
    if not target.is_dir():
        made = Path(tempfile.mkdtemp(prefix="holter-test-models-", dir=target.parent))
        command = [sys.executable, "-P", __file__, str(made)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        try:
            made.rename(target)
        except OSError:  # another run was faster
            subprocess.run(["rm", "-rf", str(made)], check=True)
    return target


def random_windows(count: int = 4) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Random windows, float32, shape (count, WINDOW, 1)."""
    rng = np.random.default_rng(7)
    return rng.normal(0, 1, (count, WINDOW, 1)).astype(np.float32)


def _installed(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _build_all(directory: Path) -> None:
    for kind in ("cnn", "lstm", "gru"):
        _build_keras(directory, kind)
    for name, build in _BUILDERS.items():
        build(directory / name)
    _build_tflite(directory / "lost_weights.tflite", directory / "cnn_saved", ["TFLITE_BUILTINS"])
    flex = ["TFLITE_BUILTINS", "SELECT_TF_OPS"]
    _build_tflite(directory / "flex.tflite", directory / "no_builtin", flex)


def _build_tflite(path: Path, saved_model: Path, ops: list[str]) -> None:
    """What TensorFlow's own converter makes of a SavedModel, good or not."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.target_spec.supported_ops = [tf.lite.OpsSet[name] for name in ops]
    path.write_bytes(converter.convert())


def _build_keras(directory: Path, kind: str) -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = layers.Input((WINDOW, 1), name="ecg")
    x = layers.Conv1D(6, 9, strides=3, activation="relu")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling1D(2)(x)
    last = {"cnn": layers.GlobalAveragePooling1D(), "lstm": layers.LSTM(5), "gru": layers.GRU(5)}
    model = keras.Model(inputs, layers.Dense(len(LABELS), activation="softmax")(last[kind](x)))
    windows = random_windows()
    scores = model(windows, training=False).numpy()
    model.export(str(directory / f"{kind}_export"), verbose=False)
    tf.saved_model.save(model, str(directory / f"{kind}_saved"))
    for way in ("export", "saved"):
        np.savez(directory / f"{kind}_{way}.npz", inputs=windows, scores=scores)


def _module(shape: list[int | None], body: Callable[..., Any], dtype: str = "float32") -> Any:
    """A builder: tf.Module with one serving_default from `x` to what `body(module, x)` gives."""

    def build(path: Path) -> None:
        import tensorflow as tf

        module = tf.Module()
        module.weights = tf.Variable(
            np.random.default_rng(5).normal(0, 0.3, (WINDOW, len(LABELS))).astype(np.float32)
        )
        spec = tf.TensorSpec(shape, tf.as_dtype(dtype), name="x")
        function = tf.function(lambda x: body(tf, module, x), input_signature=[spec])
        tf.saved_model.save(module, str(path), signatures=function)

    return build


def _dense(tf: Any, module: Any, x: Any) -> Any:
    flat = tf.reshape(tf.cast(x, tf.float32), [-1, WINDOW])
    return {"scores": tf.nn.softmax(tf.matmul(flat, module.weights))}


def _logits(tf: Any, module: Any, x: Any) -> Any:
    return {"logits": 10 * tf.matmul(tf.reshape(x, [-1, WINDOW]), module.weights)}


def _free_time(tf: Any, module: Any, x: Any) -> Any:
    filtered = tf.nn.conv1d(x, module.weights[:9, None, :], 2, "SAME")
    return {"scores": tf.nn.softmax(tf.reduce_mean(filtered, axis=1))}


def _picked(axis: int) -> Callable[..., Any]:
    """Three values of each channel, as they reach the model: shows what normalisation did."""
    return lambda tf, module, x: {
        "values": tf.reshape(tf.gather(x, [0, 100, WINDOW - 1], axis=axis), [1, -1])
    }


def _two_outputs(tf: Any, module: Any, x: Any) -> Any:
    scores = _dense(tf, module, x)["scores"]
    return {"scores": scores, "features": tf.concat([scores, scores], axis=1)}


def _no_builtin(tf: Any, module: Any, x: Any) -> Any:
    return {"scores": tf.linalg.inv(_dense(tf, module, x)["scores"][:, :1, None])[:, 0]}


def _random(tf: Any, module: Any, x: Any) -> Any:
    return {"scores": _dense(tf, module, x)["scores"] + tf.random.uniform([1, 3], 0, 0.1)}


def _py_function(tf: Any, module: Any, x: Any) -> Any:
    scores = _dense(tf, module, x)["scores"]
    return {"scores": tf.ensure_shape(tf.numpy_function(np.square, [scores], tf.float32), [1, 3])}


def _nan(tf: Any, module: Any, x: Any) -> Any:
    module.broken = getattr(module, "broken", None) or tf.constant(float("nan"))
    return {"scores": _dense(tf, module, x)["scores"] * module.broken}


def _stateful(path: Path) -> None:
    """Adds the number of the call to its scores, so that no window stands for itself."""
    import tensorflow as tf

    module = tf.Module()
    module.calls = tf.Variable(0.0)

    def function(x: Any) -> Any:
        calls = module.calls.assign_add(1.0)
        return {"scores": tf.reduce_mean(x, axis=1) + tf.stack([[calls, 0.0, 0.0]])}

    _save_function(path, module, function)


def _lookup_table(path: Path) -> None:
    """Takes a constant from a hash table, which cannot be frozen."""
    import tensorflow as tf

    module = tf.Module()
    initial = tf.lookup.KeyValueTensorInitializer(tf.constant(["gain"]), tf.constant([3], tf.int64))
    module.table = tf.lookup.StaticHashTable(initial, 0)

    def function(x: Any) -> Any:
        gain = tf.cast(module.table.lookup(tf.constant(["gain"])), tf.float32)
        return {
            "scores": tf.nn.softmax(tf.reduce_mean(x, axis=1) * gain * tf.constant([[1.0, 2, 3]]))
        }

    _save_function(path, module, function)


def _save_function(path: Path, module: Any, function: Callable[[Any], Any]) -> None:
    import tensorflow as tf

    spec = tf.TensorSpec([1, WINDOW, 1], tf.float32, name="x")
    tf.saved_model.save(module, str(path), signatures=tf.function(function, input_signature=[spec]))


def _two_inputs(path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    specs = [tf.TensorSpec([1, WINDOW], tf.float32, name="x"), tf.TensorSpec([1, 3], name="age")]
    function = tf.function(lambda x, age: {"scores": x[:, :3] + age}, input_signature=specs)
    tf.saved_model.save(module, str(path), signatures=function)


def _two_signatures(path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    spec = [tf.TensorSpec([1, WINDOW], tf.float32, name="x")]
    signatures = {
        "late": tf.function(lambda x: {"scores": x[:, -3:]}, input_signature=spec),
        "early": tf.function(lambda x: {"scores": x[:, :3]}, input_signature=spec),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)


def _no_signature(path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(path))


_BUILDERS: dict[str, Callable[[Path], None]] = {
    "dense": _module([None, WINDOW, 1], _dense),
    "dense_rank_2": _module([None, WINDOW], _dense),
    "dense_rank_4": _module([None, 1, WINDOW, 1], _dense),
    "int_input": _module([None, WINDOW, 1], _dense, "int32"),
    "logits": _module([None, WINDOW, 1], _logits),
    "free_time": _module([None, None, 1], _free_time),
    "free_all": _module([None, None, None], _free_time),
    "batch_32": _module([32, WINDOW, 1], _dense),
    "channels_last": _module([1, WINDOW, 2], _picked(1)),
    "channels_first": _module([1, 2, WINDOW], _picked(2)),
    "two_outputs": _module([None, WINDOW, 1], _two_outputs),
    "row_per_frame": _module([1, WINDOW, 1], lambda tf, m, x: {"scores": tf.tile(x, [1, 1, 3])}),
    "class_number": _module(
        [1, WINDOW], lambda tf, m, x: {"label": tf.argmax(_dense(tf, m, x)["scores"], axis=1)}
    ),
    "string_input": _module([1], lambda tf, m, x: {"length": tf.strings.length(x)}, "string"),
    "no_builtin": _module([1, WINDOW, 1], _no_builtin),
    "random": _module([1, WINDOW, 1], _random),
    "py_function": _module([1, WINDOW, 1], _py_function),
    "nan": _module([None, WINDOW, 1], _nan),
    "stateful": _stateful,
    "lookup_table": _lookup_table,
    "two_inputs": _two_inputs,
    "two_signatures": _two_signatures,
    "no_signature": _no_signature,
}


if __name__ == "__main__":
    _build_all(Path(sys.argv[1]))
