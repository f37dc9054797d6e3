"""The front end that host and device share."""

from __future__ import annotations

import numpy as np
import pytest

from holter.frontend import FrontEnd, in_unit, linear_map

RATE_HZ = 360.0


@pytest.mark.parametrize("frames", [1, 7, 3600, 3607, 100_003])
def test_a_recording_keeps_its_length_whatever_it_is(frames: int) -> None:
    """As many values come out as go in; a constant is taken away by the high pass."""
    out = FrontEnd().band_limit(np.full(frames, 0.7), RATE_HZ)
    assert out.shape == (frames,)
    assert np.abs(out).max() < 1e-9


@pytest.mark.parametrize("hertz", [0.5, 2.0, 10.0, 40.0])
def test_a_wave_is_as_large_as_the_circuit_leaves_it(hertz: float) -> None:
    """Its size in the middle of a recording is that of the analogue transfer function."""
    times = np.arange(round(60 * RATE_HZ)) / RATE_HZ
    out = FrontEnd().band_limit(np.sin(2 * np.pi * hertz * times), RATE_HZ)
    middle = out[len(out) // 3 : 2 * len(out) // 3]
    ratio = hertz / 0.5, hertz / 40
    high = ratio[0] ** 2 / np.sqrt(1 + ratio[0] ** 4)
    low = 1 / np.sqrt(1 + ratio[1] ** 4)
    assert np.abs(middle).max() == pytest.approx(high * low, rel=0.01)


def test_counts_and_their_map_are_inverse_to_a_count() -> None:
    """A count in millivolts is at most one count below what was converted."""
    front_end = FrontEnd()
    millivolts = np.linspace(-1.4, 1.4, 1001)
    back = in_unit(front_end.counts(millivolts), *front_end.affine("millivolts"))
    error = millivolts - back
    assert error.min() > -1e-6
    assert error.max() < 1000 * 3.3 / 256 / 1100 + 1e-6


def test_the_maps_are_the_formulas() -> None:
    """Counts, volts and millivolts of a count, by hand."""
    assert linear_map("counts", 0.5, 0.1, 100, 1.0) == (1.0, 0.0)
    assert linear_map("volts", 0.5, 0.1, 100, 1.0) == (0.5, 0.1)
    assert linear_map("millivolts", 0.5, 0.1, 100, 1.0) == pytest.approx((5.0, -9.0))
