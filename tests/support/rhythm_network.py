"""What the parts of models/ecg-rhythm/network.py compute, as JSON: python rhythm_network.py MODELS.

In a process of its own: TensorFlow's settings are a process's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    """Print the JSON."""
    models = Path(sys.argv[1])
    sys.path[:0] = [str(models), str(models / "ecg-rhythm")]
    import network
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()

    def weights(seed: int) -> np.ndarray:
        fitted = network.fit(pools(), seed, effort=0.002)
        return np.concatenate([w.ravel() for w in fitted.get_weights()])

    first = weights(1)
    print(
        json.dumps(
            {
                "beats": beats(network),
                "row": row(network),
                "timing": timing(network),
                "same": bool(np.array_equal(first, weights(1))),
                "other": bool(np.array_equal(first, weights(2))),
                "others": others(),
                "finite": bool(np.isfinite(first).all()),
            }
        )
    )


def others() -> list[str]:
    """Which of two pools the one who is judged by the other's patient may learn from."""
    from training import crossvalidation, windows

    nothing = np.array([], np.int64)
    held_out = [windows.Record("1", *[np.array([], np.float32)] * 2, *[nothing] * 4)]
    return list(crossvalidation.without(pools(), held_out))


def pools() -> dict[str, object]:
    """Two pools of noise with beats."""
    from training.pool import Pool

    rng = np.random.default_rng(0)
    made = {}
    for name in ("1", "2"):
        marks = np.zeros((40, 450), np.int8)
        marks[:, 20::40] = 1
        classes = np.zeros((40, 450), np.int8)
        for place in range(20, 450, 40):
            classes[:, place - 2 : place + 3] = rng.integers(1, 4, (40, 1))
        noise = rng.normal(0, 1, (40, 3600)).astype(np.float16)
        made[name] = Pool(noise, marks, classes, rng.integers(0, 3, 40).astype(np.int8))
    return made


def beats(network: object) -> list[list[int]]:
    """Places of the beats that are found in three windows of probabilities."""
    p = np.full((3, 450), 0.01)
    for place in (0, 30, 60, 449):  # four beats, at both ends too
        p[0, max(place - 2, 0) : place + 3] = 0.9
    p[1, 100:105] = [0.3, 0.8, 0.99, 0.8, 0.3]  # one peak
    p[1, 200:220] = 1.0  # one plateau
    p[2, 300] = 0.9  # too short to be a beat
    logits = np.log(np.stack([1 - p, p / 2, p / 2], -1) + 1e-9).astype(np.float32)
    found = np.array(network.beats(logits))
    return [np.flatnonzero(window).tolist() for window in found]


def row(network: object) -> dict[str, object]:
    """What is taken at two beats, and of forty."""
    seen = np.arange(2 * 450, dtype=np.float32).reshape(2, 450, 1)
    peaks = np.zeros((2, 450), np.int32)
    peaks[0, [7, 99]] = 1
    peaks[1, : 40 * 11 : 11] = 1
    at, places, present, _ = (np.array(part) for part in network.at_beats(seen, peaks))
    return {"at": at[0, :3, 0].tolist(), "places": places[0, :3].tolist(),
            "present": present[0, :3].tolist(), "most": int(present[1].sum())}  # fmt: skip


def timing(network: object) -> list[list[float]]:
    """Features of a regular window with one early beat, by beat."""
    places = np.zeros((1, 32), np.int32)
    places[0, :6] = [10, 50, 90, 112, 170, 210]
    present = (np.arange(32) < 6).astype(np.int32)[None]
    return np.array(network._timing(places, present))[0].tolist()


if __name__ == "__main__":
    main()
