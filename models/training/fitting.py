"""What the fits of all networks share: which windows are drawn, and the descent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from training.disturbances import vary
from training.pool import Pool
from training.windows import LABELS, as_input

Rng = np.random.Generator
# Shares of the windows of each label that are drawn from a record, as far as it has them.
LABEL_SHARES = (0.4, 0.3, 0.3)
# A record with bundle branch block is drawn so much more often: there are few.
BLOCK_WEIGHT = 1.6


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Of one descent.

    Attributes:
        steps: batches.
        batch: windows in a batch.
        rate: greatest learning rate; it rises for a twentieth of the steps and falls as a cosine.
        weight_decay: of AdamW.
        average: decay of the running mean of the weights, which is the result.
        clip: greatest norm of the gradient.
    """

    steps: int
    batch: int
    rate: float
    weight_decay: float = 1e-3
    average: float = 0.995
    clip: float = 3.0

    def scaled(self, effort: float) -> Settings:
        """With this share of the steps."""
        return dataclasses.replace(self, steps=max(2, round(self.steps * effort)))


def chances(pools: Mapping[str, Pool]) -> np.ndarray:
    """Chance of each window of the pools, by name and row, to be drawn; they sum to 1."""
    chances = []
    for name in sorted(pools):
        labels = pools[name].labels
        count = np.bincount(labels, minlength=len(LABELS))
        each = (np.array(LABEL_SHARES) / np.maximum(count, 1))[labels]
        chances.append(each / each.sum() * (BLOCK_WEIGHT if pools[name].blocked else 1.0))
    joined = np.concatenate(chances)
    return joined / joined.sum()


def draws(chance: np.ndarray, settings: Settings, rng: Rng) -> Iterator[np.ndarray]:
    """Rows of each batch."""
    limits = np.cumsum(chance)
    for _ in range(settings.steps):
        rows = np.searchsorted(limits, rng.random(settings.batch))
        yield np.minimum(rows, len(chance) - 1)


def disturbed(millivolts: np.ndarray, rng: Rng) -> np.ndarray:
    """The input of the network for windows of a pool, with what a device adds drawn anew."""
    return as_input(vary(millivolts.astype(np.float32), rng))


class Joined:
    """The pools as one: `millivolts`, `beats`, `classes`, `labels` of all windows by row."""

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        self.pools = [pools[name] for name in sorted(pools)]
        sizes = [len(p.labels) for p in self.pools]
        self.ends = np.cumsum(sizes)
        self.starts = self.ends - sizes

    def __len__(self) -> int:
        return int(self.ends[-1])

    def take(self, field: str, rows: np.ndarray) -> np.ndarray:
        """A field of some rows; no copy of all windows is made, they are some hundred MB."""
        which = np.searchsorted(self.ends, rows, side="right")
        return np.array(
            [
                getattr(self.pools[k], field)[row - self.starts[k]]
                for k, row in zip(which, rows, strict=True)
            ]
        )


def of_all(
    joined: Joined, look: Callable[[np.ndarray], tuple[np.ndarray, ...]]
) -> tuple[np.ndarray, ...]:
    """The arrays that `look` makes of rows, for all of them; it is given a hundred at a time."""
    parts = np.array_split(np.arange(len(joined)), max(1, len(joined) // 100))
    return tuple(np.concatenate(c) for c in zip(*map(look, parts), strict=True))


Loss = Callable[..., tf.Tensor]


def descend(
    variables: Sequence[keras.Variable], loss: Loss, batches: Iterator[Sequence[np.ndarray]],
    settings: Settings,
) -> None:  # fmt: skip
    """AdamW (Loshchilov and Hutter 2019) over all variables as one vector.

    As one vector because a step of Keras's optimiser takes a fifth of the time of these small
    networks. The variables end as the running mean of where they have been.
    """
    sizes = [int(np.prod(v.shape)) for v in variables]
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, settings.steps, alpha=0.01, warmup_target=settings.rate,
        warmup_steps=max(1, settings.steps // 20),
    )  # fmt: skip

    def flat(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)

    def put(values: tf.Tensor) -> None:
        for variable, part in zip(variables, tf.split(values, sizes), strict=True):
            variable.assign(tf.reshape(part, variable.shape))

    now = tf.Variable(flat([tf.convert_to_tensor(v) for v in variables]))
    mean = tf.Variable(now)
    first, second = tf.Variable(tf.zeros_like(now)), tf.Variable(tf.zeros_like(now))

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(number: tf.Tensor, *batch: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            value = loss(*batch)
        slope = flat(tape.gradient(value, variables))
        slope *= tf.minimum(1.0, settings.clip / (tf.norm(slope) + 1e-6))
        first.assign(0.9 * first + 0.1 * slope)
        second.assign(0.999 * second + 0.001 * slope * slope)
        count = tf.cast(number + 1, tf.float32)
        move = first / (1 - 0.9**count) / (tf.sqrt(second / (1 - 0.999**count)) + 1e-7)
        now.assign(now - rate(number) * (settings.weight_decay * now + move))
        mean.assign(settings.average * mean + (1 - settings.average) * now)
        put(now)

    for number, batch in enumerate(batches):
        step(tf.constant(number, tf.int64), *map(tf.constant, batch))
    put(mean)
