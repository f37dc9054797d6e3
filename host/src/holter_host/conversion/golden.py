"""Synthetic ECG as a device's 8-bit front end would see it: golden windows, and any number more.

An AD8232 (gain 1100 around 1.65 V) before a PCF8591 (256 counts for 3.3 V), so that 1 mV of ECG is
about 85 counts around 128; the values are whole counts, or those counts in volts or millivolts. No
record of a person is in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from holter.spec import Unit

GOLDEN_COUNT: Final = 8
_GAIN: Final = 1100.0
_BASELINE_VOLTS: Final = 1.65
_VOLTS_PER_COUNT: Final = 3.3 / 256
_FLAT_MILLIVOLTS: Final = 0.5
_LEADS: Final = (1.0, 0.6, -0.4, 0.8)

# A wave is (millivolts, seconds from the R peak, width in seconds): a Gaussian each.
_Waves = tuple[tuple[float, float, float], ...]
_NORMAL: Final[_Waves] = (
    (0.12, -0.17, 0.025),
    (-0.10, -0.03, 0.010),
    (1.00, 0.0, 0.011),
    (-0.20, 0.03, 0.012),
    (0.30, 0.26, 0.050),
)
_VENTRICULAR: Final[_Waves] = ((1.30, 0.0, 0.045), (-0.50, 0.10, 0.045), (-0.35, 0.30, 0.060))
_NO_P: Final[_Waves] = _NORMAL[1:]


def golden_windows(
    unit: Unit, rate_hz: float, window: int, channel_count: int = 1
) -> npt.NDArray[np.float32]:
    """Eight windows: five rhythms at several rates and sizes, one irregular, noise, and a flat one.

    Args:
        unit: unit of the result: counts, volts at the converter, or millivolts of ECG.
        rate_hz: sampling rate, in Hz.
        window: frames in a window.
        channel_count: channels; each sees the same heart with another amplitude.

    Returns:
        float32, shape (8, window, channel_count); the same for the same arguments.
    """
    rng = np.random.default_rng(20240229)
    seconds = np.arange(window) / rate_hz
    leads = np.resize(_LEADS, channel_count)
    millivolts = np.stack([lead[:, None] * leads for lead in _records(seconds, rng)])
    millivolts[-1] = _FLAT_MILLIVOLTS
    return front_end(millivolts, unit)


def synthetic_windows(
    unit: Unit, rate_hz: float, window: int, channel_count: int, count: int, seed: int
) -> npt.NDArray[np.float32]:
    """As many windows as are wanted: hearts of 40 to 180 beats a minute, many beats ventricular.

    Args:
        unit: as in `golden_windows`, as are `rate_hz`, `window` and `channel_count`.
        rate_hz: in Hz.
        window: frames in a window.
        channel_count: channels.
        count: how many windows.
        seed: another one gives other windows.

    Returns:
        float32, shape (count, window, channel_count); the same for the same arguments.
    """
    rng = np.random.default_rng(seed)
    seconds = np.arange(window) / rate_hz
    leads = np.resize(_LEADS, channel_count)
    millivolts = np.stack([_heart(seconds, rng)[:, None] * leads for _ in range(count)])
    return front_end(millivolts, unit)


def front_end(millivolts: npt.NDArray[np.float64], unit: Unit) -> npt.NDArray[np.float32]:
    """ECG through the front end of the module's head, then as whole counts or their unit."""
    volts = millivolts / 1000 * _GAIN + _BASELINE_VOLTS
    counts = np.clip(np.floor(volts / _VOLTS_PER_COUNT), 0, 255)
    return _in_unit(counts, unit).astype(np.float32)


def _in_unit(counts: npt.NDArray[np.float64], unit: Unit) -> npt.NDArray[np.float64]:
    if unit == "counts":
        return counts
    volts = counts * _VOLTS_PER_COUNT
    return volts if unit == "volts" else (volts - _BASELINE_VOLTS) / _GAIN * 1000


def _records(
    seconds: npt.NDArray[np.float64], rng: np.random.Generator
) -> Iterator[npt.NDArray[np.float64]]:
    end = float(seconds[-1]) + 1
    noise = rng.normal(0, 0.02, (GOLDEN_COUNT, len(seconds)))
    wander = 0.25 * np.sin(2 * np.pi * 0.3 * seconds)
    yield _beats(seconds, np.arange(0.3, end, 1.0), [_NORMAL]) + noise[0]
    yield 0.45 * _beats(seconds, np.arange(0.1, end, 0.8), [_NORMAL]) + noise[1]
    yield _beats(seconds, np.arange(0.2, end, 0.6), [_NORMAL]) + wander + noise[2]
    yield 1.2 * _beats(seconds, np.arange(0.2, end, 0.42), [_NORMAL]) + noise[3]
    pairs = np.arange(0.2, end, 1.5)
    bigeminy = np.sort(np.concatenate([pairs, pairs + 0.5]))
    yield _beats(seconds, bigeminy, [_NORMAL, _VENTRICULAR]) + noise[4]
    irregular = np.cumsum(rng.uniform(0.35, 1.1, int(end / 0.35) + 1))
    yield _beats(seconds, irregular, [_NO_P]) + 2 * noise[5]
    yield rng.normal(0, 0.3, len(seconds)) + 0.2 * np.sin(2 * np.pi * 50 * seconds)
    yield np.zeros(len(seconds))


def _heart(seconds: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Millivolts of one window: a rate, a regularity, kinds of beats, size, wander and noise."""
    end = float(seconds[-1]) + 1
    interval, irregularity = rng.uniform(0.33, 1.5), rng.choice([0.02, 0.02, 0.3])
    count = int(end / (interval * 0.4)) + 2
    intervals = interval * np.clip(rng.normal(1, irregularity, count), 0.4, 2)
    peaks = np.cumsum(intervals) - intervals[0] * rng.random()
    share = rng.choice([0, 0, 0.1, 0.5])
    normal = _NO_P if irregularity > 0.1 else _NORMAL
    kinds = [_VENTRICULAR if drawn < share else normal for drawn in rng.random(count)]
    wander = rng.uniform(0, 0.3) * np.sin(2 * np.pi * (rng.uniform(0.1, 0.5) * seconds))
    noise = rng.normal(0, rng.choice([0.01, 0.03, 0.08]), len(seconds))
    return rng.uniform(0.3, 1.4) * _beats(seconds, peaks, kinds) + wander + noise


def _beats(
    seconds: npt.NDArray[np.float64], peaks: npt.NDArray[np.float64], kinds: list[_Waves]
) -> npt.NDArray[np.float64]:
    """Millivolts at `seconds` for beats with R peaks at `peaks`, their kinds taken in turn."""
    total = np.zeros_like(seconds)
    for index, peak in enumerate(peaks):
        for size, delay, width in kinds[index % len(kinds)]:
            total += size * np.exp(-0.5 * ((seconds - peak - delay) / width) ** 2)
    return total
