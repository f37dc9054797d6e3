"""The simulated ECG: deterministic, believable, and what its kind says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from holter.frontend import FrontEnd
from holter_device.adc.ecg import PERIOD_SECONDS, synthesize
from holter_device.adc.simulated import simulated_counts
from holter_device.config import SIMULATIONS

RATE = 360.0
FRONT_END = FrontEnd()


def _counts(kind: str, seed: int = 0, channels: int = 1) -> npt.NDArray[np.uint8]:
    return simulated_counts(kind, seed, RATE, FRONT_END, channels)


def _peaks(millivolts: npt.NDArray[np.float64], above: float) -> npt.NDArray[np.int64]:
    """Places of maxima above a height, 250 ms apart at least: the R peaks."""
    places: list[int] = []
    for place in np.flatnonzero(millivolts > above):
        if not places or place - places[-1] > 0.25 * RATE:
            places.append(int(place))
        elif millivolts[place] > millivolts[places[-1]]:
            places[-1] = int(place)
    return np.array(places)


def _beat_widths(millivolts: npt.NDArray[np.float64], peaks: npt.NDArray[np.int64]) -> list[float]:
    """Width of each R wave at half its height, in seconds."""
    widths = []
    for peak in peaks[1:-1]:
        half = millivolts[peak] / 2
        left, right = peak, peak
        while millivolts[left] > half:
            left -= 1
        while millivolts[right] > half:
            right += 1
        widths.append((right - left) / RATE)
    return widths


@pytest.mark.parametrize("kind", SIMULATIONS)
def test_the_same_seed_gives_the_same_counts(kind: str) -> None:
    """Counts depend on kind and seed alone, and another seed gives others."""
    assert np.array_equal(_counts(kind, 3), _counts(kind, 3))
    assert not np.array_equal(_counts(kind, 3), _counts(kind, 4))


@pytest.mark.parametrize("kind", ["sinus", "bigeminy", "atrial"])
def test_the_period_joins_onto_itself(kind: str) -> None:
    """Nowhere, the seam included, do two neighbours differ more than a QRS does."""
    counts = _counts(kind)[:, 0].astype(int)
    assert len(counts) == PERIOD_SECONDS * RATE
    inside = np.abs(np.diff(counts)).max()
    assert abs(counts[0] - counts[-1]) <= inside


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["sinus", "bigeminy", "atrial"])
def test_the_qrs_is_about_a_millivolt(kind: str, seed: int) -> None:
    """R peaks are 0.7 to 1.6 mV as the device sees them, and nothing is clipped."""
    counts = _counts(kind, seed)
    assert counts.min() > 0
    assert counts.max() < 255
    millivolts = FRONT_END.millivolts(counts[:, 0])
    heights = millivolts[_peaks(millivolts, 0.5)]
    assert np.percentile(heights, 5) > 0.7
    assert np.percentile(heights, 95) < 1.6


@pytest.mark.parametrize("seed", range(5))
def test_sinus_is_regular(seed: int) -> None:
    """Intervals are of 60 to 82 beats a minute, and vary by a few percent."""
    millivolts = FRONT_END.millivolts(_counts("sinus", seed)[:, 0])
    intervals = np.diff(_peaks(millivolts, 0.5)) / RATE
    assert 59 < 60 / intervals.mean() < 83
    assert intervals.std() / intervals.mean() < 0.06


@pytest.mark.parametrize("seed", range(5))
def test_bigeminy_alternates_narrow_and_wide_beats_with_a_full_pause(seed: int) -> None:
    """Every other beat is wide and early, and each pair of intervals is as long as the next."""
    millivolts = FRONT_END.millivolts(_counts("bigeminy", seed)[:, 0])
    peaks = _peaks(millivolts, 0.5)
    widths = _beat_widths(millivolts, peaks)
    intervals = np.diff(peaks) / RATE
    narrow, wide = sorted((np.mean(widths[::2]), np.mean(widths[1::2])))
    assert wide > 2 * narrow
    early, late = sorted((intervals[::2].mean(), intervals[1::2].mean()))
    assert late > 1.3 * early
    pairs = intervals[: len(intervals) // 2 * 2].reshape(-1, 2).sum(axis=1)
    assert pairs.std() / pairs.mean() < 0.04


@pytest.mark.parametrize("seed", range(5))
def test_atrial_has_early_narrow_beats_without_a_full_pause(seed: int) -> None:
    """Each third or fourth beat is early and as narrow as the others, which have a P wave."""
    millivolts = FRONT_END.millivolts(_counts("atrial", seed)[:, 0])
    peaks = _peaks(millivolts, 0.5)
    intervals = np.diff(peaks)
    usual = np.median(intervals)
    early = np.flatnonzero(intervals < 0.8 * usual)
    assert 1 / 4 <= len(early) / len(intervals) <= 1 / 3
    widths = np.array(_beat_widths(millivolts, peaks))
    assert widths.max() < 1.5 * np.median(widths)
    pairs = intervals[early[:-1]] + intervals[early[:-1] + 1]
    assert pairs.mean() < 1.8 * usual
    assert _p_height(millivolts, np.delete(peaks, early + 1)) > 0.06


def _p_height(millivolts: npt.NDArray[np.float64], peaks: npt.NDArray[np.int64]) -> float:
    """Height of the mean beat 170 ms before R, over what is 60 ms to both sides."""
    beats = np.stack([millivolts[p - 120 : p] for p in peaks if p >= 120]).mean(axis=0)
    place = 120 - round(0.17 * RATE)
    side = round(0.06 * RATE)
    return float(beats[place] - (beats[place - side] + beats[place + side]) / 2)


def test_noise_has_no_beats() -> None:
    """Noise has power, and no period of a heart: its autocorrelation fades at beat intervals."""
    millivolts = FRONT_END.millivolts(_counts("noise")[:, 0])
    spectrum = np.abs(np.fft.rfft(millivolts - millivolts.mean())) ** 2
    correlation = np.fft.irfft(spectrum)
    correlation /= correlation[0]
    assert millivolts.std() > 0.2
    assert np.abs(correlation[round(0.5 * RATE) : round(1.5 * RATE)]).max() < 0.35


def test_leads_off_is_sinus_with_rails() -> None:
    """3 s of every 20 s rail at 255; all else is the sinus rhythm of that seed."""
    off, sinus = _counts("leads-off", 2)[:, 0], _counts("sinus", 2)[:, 0]
    railed = np.zeros(len(off), dtype=bool)
    for second in range(8, round(PERIOD_SECONDS), 20):
        railed[round(second * RATE) : round((second + 3) * RATE)] = True
    assert np.array_equal(off == 255, railed)
    assert np.array_equal(off[~railed], sinus[~railed])


def test_channels_are_other_views_of_one_heart() -> None:
    """Channels differ, the first one is the same however many there are, and all beat together."""
    counts = _counts("sinus", 0, 4)
    assert np.array_equal(counts[:, :1], _counts("sinus"))
    correlation = np.corrcoef(counts.T.astype(float))
    assert (np.abs(correlation[0, 1:]) > 0.9).all()
    assert correlation[0, 3] < 0
    assert len({counts[:, channel].tobytes() for channel in range(4)}) == 4


@pytest.mark.parametrize("rate", [100.0, 250.0, 361.5, 1000.0])
def test_the_ecg_is_the_same_at_any_rate(rate: float) -> None:
    """The number of beats a period is the seed's, whatever the rate."""
    reference, other = synthesize("sinus", 1, RATE), synthesize("sinus", 1, rate)
    assert len(other) == round(PERIOD_SECONDS * rate)
    beats = [
        np.count_nonzero((signal[1:] > 0.5) & (signal[:-1] <= 0.5)) for signal in (reference, other)
    ]
    assert beats[0] == beats[1]
