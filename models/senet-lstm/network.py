"""A network of the kind that users bring: convolutions, squeeze and excitation, an LSTM.

It is fitted to the same windows as models/ecg-rhythm and, as that one, told the cardiologists'
beats and fitted in two descents: all of it, while the LSTM must name each beat just after it; and
then the LSTM alone, on what the convolutions see in all windows of the pools. From the labels of
windows alone it learnt nothing of S in 3000 batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from training import fitting
from training.fitting import Settings
from training.pool import Pool
from training.windows import LABELS, PLACES, STEP, WINDOW

ALL = Settings(steps=1200, batch=32, rate=3e-3)
LAST = Settings(steps=4000, batch=128, rate=5e-3)
DROPOUT = 0.2
STEPS, STRIDE = 132, 27  # of the LSTM, and frames from one to the next
LATER = 72  # frames from a beat to where the LSTM must name it
# By class in the pool (none N S V L R unknown normal-shaped): the name (none N S V), its weight.
NAMES = np.array([0, 1, 2, 3, 1, 1, 0, 1], np.int32)
WEIGHTS = np.array([1, 2, 6, 4, 2, 2, 0, 2], np.float32)


class Network:
    """The parts, which share their weights.

    Attributes:
        eyes: from windows (WINDOW, 1) to what is seen at each step of the LSTM (STEPS, 32).
        last: from that to logits of what is named at each step (STEPS, 4) and of the window (3,).
        told: from windows to what `last` says.
        model: from windows to the logits of the window; its LSTM is set by `finish`.
    """

    def __init__(self) -> None:
        window = keras.Input((WINDOW, 1), name="ecg")
        x = layers.Conv1D(128, 20, strides=3, activation="relu")(window)
        x = layers.MaxPooling1D(3)(layers.BatchNormalization()(x))
        x = excited(x, 8)
        x = layers.Conv1D(32, 7, padding="same", activation="relu")(x)
        x = layers.MaxPooling1D(3)(layers.BatchNormalization()(x))
        x = excited(x, 4)
        self.eyes = keras.Model(window, x)
        seen, label = keras.Input(x.shape[1:]), layers.Dense(len(LABELS))
        self._every = layers.LSTM(10, return_sequences=True)
        steps = self._every(layers.Dropout(DROPOUT)(seen))
        named = layers.Dense(1 + len(LABELS))(steps)
        self.last = keras.Model(seen, [named, label(steps[:, -1])])
        self.told = keras.Model(window, self.last(x))
        self._end = layers.LSTM(10)
        self.model = keras.Model(window, label(self._end(x)))

    def finish(self) -> keras.Model:
        """The model, with what the LSTM has learnt."""
        self._end.set_weights(self._every.get_weights())
        return self.model


def build() -> keras.Model:
    """Conv1D 128 x 20 with stride 3, SE blocks, LSTM(10), Dense: (WINDOW, 1) to logits (3,)."""
    return Network().model


def fit(pools: Mapping[str, Pool], seed: int, effort: float = 1.0) -> keras.Model:
    """A model from windows to logits; the same for the same seed. `effort`: share of the steps."""
    keras.utils.set_random_seed(seed)
    network, rng = Network(), np.random.default_rng([seed, 7])
    joined, chance = fitting.Joined(pools), fitting.chances(pools)

    def descend(part: keras.Model, batches: Iterator[Batch], settings: Settings) -> None:
        fitting.descend(
            part.trainable_variables, lambda *batch: _loss(part, *batch), batches, settings
        )

    settings = ALL.scaled(effort)
    draws = fitting.draws(chance, settings, rng)
    descend(network.told, (_windows(joined, rows, rng) for rows in draws), settings)
    settings = LAST.scaled(effort)
    seen, classes, labels = _seen(network, joined, rng)
    draws = fitting.draws(chance, settings, rng)
    kept = ((seen[rows].astype(np.float32), classes[rows], labels[rows]) for rows in draws)
    descend(network.last, kept, settings)
    return network.finish()


def excited(x: keras.KerasTensor, squeezed: int) -> keras.KerasTensor:
    """Squeeze and excitation (Hu et al. 2018): each filter times what all say of it."""
    share = layers.GlobalAveragePooling1D(keepdims=True)(x)
    share = layers.Dense(squeezed, activation="relu")(share)
    share = layers.Dense(x.shape[-1], activation="sigmoid")(share)
    return layers.Multiply()([x, share])


Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


def _windows(joined: fitting.Joined, rows: np.ndarray, rng: np.random.Generator) -> Batch:
    """Input, class of what each step must name, label."""
    # What a step sees begins at its number times STRIDE and is about 45 frames long.
    places = ((np.arange(STEPS) * STRIDE + 22 - LATER) // STEP).clip(0, PLACES - 1)
    x = fitting.disturbed(joined.take("millivolts", rows), rng)
    classes = joined.take("classes", rows)[:, places].astype(np.int32)
    return x, classes, joined.take("labels", rows).astype(np.int32)


def _seen(network: Network, joined: fitting.Joined, rng: np.random.Generator) -> Batch:
    """What the convolutions see in the windows of all pools, disturbed once, and as `_windows`."""
    look = tf.function(lambda x: network.eyes(x, training=False), reduce_retracing=True)

    def kept(rows: np.ndarray) -> Batch:
        x, classes, labels = _windows(joined, rows, rng)
        return look(tf.constant(x)).numpy().astype(np.float16), classes, labels

    seen, classes, labels = fitting.of_all(joined, kept)
    return seen, classes, labels


def _loss(model: keras.Model, x: tf.Tensor, classes: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    named, logits = model(x, training=True)
    names, weights = tf.gather(NAMES, classes), tf.gather(WEIGHTS, classes)
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(names, named)
    whole = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return 2 * tf.reduce_mean(weights * each) + tf.reduce_mean(whole)
