"""A parametric ECG: each beat is a sum of Gaussians, one for each wave.

The model is that of McSharry et al., "A dynamical model for generating synthetic
electrocardiogram signals" (IEEE Trans. Biomed. Eng. 50, 2003), without its ring: waves of given
height, place and width around each R peak. It is for trying things out; it is no patient.

A recording is one period of PERIOD_SECONDS that joins onto itself, so that it never ends.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

PERIOD_SECONDS = 300.0

_NOISE_MILLIVOLTS = 0.008
_RESPIRATION_HZ = 0.25  # a whole number of breaths in a period
_WANDER_MILLIVOLTS = 0.08

FloatArray = npt.NDArray[np.float64]


class Wave(NamedTuple):
    """One wave of a beat: height in mV, place after the R peak and width (sigma) in seconds."""

    millivolts: float
    place: float
    width: float


_QRS_T = (
    Wave(-0.10, -0.030, 0.010),
    Wave(1.25, 0.000, 0.011),
    Wave(-0.25, 0.030, 0.011),
    Wave(0.15, 0.230, 0.050),
    Wave(0.20, 0.285, 0.035),
)
_BEATS = {
    "normal": (Wave(0.12, -0.170, 0.022), *_QRS_T),
    # A P wave from elsewhere in the atria, early and low; the QRS is a normal one.
    "atrial": (Wave(-0.07, -0.130, 0.018), *_QRS_T),
    # Wide (about 150 ms) with a T wave against the QRS.
    "ventricular": (
        Wave(1.40, 0.000, 0.036),
        Wave(-0.55, 0.085, 0.035),
        Wave(-0.40, 0.290, 0.065),
    ),
}


def synthesize(kind: str, seed: int, rate_hz: float) -> FloatArray:
    """One period of an ECG at the electrodes.

    Args:
        kind: "sinus", "bigeminy" (ventricular), "atrial" (premature atrial beats) or "noise" (no
            heart at all).
        seed: the same seed gives the same samples; another one another heart rate too.
        rate_hz: samples a second, in Hz.

    Returns:
        Shape (round(PERIOD_SECONDS * rate_hz),), in mV.
    """
    random = np.random.default_rng(seed)
    frame_count = round(PERIOD_SECONDS * rate_hz)
    seconds = np.arange(frame_count) / rate_hz
    breath = np.sin(2 * np.pi * _RESPIRATION_HZ * seconds)
    signal = _WANDER_MILLIVOLTS * breath
    if kind == "noise":
        signal += _coloured(random, rate_hz, frame_count, (0.5, 4.0)) * 0.4
        signal += _coloured(random, rate_hz, frame_count, (4.0, 40.0)) * 0.2
    else:
        times, names = _RHYTHMS[kind](random)
        for name in sorted(set(names)):
            places = np.array([t for t, n in zip(times, names, strict=True) if n == name])
            _add_beats(signal, random, places, _BEATS[name], rate_hz)
    return signal + random.normal(0, _NOISE_MILLIVOLTS, frame_count)


def _sinus(random: np.random.Generator) -> tuple[FloatArray, list[str]]:
    """Regular, but for the breath and a little chance."""
    interval = 60 / random.uniform(60, 82)
    count = round(PERIOD_SECONDS / interval)
    breath = np.sin(2 * np.pi * _RESPIRATION_HZ * interval * np.arange(count))
    times = _cumulate(interval * (1 + 0.03 * breath + random.normal(0, 0.012, count)))
    return times, ["normal"] * count


def _bigeminy(random: np.random.Generator) -> tuple[FloatArray, list[str]]:
    """Each normal beat is followed by an early ventricular one and a full compensatory pause."""
    interval = 60 / random.uniform(64, 78)
    count = round(PERIOD_SECONDS / (2 * interval))
    normal = _cumulate(2 * interval * (1 + random.normal(0, 0.015, count)))
    early = normal + 0.54 * interval + random.normal(0, 0.008, count)
    times = np.stack([normal, early], axis=1).reshape(-1)
    return times, ["normal", "ventricular"] * count


def _atrial(random: np.random.Generator) -> tuple[FloatArray, list[str]]:
    """A premature atrial beat after each two or three normal ones.

    The pause after it is not compensatory: an early atrial beat resets the sinus node.
    """
    interval = 60 / random.uniform(62, 76)
    intervals: list[float] = []
    names: list[str] = []
    while sum(intervals) < PERIOD_SECONDS:
        normal = int(random.integers(2, 4))
        # The interval before each beat: a pause, steady ones, then the early beat's.
        relative = [1.1, *[1.0] * (normal - 1), 0.58]
        intervals += [interval * r * (1 + random.normal(0, 0.012)) for r in relative]
        names += ["normal"] * normal + ["atrial"]
    return _cumulate(np.array(intervals)), names


_RHYTHMS = {"sinus": _sinus, "bigeminy": _bigeminy, "atrial": _atrial}


def _cumulate(intervals: FloatArray) -> FloatArray:
    """Times of the beats, with the intervals scaled so that they fill the period exactly."""
    times: FloatArray = np.cumsum(intervals * (PERIOD_SECONDS / intervals.sum()))
    times -= intervals[0]
    return times


def _add_beats(
    signal: FloatArray,
    random: np.random.Generator,
    times: FloatArray,
    waves: tuple[Wave, ...],
    rate_hz: float,
) -> None:
    """Add each wave of each beat; what reaches over an end goes on at the other one."""
    heights = 1 + random.normal(0, 0.03, (len(times), 1))
    for wave in waves:
        reach = np.arange(-round(5 * wave.width * rate_hz), round(5 * wave.width * rate_hz) + 1)
        centres = (times + wave.place)[:, None] * rate_hz
        frames = np.rint(centres).astype(np.int64) + reach
        distance = (frames - centres) / (wave.width * rate_hz)
        values = wave.millivolts * heights * np.exp(-0.5 * distance**2)
        np.add.at(signal, frames % len(signal), values)


def _coloured(
    random: np.random.Generator, rate_hz: float, frame_count: int, band_hz: tuple[float, float]
) -> FloatArray:
    """Gaussian noise in a band, of RMS 1, that joins onto itself."""
    spectrum = np.fft.rfft(random.normal(size=frame_count))
    frequencies = np.fft.rfftfreq(frame_count, 1 / rate_hz)
    spectrum[(frequencies < band_hz[0]) | (frequencies > band_hz[1])] = 0
    noise = np.fft.irfft(spectrum, frame_count)
    return np.asarray(noise / max(float(np.std(noise)), 1e-12))
