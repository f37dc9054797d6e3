"""A network of the kind that users bring: convolutions, squeeze and excitation, an LSTM.

It learns from the labels of the windows alone, with the same windows as models/ecg-rhythm.
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
from training.windows import WINDOW

SETTINGS = Settings(steps=1000, batch=32, rate=2e-3)


def fit(pools: Mapping[str, Pool], seed: int, effort: float = 1.0) -> keras.Model:
    """A model from windows to logits; the same for the same seed. `effort`: share of the steps."""
    keras.utils.set_random_seed(seed)
    model, rng = build(), np.random.default_rng([seed, 7])

    def loss(x: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        logits = model(x, training=True)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    settings = SETTINGS.scaled(effort)
    fitting.descend(model.trainable_variables, loss, _windows(pools, settings, rng), settings)
    return model


def build() -> keras.Model:
    """Conv1D 128 x 20 with stride 3, SE blocks, LSTM(10), Dense: (WINDOW, 1) to logits (3,)."""
    inputs = keras.Input((WINDOW, 1), name="ecg")
    x = layers.Conv1D(128, 20, strides=3, activation="relu")(inputs)
    x = layers.MaxPooling1D(3)(layers.BatchNormalization()(x))
    x = excited(x, 8)
    x = layers.Conv1D(32, 7, padding="same", activation="relu")(x)
    x = layers.MaxPooling1D(3)(layers.BatchNormalization()(x))
    x = excited(x, 4)
    x = layers.LSTM(10)(layers.Dropout(0.2)(x))
    return keras.Model(inputs, layers.Dense(3)(x))


def excited(x: keras.KerasTensor, squeezed: int) -> keras.KerasTensor:
    """Squeeze and excitation (Hu et al. 2018): each filter times what all say of it."""
    share = layers.GlobalAveragePooling1D(keepdims=True)(x)
    share = layers.Dense(squeezed, activation="relu")(share)
    share = layers.Dense(x.shape[-1], activation="sigmoid")(share)
    return layers.Multiply()([x, share])


def _windows(
    pools: Mapping[str, Pool], settings: Settings, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    joined = fitting.Joined(pools)
    for rows in fitting.draws(fitting.chances(pools), settings, rng):
        x = fitting.disturbed(joined.take("millivolts", rows), rng)
        yield x, joined.take("labels", rows).astype(np.int32)
