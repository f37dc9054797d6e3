"""Ten-second windows of MIT-BIH records for the rhythm model, labelled by their beats.

For evaluation: every window of a record, without overlap, as it is. For training: windows from
anywhere, varied in heart rate, rhythm, gain and noise. Both pass through Holter's 8-bit
front end.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import wfdb

from holter.frontend import FrontEnd

LEAD = "MLII"
RATE_HZ, WINDOW = 360, 3600
LABELS = ("N", "S", "V")
STEP = 8  # frames in one place of the class map: 45 places a second
PLACES = WINDOW // STEP
WIDTH = 5  # places that one beat covers in the class map
# Classes of the map, and the AAMI EC57 beat symbols in them. Bundle branch block (L, R) is AAMI N,
# but looks like V, so it has a class of its own. Fusion beats are folded into V; Q is not counted.
NONE, NORMAL, SUPRA, VENTRICULAR, LEFT, RIGHT, UNKNOWN = range(7)
SYMBOLS = {
    **dict.fromkeys("Nej", NORMAL), **dict.fromkeys("AaJS", SUPRA),
    **dict.fromkeys("VEF", VENTRICULAR), "L": LEFT, "R": RIGHT, **dict.fromkeys("/fQ", UNKNOWN),
}  # fmt: skip
MAP_WEIGHTS = np.array([1, 1, 3, 2, 1, 1, 0], np.float32)  # rare classes weigh more, Q nothing


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One patient: the lead after the analogue front end, and the beats' places and classes."""

    name: str
    millivolts: np.ndarray  # (frames,) float32, band-limited, not yet converted
    other: np.ndarray  # the same for the second lead, used only to vary the training windows
    frames: np.ndarray  # (beats,) frame number of each beat
    classes: np.ndarray  # (beats,) class of each beat


def load_records(directory: Path) -> list[Record]:
    """Every record of the directory that has the lead, by name; says which it skips."""
    found = []
    for header in sorted(directory.glob("*.hea")):
        path = str(header.with_suffix(""))
        raw = wfdb.rdrecord(path)
        if LEAD not in raw.sig_name or raw.fs != RATE_HZ:
            print(f"skip {header.stem}: no {LEAD} at {RATE_HZ} Hz")
            continue
        lead = raw.sig_name.index(LEAD)
        leads = [
            FrontEnd().band_limit(raw.p_signal[:, i], RATE_HZ).astype(np.float32)
            for i in (lead, 1 - lead)
        ]
        notes = wfdb.rdann(path, "atr")
        beats = [(f, SYMBOLS[s]) for f, s in zip(notes.sample, notes.symbol, strict=True)
                 if s in SYMBOLS]  # fmt: skip
        found.append(Record(header.stem, *leads, *np.array(beats).T))
    if not found:
        raise SystemExit(f"no WFDB record with lead {LEAD} in {directory}: give --records DIR")
    return found


def window_label(classes: np.ndarray) -> int | None:
    """Index of LABELS for a window's beats; None: no beat, or Q as the only other class."""
    supra, ventricular = np.sum(classes == SUPRA), np.sum(classes == VENTRICULAR)
    if supra or ventricular:
        return 1 if supra > ventricular else 2
    return None if len(classes) == 0 or UNKNOWN in classes else 0


def as_input(millivolts: np.ndarray) -> np.ndarray:
    """What the network is fed: through the 8-bit converter, then z-scored (model.toml)."""
    front_end = FrontEnd()
    x = front_end.millivolts(front_end.counts(millivolts))
    x = (x - x.mean(-1, keepdims=True)) / np.maximum(x.std(-1, keepdims=True), 1e-6)
    return x.astype(np.float32)[..., None]


def evaluation_windows(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """All labelled windows of a record, without overlap: inputs (n, WINDOW, 1), labels (n,)."""
    x, y = [], []
    for start in range(0, len(record.millivolts) - WINDOW + 1, WINDOW):
        inside = (record.frames >= start) & (record.frames < start + WINDOW)
        label = window_label(record.classes[inside])
        if label is not None:
            x.append(record.millivolts[start : start + WINDOW])
            y.append(label)
    return as_input(np.array(x)), np.array(y)


# Training windows: anywhere in a record, at another heart rate, with invented premature beats.


def retime(frames: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """New places for beats: another heart rate; some become premature, and S in place."""
    rr = np.diff(frames).astype(float)
    new = rr * rng.uniform(0.85, 1.2)
    if rng.random() < 0.35 and len(rr) > 3:
        regular = np.abs(rr / np.median(rr) - 1) < 0.12
        share = rng.choice([0.08, 0.2, 0.4])
        for i in range(1, len(rr) - 1):
            sinus = np.isin(classes[i : i + 2], (NORMAL, LEFT, RIGHT)).all()
            if sinus and regular[i - 1 : i + 2].all() and rng.random() < share:
                new[i] *= rng.uniform(0.55, 0.82)
                new[i + 1] *= rng.uniform(1.0, 1.35)
                classes[i + 1] = SUPRA
    return frames[0] + np.concatenate([[0.0], np.cumsum(np.maximum(new, 0.36 * RATE_HZ))])


def disturb(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another gain, baseline wander, mains hum and noise, in mV."""
    t = np.arange(WINDOW) / RATE_HZ
    x = x * rng.uniform(0.6, 1.6)
    x = x + rng.uniform(0, 0.15) * np.sin(2 * np.pi * (rng.uniform(0.1, 0.6) * t + rng.random()))
    if rng.random() < 0.3:
        x = x + rng.uniform(0, 0.05) * np.sin(2 * np.pi * (rng.choice([50, 60]) * t + rng.random()))
    if rng.random() < 0.5:
        x = x + rng.uniform(0, 0.04) * rng.standard_normal(WINDOW)
    return x


def training_window(record: Record, rng: np.random.Generator) -> tuple[np.ndarray, ...] | None:
    """One varied window: mV (WINDOW,), map (PLACES, 6), label; None where it has no label."""
    span = WINDOW * 7 // 4
    latest = len(record.millivolts) - span
    start = rng.integers(0, latest)
    if rng.random() < 0.4:  # near an S or V beat, or at most a span later than drawn
        odd = record.frames[np.isin(record.classes, (SUPRA, VENTRICULAR))]
        if len(odd):
            start = np.clip(rng.choice(odd) - rng.integers(0, WINDOW), 0, start + span)
    start = min(start, latest)
    first, last = np.searchsorted(record.frames, (start, start + span))
    if last - first < 2:
        return None
    frames, classes = record.frames[first:last] - start, record.classes[first:last].copy()
    new = retime(frames, classes, rng)
    # A complex keeps its shape from 0.12 s before the beat to 0.22 s after; the rest is stretched.
    margins = np.array([-0.12, 0.22]) * RATE_HZ
    places = np.concatenate([[new[0] - frames[0] - 99], (new[:, None] + margins).ravel()])
    source = np.concatenate([[-99], (frames[:, None] + margins).ravel()])
    at = np.interp(np.arange(WINDOW), places, source)
    lead = record.millivolts[start : start + span]
    if rng.random() < 0.3:
        mix = rng.uniform(0, 0.7)
        lead = (1 - mix) * lead + mix * rng.choice([-1, 1]) * record.other[start : start + span]
    inside = (new >= 0) & (new < WINDOW)
    label = window_label(classes[inside])
    if label is None:
        return None
    beat_map = np.zeros((PLACES, len(MAP_WEIGHTS)), np.float32)
    beat_map[:, NONE] = 1
    for frame, kind in zip(new[inside], classes[inside], strict=True):
        place = int(frame) // STEP
        span_of_beat = slice(max(place - WIDTH // 2, 0), place + WIDTH // 2 + 1)
        beat_map[span_of_beat] = MAP_WEIGHTS[kind] * (np.arange(len(MAP_WEIGHTS)) == kind)
    x = np.interp(at, np.arange(span), lead)
    return disturb(x, rng), beat_map[:, :UNKNOWN], np.array(label)


Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_batch(records: list[Record], size: int, rng: np.random.Generator) -> Batch:
    """Varied windows from records drawn at random: inputs, weighted beat maps, labels."""
    rows: list[tuple[np.ndarray, ...]] = []
    while len(rows) < size:
        row = training_window(records[rng.integers(len(records))], rng)
        if row is not None:
            rows.append(row)
    x, beat_map, label = (np.array(column) for column in zip(*rows, strict=True))
    return as_input(x), beat_map, label
