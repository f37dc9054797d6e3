"""Fitting a network to pools of varied windows; the same for all networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from windows import LABELS, LEFT, RIGHT, as_input

from training.disturbances import vary
from training.pool import Pool

# Share of the windows of each label that are drawn, as far as the record has them.
LABEL_SHARES = (0.4, 0.3, 0.3)
BLOCK_WEIGHT = 1.6  # a record with bundle branch block is drawn so much more often
# By class in the pool (none N S V L R unknown any-normal): rare classes weigh more, Q nothing.
CLASS_WEIGHTS = (1, 1, 3, 2, 1, 1, 0, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How long and how fast to fit. `average`: decay of the running mean of the weights."""

    steps: int = 1200
    batch: int = 32
    rate: float = 3e-3
    weight_decay: float = 1e-3
    average: float = 0.995
    map_weight: float = 4.0
    label_weight: float = 0.3


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """What a model's build() gives.

    Attributes:
        inputs: windows scaled by z-score, (WINDOW, 1).
        logits: of LABELS.
        maps: outputs (PLACES, k) that are taught the beats in their place, each with, for each
            class in the pool, which of the k classes it may be called: shape (8, k) of 0 or 1.
    """

    inputs: keras.KerasTensor
    logits: keras.KerasTensor
    maps: tuple[tuple[keras.KerasTensor, np.ndarray], ...] = ()


Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


def batches(pools: Mapping[str, Pool], settings: Settings, seed: int) -> Iterator[Batch]:
    """Inputs, class maps and labels: records at random, labels by their shares, disturbed anew."""
    rng = np.random.default_rng([seed, 7])
    names = sorted(pools)
    rows = {n: [np.flatnonzero(pools[n].labels == k) for k in range(len(LABELS))] for n in names}
    weights = np.array(
        [BLOCK_WEIGHT if np.isin(pools[n].beat_map, (LEFT, RIGHT)).any() else 1.0 for n in names]
    )
    for _ in range(settings.steps):
        drawn = []
        for name in rng.choice(names, settings.batch, p=weights / weights.sum()):
            label = rng.choice(len(LABELS), p=LABEL_SHARES)
            if not len(rows[name][label]):
                label = int(np.argmax([len(r) for r in rows[name]]))
            drawn.append((pools[name], rng.choice(rows[name][label])))
        x = np.array([p.millivolts[i] for p, i in drawn], np.float32)
        beat_map = np.array([p.beat_map[i] for p, i in drawn], np.int32)
        yield as_input(vary(x, rng)), beat_map, np.array([p.labels[i] for p, i in drawn], np.int32)


def fit(
    build: Callable[[], Network], pools: Mapping[str, Pool], settings: Settings, seed: int
) -> keras.Model:
    """A model from windows to logits, with the running mean of its weights."""
    keras.utils.set_random_seed(seed)
    network = build()
    trained = keras.Model(network.inputs, [network.logits, *(m for m, _ in network.maps)])
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, settings.steps, alpha=0.01, warmup_target=settings.rate,
        warmup_steps=settings.steps // 20,
    )  # fmt: skip
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay, clipnorm=1.0)
    weights = trained.trainable_variables
    optimizer.build(weights)
    means = [tf.Variable(w) for w in weights]
    barred = [tf.constant(np.where(allowed, 0, -30), tf.float32) for _, allowed in network.maps]

    @tf.function  # type: ignore[untyped-decorator]
    def step(x: tf.Tensor, beat_map: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits, *maps = _as_list(trained(x, training=True))
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)
            loss = tf.reduce_mean(loss) * (settings.label_weight if maps else 1.0)
            weight = tf.gather(tf.constant(CLASS_WEIGHTS, tf.float32), beat_map)
            for places, table in zip(maps, barred, strict=True):
                right = tf.reduce_logsumexp(places + tf.gather(table, beat_map), -1)
                wrong = tf.reduce_logsumexp(places, -1) - right
                loss += settings.map_weight * tf.reduce_mean(weight * wrong)
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        for mean, weight in zip(means, weights, strict=True):
            mean.assign(settings.average * mean + (1 - settings.average) * weight)
        return loss

    for batch in batches(pools, settings, seed):
        step(*map(tf.constant, batch))
    for mean, weight in zip(means, weights, strict=True):
        weight.assign(mean)
    return keras.Model(network.inputs, network.logits)


def model_of(build: Callable[[], Network]) -> keras.Model:
    """The untrained model, to count its parameters."""
    network = build()
    return keras.Model(network.inputs, network.logits)


def _as_list(outputs: tf.Tensor | list[tf.Tensor]) -> list[tf.Tensor]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def calibrated(model: keras.Model, scale: float, bias: tuple[float, ...], name: str) -> keras.Model:
    """The model for use: softmax(scale * logits + bias)."""
    scores = layers.Softmax(name="scores")(layers.Rescaling(scale, offset=bias)(model.output))
    return keras.Model(model.input, scores, name=name)
