"""A network that is told how long each beat's intervals are.

It looks for beats: it gives every 22 ms a class (none, N, S, V, L, R) and is told the
cardiologists' beats. The window's label is then read off by counting, as the label is defined.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops
from windows import PLACES, SUPRA, VENTRICULAR, WIDTH, WINDOW

from training.fitting import Network

FILTERS = 32
# By class in the pool (none N S V L R unknown any-normal): what a place may be called.
SHAPES = np.array([[1, 0, 0], *[[0, 1, 0]] * 2, [0, 0, 1], *[[0, 1, 0]] * 2, [1] * 3, [0, 1, 0]])
CLASSES = np.vstack([np.eye(6), np.ones(6), [0, 1, 0, 0, 1, 1]])
FAR = 128.0  # places: longer than this since a beat is no longer told apart


def build() -> Network:
    """Where and of which shape beats are; then their intervals; then their classes; then counts."""
    x = inputs = keras.Input((WINDOW, 1), name="ecg")
    x = layers.AveragePooling1D(2)(x)
    x = convolution(convolution(x, 16, 9, 2), FILTERS, 7, 2)
    for dilation in (1, 2, 4):
        x = residual(x, dilation)
    shapes = layers.Conv1D(3, 1)(x)
    seen = ops.stop_gradient(layers.Softmax()(shapes))
    beat, ventricular = 1.0 - seen[:, :, :1], seen[:, :, 2:]
    timing = layers.ReLU()(layers.Conv1D(24, 1)(intervals(beat, ventricular)))
    # The mean beat of this patient in this window, and how each place differs from it.
    mean = layers.GlobalAveragePooling1D(keepdims=True)
    usual = mean(x * beat) * (1.0 / (mean(beat) + 0.01))
    known = layers.Concatenate()([x, (x - usual) * beat, timing])
    x = x + layers.Conv1D(FILTERS, 1, use_bias=False)(known) + layers.Dense(FILTERS)(usual)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for dilation in (2, 4, 8, 16, 32):
        x = residual(x, dilation)
    x = layers.Concatenate()([x + layers.Dense(FILTERS)(mean(x)), timing])
    classes = layers.Conv1D(6, 1)(layers.ReLU()(layers.Conv1D(FILTERS, 1)(x)))
    return Network(inputs, counted(classes), ((classes, CLASSES), (shapes, SHAPES)))


def convolution(
    x: keras.KerasTensor, filters: int, size: int, stride: int = 1, dilation: int = 1
) -> keras.KerasTensor:
    """Convolution, batch normalisation, ReLU."""
    x = layers.Conv1D(
        filters, size, strides=stride, dilation_rate=dilation, padding="same", use_bias=False
    )(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def residual(x: keras.KerasTensor, dilation: int) -> keras.KerasTensor:
    """x and what a dilated convolution sees around it."""
    return x + layers.SpatialDropout1D(0.1)(convolution(x, FILTERS, 5, 1, dilation))


def intervals(beat: keras.KerasTensor, ventricular: keras.KerasTensor) -> keras.KerasTensor:
    """Of each place in a beat how long ago the last one was and how soon the next one comes.

    In units of the window's mean interval less 1, and in places.

    Args:
        beat: that a beat is in the place, 0 to 1, (PLACES, 1).
        ventricular: that it has the shape of a ventricular one.
    """
    centre = beat
    for _ in range(2):
        centre = layers.AveragePooling1D(3, strides=1, padding="same")(centre)
    far = FAR * (1.0 - ops.clip(10.0 * centre - 7.5, 0.0, 1.0))
    before, after = since(far), since(far[:, ::-1])[:, ::-1]
    # WIDTH / mean(beat) is about the mean interval.
    rate = layers.GlobalAveragePooling1D(keepdims=True)(beat) * (1.0 / WIDTH)
    early, late = (ops.minimum(places * rate, 2.5) - 1.0 for places in (before, after))
    said = [early, late, ops.relu(-early), ops.relu(-late), before / 64.0, after / 64.0]
    return layers.Concatenate()([*(feature * beat for feature in said), beat, ventricular])


def since(far: keras.KerasTensor) -> keras.KerasTensor:
    """Places since the last one that is 0, six or more places ago; `far` is 0 or FAR."""
    for step in (1, 2, 4, 8, 16, 32, 64):
        far = ops.minimum(far, later(far, step) + float(step))
    return ops.minimum(later(far, 6) + 6.0, FAR)


def later(x: keras.KerasTensor, step: int) -> keras.KerasTensor:
    """x moved by some places, FAR before it."""
    return ops.pad(x[:, :-step], ((0, 0), (step, 0), (0, 0)), constant_values=FAR)


def counted(classes: keras.KerasTensor) -> keras.KerasTensor:
    """Logits of N, S, V by the label's own rule, which training may adjust."""
    share = layers.GlobalAveragePooling1D()(layers.Softmax()(classes))
    beats = layers.Rescaling(PLACES / WIDTH)(share)  # about how many beats of each class
    # N unless there is half a beat of another class; the more frequent class wins.
    rule = np.zeros((6, 3), np.float32)
    rule[SUPRA, 1] = rule[VENTRICULAR, 2] = 2
    logits = layers.Dense(3)
    logits.build(beats.shape)
    logits.set_weights([rule, np.array([1, 0, 0], np.float32)])
    return logits(beats)
