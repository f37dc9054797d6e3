"""Training windows of each record, varied in rhythm and shape, made once for all fits."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Sequence

import numpy as np

from training import shapes
from training.rhythms import retime
from training.windows import (
    LEFT,
    NORMAL,
    NORMAL_SHAPED,
    PLACES,
    RIGHT,
    STEP,
    SUPRA,
    VENTRICULAR,
    WIDTH,
    WINDOW,
    Record,
    window_label,
)

Rng = np.random.Generator
SPAN = 2 * WINDOW  # frames of the record that a window is cut from, before it is retimed
# From this share of blocked beats on a record is one of bundle branch block.
BLOCKED = 0.1
# Beats that are nearly all S are early against nothing in their window. A network that is told to
# call them so calls every quick regular rhythm S, so such windows are not shown to it.
ALL_SUPRA = 0.85


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """Varied windows of one record.

    Attributes:
        millivolts: (n, WINDOW) float16.
        beats: 1 in the place of each beat, (n, PLACES).
        classes: class of the beat that covers a place, (n, PLACES).
        labels: N, S or V, (n,).
    """

    millivolts: np.ndarray
    beats: np.ndarray
    classes: np.ndarray
    labels: np.ndarray

    @property
    def blocked(self) -> bool:
        """Whether the patient has a bundle branch block."""
        covered = self.classes[self.classes > 0]
        return bool(np.isin(covered, (LEFT, RIGHT)).mean() > BLOCKED)


def make_pools(groups: Sequence[Sequence[Record]], count: int, seed: int) -> dict[str, Pool]:
    """Pools by record name; the same for the same seed.

    Ventricular beats change records inside a group only (a fold): nothing of a patient that is
    held out gets into the training of the others.
    """
    jobs = []
    for group in groups:
        donors = [shapes.complexes(r.millivolts, r.frames[r.classes == VENTRICULAR]) for r in group]
        donors = [beats for beats in donors if len(beats)]
        jobs += [(record, donors, count, seed) for record in group]
    with multiprocessing.get_context("spawn").Pool(2) as workers:
        made = workers.starmap(make_pool, jobs, chunksize=1)
    return {job[0].name: pool for job, pool in zip(jobs, made, strict=True)}


def make_pool(record: Record, donors: list[np.ndarray], count: int, seed: int) -> Pool:
    """The windows of one record."""
    rng = np.random.default_rng([seed, *record.name.encode()])
    pool = Pool(
        np.empty((count, WINDOW), np.float16),
        np.zeros((count, PLACES), np.int8),
        np.zeros((count, PLACES), np.int8),
        np.empty(count, np.int8),
    )
    row = 0
    while row < count:
        made = varied_window(record, donors, rng)
        if made is None:
            continue
        x, beats, classes, label = made
        pool.millivolts[row] = np.clip(x, -20, 20)
        for frame, kind in zip(beats, classes, strict=True):
            place = int(frame) // STEP
            pool.beats[row, place] = 1
            pool.classes[row, max(place - WIDTH // 2, 0) : place + WIDTH // 2 + 1] = kind
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
    cut = slice(start, start + SPAN)
    lead = shapes.mixed(record.millivolts[cut], record.other[cut], rng)
    reshaped = rng.random() < 0.4
    if reshaped:
        lead = shapes.reshaped(lead, rng)
    rhythm = retime(frames, classes, rng)
    classes[rhythm.become > 0] = rhythm.become[rhythm.become > 0]
    rate = rng.uniform(0.94, 1.06)  # of the clock, and of how broad complexes are
    left = rhythm.frames[-1] - WINDOW * rate
    if left <= 0:  # too quick to fill a window
        return None
    offset = rng.uniform(0, left)
    times = offset + np.arange(WINDOW) * rate
    x = shapes.warped(lead, frames, rhythm.frames, times, rng)
    beats = (rhythm.frames - offset) / rate
    if rhythm.fibrillates:
        x = shapes.fibrillating(x, beats, rng)
    ventricular = rhythm.become == VENTRICULAR
    if ventricular.any():
        if not donors:
            return None
        shapes.transplant(x, beats, ventricular, donors, rng)
    inside = (beats >= 0) & (beats < WINDOW)
    label = window_label(classes[inside])
    if label is None or np.mean(classes[inside] == SUPRA) > ALL_SUPRA:
        return None
    if reshaped:  # it may look like a block now, or not any more
        classes[np.isin(classes, (NORMAL, LEFT, RIGHT))] = NORMAL_SHAPED
    return x, beats[inside], classes[inside], label
