"""Laws of the sets of windows that a conversion is calibrated and judged on, without TensorFlow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holter_host.capture import Capture
from holter_host.conversion.golden import front_end
from holter_host.conversion.window_sets import Wanted, read_set, synthetic_set
from holter_host.enums import SampleFormat
from holter_host.errors import BadInputError
from holter_host.types import Channel, LeadOffRun, Session, UtcEstimate

WINDOW = 100


def wanted(**changes: Any) -> Wanted:
    """What a model of 100 frames of millivolts at 360 Hz takes, but for the changes."""
    keys: dict[str, Any] = {"unit": "millivolts", "rate_hz": 360.0, "window": WINDOW}
    return Wanted(**{**keys, "channels": (), "count": 1000, **changes})


def make_capture(
    frames: int = 1000, rate_hz: float = 360.0, runs: tuple[LeadOffRun, ...] = (), hole: int = -1
) -> Capture:
    """Random counts of the channels A0 and A1, of which A1 has another gain."""
    channels = (Channel("A0", 0.01, 0.0, 1100.0, 1.65), Channel("A1", 0.01, 0.1, 500.0, 1.0))
    session = Session(1, "log", rate_hz, 0, channels, SampleFormat.U8, "boot", UtcEstimate(0, 0))
    counts = np.random.default_rng(3).integers(0, 256, (frames, 2)).astype(np.uint8)
    valid = np.arange(frames) != hole
    return Capture(session, 5000, counts, valid, runs)


class TestCaptures:
    @pytest.mark.parametrize("unit", ["counts", "volts", "millivolts"])
    def test_values_are_those_of_the_capture(self, tmp_path: Path, unit: Any) -> None:
        """A capture gives what its own views say, cut into windows from its first frame on."""
        capture = make_capture(frames=1050)
        capture.save(tmp_path / "a.npz")
        made = read_set([str(tmp_path / "a.npz")], wanted(unit=unit, channels=("A1", "A0")))
        views = {"counts": capture.counts, "volts": capture.volts()}
        values = views.get(unit, capture.millivolts())[:1000, ::-1]
        np.testing.assert_array_equal(
            made.windows, values.reshape(10, WINDOW, 2).astype(np.float32)
        )

    def test_gaps_and_loose_electrodes_are_left_out(self, tmp_path: Path) -> None:
        """A window with a missing frame, or an electrode off on a channel it is fed, is no window.

        A loose electrode of another channel spoils nothing.
        """
        runs = (LeadOffRun(5210, 5, (0,)), LeadOffRun(5410, 5, (1,)), LeadOffRun(5610, 5))
        make_capture(runs=runs, hole=0).save(tmp_path / "a.npz")
        assert len(read_set([str(tmp_path)], wanted(channels=("A0",))).windows) == 7
        assert len(read_set([str(tmp_path)], wanted(channels=("A0", "A1"))).windows) == 6


class TestRecords:
    def test_millivolts_are_the_records_own(self, short_record: Path) -> None:
        """A WFDB record gives its physical values, by its name with and without .hea."""
        counts = np.fromfile(short_record.with_suffix(".dat"), "<i2")
        for name in (short_record, short_record.with_suffix(".hea"), short_record.parent):
            made = read_set([str(name)], wanted())
            np.testing.assert_allclose(made.windows.ravel(), counts / 200, atol=1e-6)

    def test_counts_are_those_of_the_nominal_front_end(self, short_record: Path) -> None:
        """A model of counts is fed a record through the front end of the golden windows."""
        millivolts = read_set([str(short_record)], wanted()).windows
        counts = read_set([str(short_record)], wanted(unit="counts")).windows
        np.testing.assert_array_equal(counts, front_end(millivolts.astype(np.float64), "counts"))
        assert np.ptp(counts) > 100

    def test_another_lead_is_taken_by_its_place(self, short_record: Path) -> None:
        """A model's channel is a name of the device; a record that has it not gives its first."""
        first = read_set([str(short_record)], wanted())
        other = read_set([str(short_record)], wanted(channels=("A0",)))
        np.testing.assert_array_equal(first.windows, other.windows)


class TestWindows:
    def test_both_shapes_and_whole_numbers_are_taken(self, tmp_path: Path) -> None:
        """Windows of one channel may lack the last axis, and may be integers."""
        values = np.arange(3 * WINDOW).reshape(3, WINDOW)
        np.save(tmp_path / "flat.npy", values)
        np.save(tmp_path / "whole.npy", values[..., None].astype(np.float64))
        for name in ("flat.npy", "whole.npy"):
            made = read_set([str(tmp_path / name)], wanted())
            assert made.windows.dtype == np.float32
            np.testing.assert_array_equal(made.windows[..., 0], values)

    def test_of_more_than_are_wanted_evenly_spaced_ones_are_taken(self, tmp_path: Path) -> None:
        """The first and the last of all files are among them, and nothing is drawn at random."""
        for name in "ab":
            np.save(tmp_path / f"{name}.npy", np.full((50, WINDOW), float(ord(name))))
        made = read_set([str(tmp_path)], wanted(count=10))
        firsts = made.windows[:, 0, 0]
        assert (made.found, made.file_count, firsts[0], firsts[-1]) == (100, 2, 97.0, 98.0)
        assert (firsts == 97.0).sum() == 5
        again = read_set([str(tmp_path)], wanted(count=10))
        assert made.facts() == again.facts()

    def test_a_digest_names_the_values(self, tmp_path: Path) -> None:
        """Where the files lie makes no difference to the facts; one value that differs does."""
        values = np.random.default_rng(1).normal(size=(4, WINDOW))
        np.save(tmp_path / "a.npy", values)
        shutil.copy(tmp_path / "a.npy", tmp_path / "b.npy")
        first, second = (read_set([str(tmp_path / f"{n}.npy")], wanted()) for n in "ab")
        assert first.facts() == second.facts()
        values[2, 7] += 1
        np.save(tmp_path / "b.npy", values)
        changed = read_set([str(tmp_path / "b.npy")], wanted())
        assert changed.facts()["sha256"] != first.facts()["sha256"]


def test_synthetic_sets_are_ecg_and_repeat() -> None:
    """Whole counts of 0 to 255, no window twice, the same for the same seed and no other."""
    counts = synthetic_set(wanted(unit="counts", window=3600, count=20), seed=1).windows
    assert counts.shape == (20, 3600, 1)
    assert ((counts >= 0) & (counts <= 255) & (counts == np.round(counts))).all()
    assert (np.ptp(counts, axis=1) > 20).all()
    assert len(np.unique(counts, axis=0)) == 20
    again = synthetic_set(wanted(unit="counts", window=3600, count=20), seed=1)
    np.testing.assert_array_equal(counts, again.windows)
    other = synthetic_set(wanted(unit="counts", window=3600, count=20), seed=2)
    assert not np.array_equal(counts, other.windows)


BAD: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "gone": (lambda p: None, {}, "does not exist"),
    "another ending": (lambda p: (p / "x.csv").touch(), {"name": "x.csv"}, "neither a capture"),
    "an empty directory": (lambda p: (p / "x").mkdir(), {"name": "x"}, "holds no capture"),
    "too short": (lambda p: make_capture(60).save(p / "x.npz"), {}, "no whole window of 100"),
    "another rate": (
        lambda p: make_capture(rate_hz=250).save(p / "x.npz"),
        {},
        "has 250 Hz and the model takes 360 Hz; resample it first",
    ),
    "channels": (
        lambda p: make_capture().save(p / "x.npz"),
        {"channels": ("A0", "A7")},
        "has A0, A1, and the model takes A0, A7",
    ),
    "no capture": (lambda p: np.savez(p / "x.npz", a=1), {}, "not a capture of Holter's"),
    "no record": (lambda p: (p / "x.hea").write_text("?"), {"name": "x.hea"}, "as a WFDB record"),
    "shape": (
        lambda p: np.save(p / "x.npy", np.zeros((4, 99))),
        {"name": "x.npy"},
        r"shape \[4, 99\], not windows \[count, 100, 1\] in millivolts",
    ),
    "NaN": (
        lambda p: np.save(p / "x.npy", np.full((4, 100), np.nan)),
        {"name": "x.npy"},
        "not finite numbers",
    ),
    "text": (
        lambda p: np.save(p / "x.npy", np.full((4, 100), "a")),
        {"name": "x.npy"},
        "not finite numbers",
    ),
    "pickles": (
        lambda p: np.save(p / "x.npy", np.array([{}]), allow_pickle=True),
        {"name": "x.npy"},
        "not a .npy file of numbers",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_one_sentence(tmp_path: Path, case: str) -> None:
    """Each is refused with the path, and what was wrong or what to do."""
    make, said, words = BAD[case]
    make(tmp_path)
    path = tmp_path / said.get("name", "x.npz")
    changes = {key: value for key, value in said.items() if key != "name"}
    with pytest.raises(BadInputError, match=words) as caught:
        read_set([str(path)], wanted(**changes))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
