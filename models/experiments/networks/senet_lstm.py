"""A network of the kind that users bring: convolutions, squeeze and excitation, an LSTM."""

from __future__ import annotations

import keras
from keras import layers
from windows import WINDOW

from training.fitting import Network


def build() -> Network:
    """Conv1D 128 x 20 with stride 3, SE blocks, LSTM(10), Dense."""
    inputs = keras.Input((WINDOW, 1), name="ecg")
    x = layers.Conv1D(128, 20, strides=3, activation="relu")(inputs)
    x = layers.MaxPooling1D(3)(layers.BatchNormalization()(x))
    x = excited(x, 8)
    x = layers.Conv1D(32, 7, padding="same", activation="relu")(x)
    x = layers.MaxPooling1D(3)(layers.BatchNormalization()(x))
    x = excited(x, 4)
    x = layers.LSTM(10)(layers.Dropout(0.2)(x))
    return Network(inputs, layers.Dense(3)(x))


def excited(x: keras.KerasTensor, squeezed: int) -> keras.KerasTensor:
    """Squeeze and excitation: each filter times what the mean of all filters says of it."""
    share = layers.GlobalAveragePooling1D(keepdims=True)(x)
    share = layers.Dense(squeezed, activation="relu")(share)
    share = layers.Dense(x.shape[-1], activation="sigmoid")(share)
    return layers.Multiply()([x, share])
