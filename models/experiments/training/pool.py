"""Training windows of each record, varied in rhythm and shape, made once for all folds."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Sequence

import numpy as np
from windows import (
    LEFT,
    NORMAL,
    PLACES,
    RATE_HZ,
    RIGHT,
    STEP,
    SUPRA,
    VENTRICULAR,
    WIDTH,
    WINDOW,
    Record,
    window_label,
)

from training.rhythms import retime

Rng = np.random.Generator
ANY_NORMAL = 7  # class in the map of a normal beat whose kind is not known
SPAN = 2 * WINDOW  # frames of the record that a window is cut from, before it is retimed
BEFORE, AFTER = int(0.22 * RATE_HZ), int(0.42 * RATE_HZ)  # of a ventricular complex


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """Varied windows of one record: mV (n, WINDOW) float16, class map (n, PLACES), label (n,)."""

    millivolts: np.ndarray
    beat_map: np.ndarray
    labels: np.ndarray


def make_pools(groups: Sequence[Sequence[Record]], count: int, seed: int) -> dict[str, Pool]:
    """Pools by record name. Ventricular beats change records inside a group only (a fold)."""
    jobs = []
    for group in groups:
        donors = [beats for beats in map(ventricular_beats, group) if len(beats)]
        jobs += [(record, donors, count, seed) for record in group]
    with multiprocessing.Pool(2) as workers:
        made = workers.starmap(make_pool, jobs, chunksize=1)
    return {job[0].name: pool for job, pool in zip(jobs, made, strict=True)}


def ventricular_beats(record: Record) -> np.ndarray:
    """At most 80 of the record's V complexes, (n, BEFORE + AFTER) mV around the median."""
    frames = record.frames[record.classes == VENTRICULAR]
    frames = frames[(frames >= BEFORE) & (frames + AFTER < len(record.millivolts))]
    frames = frames[np.linspace(0, len(frames) - 1, min(len(frames), 80)).astype(int)]
    middle = np.median(record.millivolts)
    return np.array([record.millivolts[f - BEFORE : f + AFTER] - middle for f in frames])


def make_pool(record: Record, donors: list[np.ndarray], count: int, seed: int) -> Pool:
    """The same for the same seed."""
    rng = np.random.default_rng([seed, int(record.name)])
    pool = Pool(
        np.empty((count, WINDOW), np.float16),
        np.zeros((count, PLACES), np.int8),
        np.empty(count, np.int8),
    )
    row = 0
    while row < count:
        made = varied_window(record, donors, rng)
        if made is None:
            continue
        x, at, classes, label = made
        pool.millivolts[row] = np.clip(x, -20, 20)
        for frame, kind in zip(at, classes, strict=True):
            place = int(frame) // STEP
            pool.beat_map[row, max(place - WIDTH // 2, 0) : place + WIDTH // 2 + 1] = kind
        pool.labels[row] = label
        row += 1
    return pool


Varied = tuple[np.ndarray, np.ndarray, np.ndarray, int]


def varied_window(record: Record, donors: list[np.ndarray], rng: Rng) -> Varied | None:
    """One varied window: mV (WINDOW,), frame and class of its beats, label; None: no label."""
    latest = len(record.millivolts) - SPAN
    start = int(rng.integers(0, latest))
    odd = record.frames[np.isin(record.classes, (SUPRA, VENTRICULAR))]
    if len(odd) and rng.random() < 0.4:  # near an S or V beat
        start = int(np.clip(rng.choice(odd) - rng.integers(0, WINDOW), 0, latest))
    first, last = np.searchsorted(record.frames, (start, start + SPAN))
    if last - first < 3:
        return None
    frames, classes = record.frames[first:last] - start, record.classes[first:last].copy()
    lead, reshaped = mixed_leads(record, start, rng)
    new, become = retime(frames, classes, rng)
    classes[become > 0] = become[become > 0]
    # A complex keeps its shape from 0.12 s before the beat to 0.22 s after; the rest is stretched.
    margins = np.array([-0.12, 0.22]) * RATE_HZ
    places = np.concatenate([[new[0] - frames[0] - 99], (new[:, None] + margins).ravel()])
    places = np.maximum.accumulate(places + np.arange(len(places)) * 1e-6)
    source = np.concatenate([[-99], (frames[:, None] + margins).ravel()])
    rate = rng.uniform(0.94, 1.06)  # of the clock, and of how broad complexes are
    offset = rng.uniform(0, max(1.0, new[-1] - WINDOW * rate))
    wanted = np.interp(offset + np.arange(WINDOW) * rate, places, source)
    x = np.interp(wanted, np.arange(SPAN), lead).astype(np.float32)
    at = (new - offset) / rate
    if donors:
        transplant(x, at[become == VENTRICULAR], donors, rng)
    inside = (at >= 0) & (at < WINDOW)
    label = window_label(classes[inside])
    if reshaped:  # it may look like a block now, or not any more
        classes[np.isin(classes, (NORMAL, LEFT, RIGHT))] = ANY_NORMAL
    return None if label is None else (x, at[inside], classes[inside], label)


def mixed_leads(record: Record, start: int, rng: Rng) -> tuple[np.ndarray, bool]:
    """The lead, the other one, or a mixture of both, of either sign; and whether it is reshaped."""
    lead, other = (x[start : start + SPAN] for x in (record.millivolts, record.other))
    u, sign = rng.random(), rng.choice([-1, 1])
    if u < 0.15:
        lead = other * sign
    elif u < 0.5:
        share = rng.uniform(0, 0.7)
        lead = (1 - share) * lead + share * sign * other
    if rng.random() < 0.35:  # more or less of the slow waves
        frames = int(rng.integers(11, 61))
        lead = lead + rng.uniform(-0.5, 0.8) * np.convolve(lead, np.ones(frames) / frames, "same")
    reshaped = rng.random() < 0.4
    return (np.convolve(lead, new_shape(rng), "same") if reshaped else lead), reshaped


def new_shape(rng: Rng) -> np.ndarray:
    """A short random filter: complexes get another width and other peaks, all in the same way."""
    t = np.arange(-36, 37) / RATE_HZ
    taps = (t == 0).astype(float)
    for _ in range(3):
        centre, width = rng.uniform(-0.06, 0.06), rng.uniform(0.004, 0.02)
        bump = np.exp(-0.5 * ((t - centre) / width) ** 2)
        taps += rng.uniform(-0.9, 0.9) * bump / bump.sum()
    return taps / np.sqrt(np.sum(taps**2))


def transplant(x: np.ndarray, at: np.ndarray, donors: list[np.ndarray], rng: Rng) -> None:
    """Put ventricular complexes of other records in place, of one shape or two in a window."""
    shapes = []
    for _ in range(rng.choice([1, 1, 2])):
        beats = donors[rng.integers(len(donors))]
        shapes.append(beats[rng.integers(len(beats))])
    size = rng.uniform(0.6, 1.6) * rng.choice([-1, 1, 1])
    stretch = rng.uniform(0.8, 1.3)
    length = int((BEFORE + AFTER) * stretch)
    source = np.linspace(0, BEFORE + AFTER - 1, length)
    ramp = np.clip(np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.08 * RATE_HZ), 0, 1)
    taper = 0.5 - 0.5 * np.cos(np.pi * ramp)
    for frame in at:
        first = int(frame - BEFORE * stretch)
        low, high = max(first, 0), min(first + length, WINDOW)
        if high <= low:
            continue
        shape = shapes[rng.integers(len(shapes))]
        beat = np.interp(source, np.arange(len(shape)), shape) * size * rng.uniform(0.9, 1.1)
        share = taper[low - first : high - first]
        rest = np.median(x[low:high])
        x[low:high] += share * (rest + beat[low - first : high - first] - x[low:high])
