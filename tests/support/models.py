"""Small SavedModels for tests, made once by TensorFlow in a process of its own and then kept.

`saved_models()` gives a directory with one SavedModel for each name of this module's `_BUILDERS`,
and with those of `support.zoo` that `ZOO` names in its folder "zoo". `lost_weights.tflite` and
`flex.tflite` are what TensorFlow's own converter made of two of them without a word of warning,
`dense.tflite` and `random.tflite` of two more. `custom.keras` and `lambda.keras` need Python code.
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

from holter_host.conversion.golden import golden_windows
from support import zoo

WINDOW = 240
LABELS = ("N", "S", "V")
ZOO = (
    ("cnn", "saved"),
    ("se_lstm", "export"),
    ("gru", "export"),
    ("dropout_lstm", "export"),
    ("bilstm", "tf1"),
    ("stacked_lstm", "keras"),
    ("tcn", "keras2"),
    ("transformer", "export"),
    ("stft", "module"),
)
ZOO_WINDOW = 720


@functools.cache
def saved_models() -> Path:
    """The directory of SavedModels, made if this version of them was not made on this machine."""
    tensorflow = _installed("tensorflow-cpu") or _installed("tensorflow")
    parts = [Path(__file__).read_bytes(), Path(zoo.__file__).read_bytes(), tensorflow.encode()]
    parts.append(str(zoo.KERAS2.is_dir()).encode())
    key = hashlib.sha256(b"".join(parts)).hexdigest()[:12]
    target = Path(tempfile.gettempdir()) / f"holter-test-models-{os.getuid()}-{key}"
    if not target.is_dir():
        made = Path(tempfile.mkdtemp(prefix="holter-test-models-", dir=target.parent))
        command = [sys.executable, "-m", "support.models", str(made)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        folder = Path(__file__).parents[1]
        subprocess.run(command, check=True, capture_output=True, env=environment, cwd=folder)
        try:
            made.rename(target)
        except OSError:  # another run was faster
            subprocess.run(["rm", "-rf", str(made)], check=True)
    return target


def _installed(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _build_all(directory: Path) -> None:
    zoo.build(directory / "zoo", list(ZOO), golden_windows("millivolts", 360.0, ZOO_WINDOW))
    _build_keras_files(directory)
    for name, build in _BUILDERS.items():
        build(directory / name)
    cnn = zoo.path_of(directory / "zoo", "cnn", "saved")
    _build_tflite(directory / "lost_weights.tflite", cnn, ["TFLITE_BUILTINS"])
    for name in ("dense", "random"):
        _build_tflite(directory / f"{name}.tflite", directory / name, ["TFLITE_BUILTINS"])
    flex = ["TFLITE_BUILTINS", "SELECT_TF_OPS"]
    _build_tflite(directory / "flex.tflite", directory / "no_builtin", flex)


def _build_tflite(path: Path, saved_model: Path, ops: list[str]) -> None:
    """What TensorFlow's own converter makes of a SavedModel, good or not."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.target_spec.supported_ops = [tf.lite.OpsSet[name] for name in ops]
    path.write_bytes(converter.convert())


def _build_keras_files(directory: Path) -> None:
    """Two that Keras loads only with Python code: of a class of ours, and in the file itself."""
    import keras

    class Doubled(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    for name, layer in (
        ("custom", Doubled()),
        ("lambda", keras.layers.Lambda(lambda x: 2 * x, output_shape=(3,))),
    ):
        model = keras.Sequential([keras.layers.Input((3,)), layer])
        model.save(directory / f"{name}.keras")


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


def _free_time(tf: Any, module: Any, x: Any) -> Any:
    filtered = tf.nn.conv1d(x, module.weights[:9, None, :], 2, "SAME")
    return {"scores": tf.nn.softmax(tf.reduce_mean(filtered, axis=1))}


def _tf1_channels_first(path: Path) -> None:
    """Gives three values of each channel as they reach the model.

    By TensorFlow 1, with a variable that is a reference, and a loop.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [1, 2, WINDOW], name="x")
        one = v1.get_variable("one", [], use_resource=False, initializer=v1.ones_initializer())
        picked = tf.reshape(tf.gather(x, [0, 100, WINDOW - 1], axis=2), [1, -1])
        _, values = v1.while_loop(lambda n, _: n < 2, lambda n, v: (n + 1, v * one), [0, picked])
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(path), {"x": x}, {"values": values})


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


def _everything(path: Path) -> None:
    """Takes int16 (1, 1, time, 1), gives logits and features, in the second of two signatures.

    A hash table in it cannot be frozen.
    """
    import tensorflow as tf

    module = tf.Module()
    initial = tf.lookup.KeyValueTensorInitializer(tf.constant(["gain"]), tf.constant([3], tf.int64))
    module.table = tf.lookup.StaticHashTable(initial, 0)

    def late(x: Any) -> Any:
        gain = tf.cast(module.table.lookup(tf.constant(["gain"])), tf.float32)
        mean = tf.reduce_mean(tf.cast(x, tf.float32), axis=[1, 2])
        logits = mean * gain * tf.constant([[0.1, 0.2, 0.3]])
        return {"logits": logits, "features": tf.concat([logits, logits], axis=1)}

    specs = [tf.TensorSpec([None, 1, None, 1], tf.int16, name="x")]
    signatures = {
        "late": tf.function(late, input_signature=specs),
        "early": tf.function(lambda x: {"x": tf.cast(x, tf.float32)}, input_signature=specs),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)


def _value_loop(path: Path) -> None:
    """Halves the window until it is small, so that its values say how often."""
    import tensorflow as tf

    def function(x: Any) -> Any:
        (small,) = tf.while_loop(lambda x: tf.reduce_max(tf.abs(x)) > 0.1, lambda x: [x / 2], [x])
        return {"scores": tf.nn.softmax(tf.reduce_mean(small, axis=1) * tf.constant([[1.0, 2, 3]]))}

    _save_function(path, tf.Module(), function)


def _save_function(path: Path, module: Any, function: Callable[[Any], Any]) -> None:
    import tensorflow as tf

    spec = tf.TensorSpec([1, WINDOW, 1], tf.float32, name="x")
    tf.saved_model.save(module, str(path), signatures=tf.function(function, input_signature=[spec]))


def _class_name(path: Path) -> None:
    """Gives the label itself, looked up in a table."""
    import tensorflow as tf

    module = tf.Module()
    initial = tf.lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), tf.constant(LABELS))
    module.table = tf.lookup.StaticHashTable(initial, "?")
    _save_function(
        path, module, lambda x: {"label": module.table.lookup(tf.argmax(x[:, :3, 0], axis=1))}
    )


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
    "int_input": _module([None, WINDOW, 1], _dense, "int32"),
    "int8_input": _module([None, WINDOW, 1], _dense, "int8"),
    "free_time": _module([None, None, 1], _free_time),
    "batch_32": _module([32, WINDOW, 1], _dense),
    "channels_last": _module(
        [1, WINDOW, 2], lambda tf, m, x: {"values": tf.reduce_mean(x, axis=1)}
    ),
    "channels_first": _tf1_channels_first,
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
    "value_loop": _value_loop,
    "class_name": _class_name,
    "everything": _everything,
    "two_inputs": _two_inputs,
    "two_signatures": _two_signatures,
    "no_signature": _no_signature,
}


if __name__ == "__main__":
    _build_all(Path(sys.argv[1]))
