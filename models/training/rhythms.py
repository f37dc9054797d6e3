"""New rhythms out of recorded ones: where each beat goes, and what it becomes."""

from __future__ import annotations

import dataclasses

import numpy as np

from training.windows import LEFT, NORMAL, RATE_HZ, RIGHT, SUPRA, VENTRICULAR

Rng = np.random.Generator
SHORTEST = 0.3 * RATE_HZ  # frames between two beats
PREMATURE, IRREGULAR = 0.55, 0.25  # shares of the windows whose rhythm is changed so
REGULAR = 0.15  # an interval that differs from the median by at most this share of it


@dataclasses.dataclass(frozen=True, slots=True)
class Rhythm:
    """New places of beats, frames from the old first one; the class that each becomes (0: stays
    what it is); and whether the atria fibrillate, so that there are no P waves.
    """

    frames: np.ndarray
    become: np.ndarray
    fibrillates: bool


def retime(frames: np.ndarray, classes: np.ndarray, rng: Rng) -> Rhythm:
    """Another heart rate; then one of: as it was, some normal beats made early, irregular.

    Early beats become S, V, or both kinds. An irregular rhythm stays N, with some V beats at times;
    none is made of a rhythm with S beats, which would be early no more.
    """
    rr = np.diff(frames).astype(float)
    new = rr * rng.uniform(0.8, 1.25)
    become = np.zeros(len(frames), int)
    fibrillates = False
    kind = rng.random() if len(rr) > 4 else 1.0
    if kind < PREMATURE and np.mean(np.abs(rr / np.median(rr) - 1) < REGULAR) > 0.7:
        which = kind / PREMATURE
        kinds = (SUPRA,) if which < 0.55 else (VENTRICULAR,)
        if which > 0.85:
            kinds = (SUPRA, VENTRICULAR)
        new = premature(rr, new, classes, become, kinds, rng)
        # So that missing P waves alone do not say that a rhythm is irregular.
        fibrillates = rng.random() < 0.12
    elif PREMATURE <= kind < PREMATURE + IRREGULAR and not np.any(classes == SUPRA):
        new, fibrillates = irregular(new, rng)
        if rng.random() < 0.35:
            share = rng.choice([0.06, 0.15, 0.3])
            normal = np.isin(classes, (NORMAL, LEFT, RIGHT))
            become[normal & (rng.random(len(classes)) < share)] = VENTRICULAR
    places = np.concatenate([[0.0], np.cumsum(np.maximum(new, SHORTEST))])
    return Rhythm(places, become, fibrillates)


def irregular(rr: np.ndarray, rng: Rng) -> tuple[np.ndarray, bool]:
    """Intervals that are short here and there without a premature beat."""
    kind = rng.choice(3, p=[0.7, 0.15, 0.15])
    if kind == 0:  # as in atrial fibrillation: every interval anew
        mean, sd = rng.uniform(0.45, 1.1) * RATE_HZ, rng.uniform(0.1, 0.32)
        z = rng.standard_normal(len(rr))
        if rng.random() < 0.5:  # many short ones, some long
            z = (rng.gamma(2.0, 1.0, len(rr)) - 2) / np.sqrt(2)
        return mean * np.clip(1 + sd * z, 0.5, 2.1), bool(rng.random() < 0.4)
    if kind == 1:  # with breathing
        phase = np.arange(len(rr)) / rng.uniform(3, 8) + rng.random()
        return rr * (1 + rng.uniform(0.05, 0.18) * np.sin(2 * np.pi * phase)), False
    return rr * np.where(rng.random(len(rr)) < 0.12, rng.uniform(1.4, 2.1), 1), False  # pauses


def premature(
    rr: np.ndarray, new: np.ndarray, classes: np.ndarray, become: np.ndarray,
    kinds: tuple[int, ...], rng: Rng,
) -> np.ndarray:  # fmt: skip
    """Shorten the interval before some regular normal beats, lengthen the one after; `become`
    says of which beats. None is lengthened before a recorded S beat, which would not be early then.
    """
    regular = np.abs(rr / np.median(rr) - 1) < REGULAR
    normal = np.isin(classes, (NORMAL, LEFT, RIGHT))
    share = rng.choice([0.06, 0.1, 0.2, 0.4, 0.7])
    runs = rng.random() < 0.25
    early, pause = rng.uniform(0.45, 0.86), rng.uniform(1.0, 1.5)
    i = 1
    while i < len(rr) - 1:
        if not (normal[i : i + 2].all() and regular[i - 1 : i + 2].all() and rng.random() < share):
            i += 1
            continue
        kind = int(rng.choice(kinds))
        last = min(i + (int(rng.integers(2, 10)) if runs else 1), len(rr) - 1)
        factor = early * rng.uniform(0.93, 1.07)
        if kind == VENTRICULAR:
            factor *= rng.uniform(0.9, 1.15)
        while i < last and normal[i + 1] and regular[i]:
            new[i] *= np.clip(factor * rng.uniform(0.97, 1.03), 0.4, 0.89)
            become[i + 1] = kind
            i += 1
        longer = pause * rng.uniform(0.95, 1.05)
        if classes[i + 1] != SUPRA:
            new[i] *= longer
        i += 1
    return new
