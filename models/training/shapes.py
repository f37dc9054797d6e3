"""New signals out of recorded ones: other leads, other complexes, beats at other times."""

from __future__ import annotations

import numpy as np

from training.windows import RATE_HZ, WINDOW

Rng = np.random.Generator
BEFORE, AFTER = int(0.22 * RATE_HZ), int(0.42 * RATE_HZ)  # frames of a ventricular complex
QRS = int(0.1 * RATE_HZ)  # frames to either side of a beat that are its QRS complex, at most


def mixed(lead: np.ndarray, other: np.ndarray, rng: Rng) -> np.ndarray:
    """The lead, the other one, or a mixture, of either sign; at times with other slow waves."""
    chance, sign = rng.random(), rng.choice([-1, 1])
    if chance < 0.15:
        lead = other * sign
    elif chance < 0.5:
        share = rng.uniform(0, 0.7)
        lead = (1 - share) * lead + share * sign * other
    if rng.random() < 0.35:
        frames = int(rng.integers(11, 61))
        lead = lead + rng.uniform(-0.5, 0.8) * np.convolve(lead, np.ones(frames) / frames, "same")
    return lead


def reshaped(lead: np.ndarray, rng: Rng) -> np.ndarray:
    """Through a short random filter: all complexes get another width and other peaks, alike.

    So a network learns that V is what differs from the other beats, not what it has seen as V.
    """
    t = np.arange(-36, 37) / RATE_HZ
    taps = (t == 0).astype(float)
    for _ in range(3):
        centre, width = rng.uniform(-0.06, 0.06), rng.uniform(0.004, 0.02)
        bump = np.exp(-0.5 * ((t - centre) / width) ** 2)
        taps += rng.uniform(-0.9, 0.9) * bump / bump.sum()
    return np.convolve(lead, taps / np.sqrt(np.sum(taps**2)), "same")


def warped(
    lead: np.ndarray, old: np.ndarray, new: np.ndarray, times: np.ndarray, rng: Rng
) -> np.ndarray:
    """A lead with its beats at other times, mV, shape of `times`.

    Complexes keep their shape; between two of them time is stretched, or some of what lies before
    a beat that comes sooner is cut out (a P wave may go with it). Both happen in every kind of
    rhythm: a network that could tell a stretched wave would call it S and look no further.

    Args:
        lead: mV, (frames,).
        old: frame of each beat in the lead.
        new: where each beat goes, the first one to 0.
        times: where values are wanted, on the scale of `new`.
        rng: of what is drawn.
    """
    beats = len(old) - 1
    was, now = np.diff(old).astype(float), np.diff(new)
    i = np.clip(np.searchsorted(new, times, side="right") - 1, 0, beats - 1)
    since = times - new[i]
    if rng.random() < 0.5:  # all but the complexes is stretched
        after, before = np.full(beats, 0.22 * RATE_HZ), np.full(beats, 0.12 * RATE_HZ)
    else:  # or only what is between T and P waves
        after, before = np.minimum(0.4 * RATE_HZ, 0.55 * was), np.full(beats, 0.24 * RATE_HZ)
    shorter = np.minimum(was, now)
    tight = shorter - after - before < 0.05 * RATE_HZ
    after = np.where(tight, 0.4 * shorter, after)
    before = np.where(tight, np.minimum(0.35 * shorter, before), before)
    slope = (was - after - before) / (now - after - before)
    from_next = was[i] - (now[i] - since)
    stretched = np.where(
        since > (now - before)[i], from_next, after[i] + (since - after[i]) * slope[i]
    )
    stretched = np.where(since < after[i], since, stretched)
    cut = (now < 0.97 * was) & (rng.random() < 0.65) & (rng.random(beats) < 0.9)
    kept = np.minimum(rng.uniform(0.06, 0.28) * RATE_HZ * rng.uniform(0.9, 1.1, beats), 0.6 * now)
    fade = rng.uniform(0.03, 0.09) * RATE_HZ
    share = np.where(cut[i], np.clip((since - (now - kept)[i]) / fade + 0.5, 0, 1), 0)
    frames = np.arange(len(lead))
    first = np.interp(np.where(cut[i], since, stretched) + old[i], frames, lead)
    return (1 - share) * first + share * np.interp(from_next + old[i], frames, lead)


def fibrillating(x: np.ndarray, beats: np.ndarray, rng: Rng) -> np.ndarray:
    """Without P waves, with the waves of atrial fibrillation; `beats` are their frames in x."""
    frames = np.arange(len(x))
    length = np.diff(beats)
    begin = beats[:-1] + np.minimum(rng.uniform(0.34, 0.42) * RATE_HZ, 0.6 * length)
    end = beats[1:] - 0.07 * RATE_HZ
    i = np.clip(np.searchsorted(beats, frames, side="right") - 1, 0, len(length) - 1)
    from_, to = np.interp(begin, frames, x), np.interp(end, frames, x)
    line = from_[i] + (to - from_)[i] * (frames - begin[i]) / np.maximum(end - begin, 1)[i]
    flat = rng.uniform(0.7, 1.0) * ((frames > begin[i]) & (frames < end[i]))
    x = x + flat * (line - x)
    base, size = rng.uniform(4, 8.5), rng.uniform(0, 0.08)
    for _ in range(4):
        turns = (base + rng.uniform(-1, 1)) * frames / RATE_HZ + rng.random()
        x = x + size * rng.uniform(0.3, 1) * np.sin(2 * np.pi * turns)
    return x


def complexes(lead: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """At most 80 V complexes to transplant, mV around the lead's median, (n, BEFORE + AFTER)."""
    beats = beats[(beats >= BEFORE) & (beats + AFTER < len(lead))]
    beats = beats[np.linspace(0, len(beats) - 1, min(len(beats), 80)).astype(int)]
    around = beats[:, None] + np.arange(-BEFORE, AFTER)
    return lead[around] - np.median(lead)


def transplant(
    x: np.ndarray, beats: np.ndarray, replaced: np.ndarray, donors: list[np.ndarray], rng: Rng
) -> None:
    """Put ventricular complexes of donors in the place of beats, one shape or two in a window.

    A complex ends where the one of a neighbour begins: no beat is wiped out that is not replaced.

    Args:
        x: the window, mV, (WINDOW,); changed.
        beats: frame of each beat in it, and around it.
        replaced: whether a beat is, for each of them.
        donors: complexes of each donor, as from `complexes`.
        rng: of what is drawn.
    """
    shapes = []
    for _ in range(rng.choice([1, 1, 2])):
        donor = donors[rng.integers(len(donors))]
        shapes.append(donor[rng.integers(len(donor))])
    size = rng.uniform(0.6, 1.6) * rng.choice([-1, 1, 1])
    stretch = rng.uniform(0.8, 1.3)
    length = int((BEFORE + AFTER) * stretch)
    source = np.linspace(0, BEFORE + AFTER - 1, length)
    ends = np.concatenate([[-np.inf], beats, [np.inf]])
    for i in np.flatnonzero(replaced):
        first = int(beats[i] - BEFORE * stretch)
        low = int(max(first, ends[i] + QRS))
        high = int(min(first + length, ends[i + 2] - QRS))
        frames = np.arange(low, high)
        edge = np.minimum(frames - low, high - 1 - frames) / (0.08 * RATE_HZ)
        taper = 0.5 - 0.5 * np.cos(np.pi * np.clip(edge, 0, 1))
        shape = shapes[rng.integers(len(shapes))]
        beat = np.interp(source, np.arange(len(shape)), shape) * size * rng.uniform(0.9, 1.1)
        seen = (frames >= 0) & (frames < WINDOW)
        if seen.any():
            at = frames[seen]
            x[at] += taper[seen] * (np.median(x[at]) + beat[at - first] - x[at])
