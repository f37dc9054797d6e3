"""New rhythms out of recorded ones: where each beat goes, and what it becomes."""

from __future__ import annotations

import numpy as np
from windows import LEFT, NORMAL, RATE_HZ, RIGHT, SUPRA, VENTRICULAR

Rng = np.random.Generator
SHORTEST = 0.3 * RATE_HZ


def retime(frames: np.ndarray, classes: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """New places for beats, and the class that each becomes (0: stays as it is).

    Another heart rate; then one of: as it was, an irregular rhythm that is still N, or some
    normal beats made early and then S, V, or both.
    """
    rr = np.diff(frames).astype(float)
    new = rr * rng.uniform(0.8, 1.25)
    become = np.zeros(len(frames), int)
    if len(rr) > 4:
        z = rng.random()
        if z < 0.62:
            kinds = (SUPRA,) if z < 0.33 else (VENTRICULAR,) if z < 0.53 else (SUPRA, VENTRICULAR)
            new = premature(rr, new, classes, become, kinds, rng)
        elif z < 0.62 + IRREGULAR:
            new = irregular(new, rng)
    return frames[0] + np.concatenate([[0.0], np.cumsum(np.maximum(new, SHORTEST))]), become


IRREGULAR = 0.12


def irregular(rr: np.ndarray, rng: Rng) -> np.ndarray:
    """Rhythms that look early here and there without a premature beat."""
    kind = rng.integers(3)
    if kind == 0:  # as in atrial fibrillation: every interval anew
        return rr * np.clip(1 + rng.uniform(0.1, 0.28) * rng.standard_normal(len(rr)), 0.55, 1.7)
    if kind == 1:  # with breathing
        phase = np.arange(len(rr)) / rng.uniform(3, 8) + rng.random()
        return rr * (1 + rng.uniform(0.05, 0.18) * np.sin(2 * np.pi * phase))
    return rr * np.where(rng.random(len(rr)) < 0.12, rng.uniform(1.4, 2.1), 1)  # pauses


def premature(
    rr: np.ndarray, new: np.ndarray, classes: np.ndarray, become: np.ndarray,
    kinds: tuple[int, ...], rng: Rng,
) -> np.ndarray:  # fmt: skip
    """Shorten the interval before some regular normal beats, lengthen the one after."""
    regular = np.abs(rr / np.median(rr) - 1) < 0.15
    normal = np.isin(classes, (NORMAL, LEFT, RIGHT))
    share = rng.choice([0.06, 0.1, 0.2, 0.4])
    runs = rng.random() < 0.25
    early, pause = rng.uniform(0.5, 0.87), rng.uniform(1.0, 1.5)
    i = 1
    while i < len(rr) - 1:
        if not (normal[i : i + 2].all() and regular[i - 1 : i + 2].all() and rng.random() < share):
            i += 1
            continue
        kind = int(rng.choice(kinds))
        last = min(i + (int(rng.integers(2, 8)) if runs else 1), len(rr) - 1)
        factor = early * rng.uniform(0.93, 1.07)
        if kind == VENTRICULAR:
            factor *= rng.uniform(0.9, 1.15)
        while i < last and normal[i + 1]:
            new[i] *= np.clip(factor * rng.uniform(0.97, 1.03), 0.42, 0.9)
            become[i + 1] = kind
            i += 1
        new[i] *= pause * rng.uniform(0.95, 1.05)
        i += 1
    return new
