"""The rhythm network: beats first, then the row of beats.

1. Convolutions that see 0.37 s to either side say, 45 times a second, whether a beat is there and
   whether it has the shape of a ventricular one. They learn from the cardiologists' beats.
2. The peaks of that are the beats, at most 32 in a window. What the convolutions saw at a beat, and
   its place, make a row of beats. Places are integers, so they are exact in an int8 file too.
3. A beat is compared with the others of its window: how early it comes, how usual its intervals and
   its shape are here. S is a class of timing and V one of difference; neither is told by a beat
   alone, and what is usual differs from patient to patient.
4. Convolutions over the row give each beat a class, and counting gives the window's label, as the
   label is defined.

It is fitted in two descents: all of it, and then 2 to 4 anew, on what 1 sees in all windows of the
pools. The second one is cheap and sees each window often, which is what S needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from training import fitting
from training.fitting import Settings
from training.pool import Pool
from training.windows import PLACES, SUPRA, VENTRICULAR, WINDOW

ALL = Settings(steps=1200, batch=32, rate=3e-3)
ROW = Settings(steps=3000, batch=128, rate=2e-3)
FILTERS, HIDDEN, EMBEDDED, SLOTS = 32, 64, 16, 32
DROPOUT = 0.2
# By class in the pool (none N S V L R unknown normal-shaped): what the output may call it.
SHAPES = np.array([[1, 0, 0], *[[0, 1, 0]] * 2, [0, 0, 1], *[[0, 1, 0]] * 2, [1] * 3, [0, 1, 0]])
CLASSES = np.vstack([np.eye(6), np.ones(6), [0, 1, 0, 0, 1, 1]])
WEIGHTS = np.array([1, 1, 2, 1.5, 1, 1, 0, 1], np.float32)  # rare classes weigh more, Q nothing
# Two beats are alike from these cosines on (where the descent starts from).
ALIKE = (0.2, 0.5, 0.7, 0.8, 0.9, 0.95)

Tensor = keras.KerasTensor


class Network:
    """The parts, which share their weights.

    Attributes:
        eyes: from a window (WINDOW, 1) to what is seen (PLACES, FILTERS) and shapes (PLACES, 3).
        row: from what was seen at beats (SLOTS, FILTERS), their places (SLOTS,) and whether there
            is one (SLOTS,) to logits of the beats' classes (SLOTS, 6) and of N, S, V (3,).
        model: from a window to the logits of N, S, V.
    """

    def __init__(self) -> None:
        window = keras.Input((WINDOW, 1), name="ecg")
        seen, shapes = _eyes(window)
        self.eyes = keras.Model(window, [seen, shapes])
        self.row = _row()
        _, logits = self.row(at_beats(seen, beats(shapes))[:3])
        self.model = keras.Model(window, logits)

    @property
    def variables(self) -> list[keras.Variable]:
        """All that is learnt."""
        return [*self.eyes.trainable_variables, *self.row.trainable_variables]


def build() -> keras.Model:
    """The untrained model, from windows (WINDOW, 1) to logits (3,)."""
    return Network().model


def fit(pools: Mapping[str, Pool], seed: int, effort: float = 1.0) -> keras.Model:
    """A model from windows to logits; the same for the same seed. `effort`: share of the steps."""
    keras.utils.set_random_seed(seed)
    first, rng = Network(), np.random.default_rng([seed, 7])
    settings = ALL.scaled(effort)
    batches = _windows(pools, settings, rng)
    fitting.descend(first.variables, lambda *batch: _loss(first, *batch), batches, settings)
    network, settings = Network(), ROW.scaled(effort)
    network.eyes.set_weights(first.eyes.get_weights())
    batches = _rows(network, pools, settings, rng)
    row = network.row.trainable_variables
    fitting.descend(row, lambda *batch: _row_loss(network, *batch), batches, settings)
    return network.model


def convolution(x: Tensor, filters: int, size: int, stride: int = 1, dilation: int = 1) -> Tensor:
    """Convolution, batch normalisation, ReLU."""
    x = layers.Conv1D(
        filters, size, strides=stride, dilation_rate=dilation, padding="same", use_bias=False
    )(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _eyes(x: Tensor) -> tuple[Tensor, Tensor]:
    x = layers.AveragePooling1D(2)(x)
    x = convolution(convolution(x, 16, 9, 2), FILTERS, 7, 2)
    for dilation in (1, 2, 4):
        x = x + layers.SpatialDropout1D(0.1)(convolution(x, FILTERS, 5, 1, dilation))
    return x, layers.Conv1D(3, 1)(x)


def beats(shapes: Tensor) -> Tensor:
    """1 in the place of each beat, int32 (PLACES,), for logits of none, N-like, V-like."""
    beat = 1.0 - ops.softmax(shapes)[:, :, :1]
    smooth = ops.average_pool(beat, 5, 1, "same")
    top = ops.max_pool(smooth, 9, 1, "same")
    peak = ops.cast(ops.logical_and(smooth >= top, smooth > 0.4), "float32")
    # The first of several alike: 8 bits make plateaus.
    before = ops.max_pool(ops.pad(peak, ((0, 0), (6, 0), (0, 0))), 6, 1, "valid")[:, :PLACES]
    return ops.cast(peak * (1.0 - before), "int32")[:, :, 0]


def at_beats(seen: Tensor, peaks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The row of beats: what is seen, place, whether there is one; and (PLACES, SLOTS) which is
    which.
    """
    number = ops.cumsum(peaks, axis=1) * peaks
    slots = np.arange(1, SLOTS + 1, dtype=np.int32)
    which = ops.cast(ops.equal(ops.expand_dims(number, -1), slots), "int32")
    there = ops.matmul(ops.transpose(ops.cast(which, "float32"), (0, 2, 1)), seen)
    places = np.arange(PLACES, dtype=np.int32)[:, None]
    return there, ops.sum(which * places, 1), ops.sum(which, 1), which


def _row() -> keras.Model:
    seen = keras.Input((SLOTS, FILTERS))
    places, present = (keras.Input((SLOTS,), dtype="int32") for _ in range(2))
    there = ops.expand_dims(ops.cast(present, "float32"), -1)
    count = ops.maximum(ops.sum(there, 1, keepdims=True), 1.0)
    x = layers.Dense(FILTERS)(seen) * there
    timing = _timing(places, present)
    usual = _usual_shape(x, there, count)
    difference = (x - ops.sum(x, 1, keepdims=True) / count) * there
    told = layers.Concatenate()([x, difference, usual, timing])
    x = layers.Dense(HIDDEN, use_bias=False)(told)
    x = layers.ReLU()(layers.BatchNormalization()(x)) * there
    for block in range(3):
        x = (x + layers.Dropout(DROPOUT)(convolution(x, HIDDEN, 3))) * there
        if block == 0:  # what the whole window looks like
            window = [ops.sum(x, 1, keepdims=True) / count, ops.max(x, 1, keepdims=True)]
            x = (x + layers.Dense(HIDDEN)(layers.Concatenate()(window))) * there
    x = layers.Dropout(DROPOUT)(layers.Concatenate()([x, timing, usual]))
    classes = layers.Dense(CLASSES.shape[1])(layers.Dense(HIDDEN, activation="relu")(x))
    return keras.Model([seen, places, present], [classes, _counted(classes, there)])


def _timing(places: Tensor, present: Tensor) -> Tensor:
    """Features of the beats' times: intervals before and after against the window's mean and most
    usual interval, how usual they are, and how regular the window is. Zero where no beat is.

    All in int32, thousandths of natural logarithms: an int8 file computes the same.

    Args:
        places: of the beats, ascending from slot 0 on, (SLOTS,).
        present: 1 where there is a beat, (SLOTS,).
    """
    known = present[:, 1:]  # of the interval before the beat in the next slot
    count = ops.maximum(ops.sum(known, 1, keepdims=True), 1)
    both = known[:, 1:] * known[:, :-1]

    def mean(x: Tensor, of: Tensor = count) -> Tensor:
        return ops.floor_divide(ops.sum(x, 1, keepdims=True), of)

    def size(x: Tensor) -> Tensor:
        return ops.maximum(x, -x)

    def near(x: Tensor) -> Tensor:
        return ops.clip(x, -1000, 1000)

    def sides(x: Tensor) -> list[Tensor]:  # of the interval before a beat, and of the one after
        return [ops.pad(x, ((0, 0), side)) for side in ((1, 0), (0, 1))]

    shortest, longest = 9, 112  # places: 0.2 and 2.5 s
    table = np.log(np.arange(longest + 1).clip(shortest) / 45)
    interval = ops.clip(places[:, 1:] - places[:, :-1], 0, longest)
    log = ops.take(np.round(1000 * table).astype(np.int32), interval) * known
    gap = size(ops.expand_dims(log, 2) - ops.expand_dims(log, 1))
    # How alike the window's intervals are to this one: all of them equal to it is 1000.
    alike = []
    for wide in (100, 250):
        close = ops.maximum(wide - gap, 0) * ops.expand_dims(known, 1)
        alike.append(ops.floor_divide(ops.sum(close, 2), count) * known * (1000 // wide))
    weight = ops.square(ops.floor_divide(alike[1], 32))
    mode = mean(log * weight, ops.maximum(ops.sum(weight, 1, keepdims=True), 1))
    average = mean(log)
    early, off = near(log - average) * known, near(log - mode) * known
    jump = size(log[:, 1:] - log[:, :-1]) * both
    regular = [
        mean(size(early)), ops.minimum(mean(jump), 1000), near(average), near(mode),
        *map(mean, alike),
        *(mean(1000 * ops.cast(jump < limit, "int32") * both) for limit in (60, 120, 200)),
    ]  # fmt: skip
    features = [
        *sides(early), *sides(ops.maximum(-early, 0)), *sides(near(log)), *sides(1000 * known),
        1000 * present, *sides(off), *sides(ops.maximum(-off, 0)), *sides(alike[0]),
        *sides(alike[1]), *(value * present for value in regular),
    ]  # fmt: skip
    return ops.cast(ops.stack(features, -1), "float32") * 0.001


def _usual_shape(x: Tensor, there: Tensor, count: Tensor) -> Tensor:
    """Of each beat the share of the window's beats that look like it, more and less alike."""
    unit = layers.Dense(EMBEDDED)(x)
    unit = unit * ops.rsqrt(ops.maximum(ops.sum(ops.square(unit), -1, keepdims=True), 1e-4)) * there
    cosine = ops.expand_dims(ops.matmul(unit, ops.transpose(unit, (0, 2, 1))), -1)
    like = layers.Dense(
        len(ALIKE),
        kernel_initializer=keras.initializers.Constant(8.0),
        bias_initializer=lambda shape, dtype=None: ops.convert_to_tensor(-8 * np.array(ALIKE, "f")),
    )(cosine)
    return ops.sum(ops.sigmoid(like) * ops.expand_dims(there, 1), 2) / count * there


class Sharpened(layers.Layer):  # type: ignore[misc]
    """A scale and an offset for each feature."""

    def build(self, shape: tuple[int, ...]) -> None:
        """Begin with 2 and 0."""
        start = keras.initializers.Constant(2.0)
        self.scale = self.add_weight(shape=shape[-1:], initializer=start)
        self.offset = self.add_weight(shape=shape[-1:], initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        return x * self.scale + self.offset


def _counted(classes: Tensor, there: Tensor) -> Tensor:
    """Logits of N, S, V by the label's own rule, which training may adjust.

    From how many beats are S and V and how sure the surest one is; each beat counts by how much
    greater its logit is than the greatest other one.
    """
    margins = []
    for kind in (SUPRA, VENTRICULAR):
        others = [classes[:, :, k : k + 1] for k in range(CLASSES.shape[1]) if k != kind]
        best = ops.max(layers.Concatenate()(others), -1, keepdims=True)
        margins.append(classes[:, :, kind : kind + 1] - best)
    sure = ops.sigmoid(Sharpened()(layers.Concatenate()(margins))) * there
    number = ops.sum(sure, 1)
    told = layers.Concatenate()([number, ops.max(sure, 1), ops.relu(number - 1.5)])
    # N unless there is a beat of another class; the more frequent class wins.
    rule = np.zeros((6, 3), np.float32)
    rule[[0, 1], [1, 2]], rule[[2, 3], [1, 2]] = 1, 2
    logits = layers.Dense(3)
    logits.build(told.shape)
    logits.set_weights([rule, np.array([2, 0, 0], np.float32)])
    return logits(told)


# The two descents.


def _windows(
    pools: Mapping[str, Pool], settings: Settings, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, ...]]:
    """Input, classes, beats, whether the row is to be of the network's own beats, labels.

    The true beats are moved by a place, and now and then left out or invented.
    """
    joined = fitting.Joined(pools)
    for number, rows in enumerate(fitting.draws(fitting.chances(pools), settings, rng)):
        marks = joined.take("beats", rows)
        told = np.zeros(marks.shape, np.int32)
        for row, place in zip(*np.nonzero(marks), strict=True):
            if rng.random() > 0.01:
                told[row, np.clip(place + rng.integers(-1, 2), 0, PLACES - 1)] = 1
        for row in np.flatnonzero(rng.random(len(told)) < 0.05):
            place = rng.integers(PLACES)
            if not told[row, max(place - 8, 0) : place + 9].any():
                told[row, place] = 1
        own = rng.random(len(rows)) < (0.5 if number > 0.3 * settings.steps else 0)
        x = fitting.disturbed(joined.take("millivolts", rows), rng)
        classes = joined.take("classes", rows).astype(np.int32)
        yield x, classes, told, own, joined.take("labels", rows).astype(np.int32)


def _loss(
    network: Network, x: tf.Tensor, classes: tf.Tensor, told: tf.Tensor, own: tf.Tensor,
    labels: tf.Tensor,
) -> tf.Tensor:  # fmt: skip
    seen, shapes = network.eyes(x, training=True)
    weights = tf.gather(tf.constant(WEIGHTS), classes)
    where = 4 * tf.reduce_mean(weights * _surprise(shapes, classes, SHAPES))
    peaks = tf.where(own[:, None], beats(shapes), told)
    at, places, present, which = at_beats(seen, tf.stop_gradient(peaks))
    kinds = tf.reduce_sum(which * classes[:, :, None], 1)
    return where + _row_loss(network, at, places, present, kinds, labels)


def _rows(
    network: Network, pools: Mapping[str, Pool], settings: Settings, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, ...]]:
    """Rows of beats with their classes, and labels, of the windows of all pools disturbed once."""

    @tf.function  # type: ignore[untyped-decorator]
    def look(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        seen, shapes = network.eyes(x, training=False)
        return at_beats(seen, beats(shapes))[:3]

    joined = fitting.Joined(pools)

    def kept(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        x = fitting.disturbed(joined.take("millivolts", rows), rng)
        at, places, present = (part.numpy() for part in look(tf.constant(x)))
        kinds = np.take_along_axis(joined.take("classes", rows), places, 1) * present
        labels = joined.take("labels", rows).astype(np.int32)
        return at.astype(np.float16), places, present, kinds.astype(np.int32), labels

    at, places, present, kinds, labels = fitting.of_all(joined, kept)
    for rows in fitting.draws(fitting.chances(pools), settings, rng):
        row = at[rows].astype(np.float32), places[rows], present[rows], kinds[rows]
        yield *row, labels[rows]


def _row_loss(
    network: Network, at: tf.Tensor, places: tf.Tensor, present: tf.Tensor, kinds: tf.Tensor,
    labels: tf.Tensor,
) -> tf.Tensor:  # fmt: skip
    classes, logits = network.row([at, places, present], training=True)
    there = tf.cast(present, tf.float32)
    weights = tf.gather(tf.constant(WEIGHTS), kinds) * there
    each = tf.reduce_sum(weights * _surprise(classes, kinds, CLASSES)) / tf.maximum(
        tf.reduce_sum(there), 1.0
    )
    whole = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return each + tf.reduce_mean(whole)


def _surprise(logits: tf.Tensor, classes: tf.Tensor, allowed: np.ndarray) -> tf.Tensor:
    """Minus the logarithm of the probability of all that a class may be called."""
    barred = tf.constant(np.where(allowed, 0, -30), tf.float32)
    right = tf.reduce_logsumexp(logits + tf.gather(barred, classes), -1)
    return tf.reduce_logsumexp(logits, -1) - right
