"""Windows and their variation: what the reference models are trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holter_host.evaluation.records import Reading, prepare
from holter_host.evaluation.truth import NO_TRUTH
from training import disturbances, rhythms, shapes, windows
from training.pool import make_pool, make_pools
from training.windows import (
    LEFT,
    NORMAL,
    PLACES,
    RATE_HZ,
    SUPRA,
    UNKNOWN,
    VENTRICULAR,
    WINDOW,
    Record,
    window_label,
)


def record(name: str = "7", *, seed: int = 0, ventricular: bool = True) -> Record:
    """Two minutes of two leads of noise with a spike at each beat; some of its beats are V."""
    rng = np.random.default_rng(seed)
    frames = np.cumsum(rng.integers(250, 300, 150))
    classes = np.full(len(frames), NORMAL)
    if ventricular:
        classes[5::9] = VENTRICULAR
    leads = rng.normal(0, 0.02, (2, 12 * WINDOW)).astype(np.float32)
    leads[:, frames] += 1 + seed
    nothing = np.array([], np.int64)
    return Record(name, *leads, frames, classes, nothing, nothing)


def test_a_records_windows_are_those_of_holter_evaluate(mitdb: Path) -> None:
    """What cross-validation judges is what a device would classify, sample by sample."""
    path = mitdb / "208"
    seen, made = prepare(path, windows.SPEC, Reading()), windows.load(path)
    used = (seen.truth != NO_TRUTH) & ~seen.spoilt
    assert (made.starts.tolist(), made.truth.tolist()) == (
        seen.starts[used].tolist(),
        seen.truth[used].tolist(),
    )
    fed = np.stack([seen.values[s : s + WINDOW, 0] for s in made.starts]).astype(np.float64)
    scaled = (fed - fed.mean(1, keepdims=True)) / fed.std(1, keepdims=True)
    # Single precision before the converter: a value on its edge may fall to the next count.
    difference = np.abs(windows.as_input(made.windows())[..., 0] - scaled)
    assert np.mean(difference > 1e-3) < 1e-5
    assert difference.max() < 0.05


@pytest.mark.parametrize(
    ("beats", "label"),
    [
        ([NORMAL, LEFT], 0),
        ([NORMAL, SUPRA, VENTRICULAR], 2),
        ([SUPRA, SUPRA, VENTRICULAR], 1),
        ([NORMAL, UNKNOWN], None),
        ([], None),
    ],
)
def test_a_windows_label_is_that_of_its_beats(beats: list[int], label: int | None) -> None:
    """By the issue's own rule."""
    assert window_label(np.array(beats, int)) == label


def test_beats_go_where_they_are_sent() -> None:
    """A warped lead has each beat, in its own shape, where its rhythm says."""
    source = record()
    old, lead = source.frames[:20], source.millivolts
    for seed in range(60):
        rng = np.random.default_rng(seed)
        new = np.concatenate([[0], np.cumsum(np.diff(old) * rng.uniform(0.6, 1.5, 19))]).round()
        times = np.arange(0, new[-1])
        x = shapes.warped(lead, old, new, times, rng)
        for i in range(1, 18):
            around = np.arange(-3, 20)
            np.testing.assert_allclose(
                x[new[i].astype(int) + around], lead[old[i] + around], atol=1e-5
            )


def test_premature_beats_are_early_and_normal_ones_are_not() -> None:
    """What a rhythm makes S comes sooner than the window's other beats, none too soon."""
    frames = np.arange(40) * 300
    made = 0
    for seed in range(200):
        classes = np.full(40, NORMAL)
        rhythm = rhythms.retime(frames, classes, np.random.default_rng(seed))
        rr = np.diff(rhythm.frames)
        assert np.all(rr >= rhythms.SHORTEST - 1e-9)
        supra = np.flatnonzero(rhythm.become == SUPRA)
        if len(supra) and not np.any(rhythm.become == VENTRICULAR):
            made += 1
            assert rr[supra - 1].max() < 0.9 * np.median(rr[np.delete(np.arange(39), supra - 1)])
    assert made > 30


def test_no_rhythm_is_made_early_where_it_is_irregular() -> None:
    """In atrial fibrillation an early beat is not S."""
    rng = np.random.default_rng(1)
    frames = np.cumsum(300 * rng.uniform(0.5, 1.8, 40)).astype(int)
    for seed in range(200):
        rhythm = rhythms.retime(frames, np.full(40, NORMAL), np.random.default_rng(seed))
        assert not np.any(rhythm.become == SUPRA)


def test_a_recorded_s_beat_stays_early() -> None:
    """No irregular rhythm, and no pause after an invented early beat, moves it to where it is no S
    beat any more.
    """
    rr = np.full(39, 300)
    rr[[9, 24]], rr[[10, 25]] = 200, 330
    classes = np.full(40, NORMAL)
    classes[[10, 25]] = SUPRA
    invented = 0
    for seed in range(300):
        rhythm = rhythms.retime(np.r_[0, rr.cumsum()], classes.copy(), np.random.default_rng(seed))
        now, ordinary = np.diff(rhythm.frames), rhythm.become == 0
        ordinary[[10, 25]] = False
        invented += rhythm.become[[9, 24]].any()
        assert now[[9, 24]].max() < 0.8 * np.median(now[ordinary[1:]])
    assert invented > 5


def test_a_transplanted_complex_leaves_its_neighbours() -> None:
    """However close they are; what lies between may change, and the beat itself does."""
    beats = np.array([-50, 300, 440, 560, 900, 1500, 3580, 3700])
    replaced = np.isin(beats, (440, 900, 3700))
    lead = np.zeros(WINDOW)
    kept = beats[~replaced & (beats >= 0)]
    lead[kept] = 1
    donors = [np.full((1, shapes.BEFORE + shapes.AFTER), 5.0)]
    for seed in range(50):
        x = lead.copy()
        shapes.transplant(x, beats, replaced, donors, np.random.default_rng(seed))
        around = kept[:, None] + np.arange(-10, 11)
        assert np.array_equal(x[around], lead[around])
        assert np.abs(x[[440, 900]]).min() > 2


def test_a_pool_is_the_same_for_the_same_seed_and_its_labels_are_its_beats() -> None:
    """The law of what a network is told."""
    donors = [shapes.complexes(record().millivolts, record().frames[5::9])]
    pool, again = make_pool(record(), donors, 40, 3), make_pool(record(), donors, 40, 3)
    other = make_pool(record(), donors, 40, 4)
    assert np.array_equal(pool.millivolts, again.millivolts)
    assert not np.array_equal(pool.millivolts, other.millivolts)
    assert pool.classes.shape == (40, PLACES)
    for beats, classes, label in zip(pool.beats, pool.classes, pool.labels, strict=True):
        assert window_label(classes[beats == 1]) == label
        assert set(np.flatnonzero(beats)) <= set(np.flatnonzero(classes))


def test_nothing_of_another_fold_gets_into_a_pool() -> None:
    """Ventricular complexes move between the records of one fold alone: a patient who is held out
    is in no window that the others are trained on.
    """
    ours = [record("1", ventricular=False), record("2", seed=1)]
    theirs, others = [record("3", seed=2)], [record("3", seed=9)]
    made, changed = make_pools([ours, theirs], 20, 1), make_pools([ours, others], 20, 1)
    for name in ("1", "2"):
        assert np.array_equal(made[name].millivolts, changed[name].millivolts)
    assert not np.array_equal(made["3"].millivolts, changed["3"].millivolts)
    within = make_pools([[ours[0], record("2", seed=5)]], 20, 1)
    assert not np.array_equal(made["1"].millivolts, within["1"].millivolts)


def test_disturbances_are_what_they_are_called() -> None:
    """Those of the robustness table: a gain, a baseline, a rate."""
    x = np.sin(2 * np.pi * 1.2 * np.arange(WINDOW) / RATE_HZ)[None].astype(np.float32)
    assert disturbances.KINDS["none"](x) is x
    np.testing.assert_allclose(disturbances.KINDS["gain x 0.5"](x), x / 2)
    np.testing.assert_allclose(disturbances.KINDS["baseline +0.4 mV"](x), x + 0.4, atol=1e-6)
    fast = disturbances.KINDS["rate +1 %"](x)[0]
    periods = np.abs(np.fft.rfft(fast, 36000)).argmax() / 10 / (WINDOW / RATE_HZ)
    assert periods == pytest.approx(1.2 * 1.01, abs=0.011)
    noisy = disturbances.KINDS["white noise 0.05 mV"](x) - x
    assert noisy.std() == pytest.approx(0.05, rel=0.05)
