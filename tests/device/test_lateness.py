"""The histogram of lateness."""

from __future__ import annotations

import select

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_device.lateness import Lateness

TIMES = st.integers(0, 10**12)


def _histogram(values: list[int]) -> Lateness:
    lateness = Lateness()
    for value in values:
        lateness.add(value)
    return lateness


@given(values=st.lists(TIMES, min_size=1), fraction=st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_a_quantile_is_at_or_just_above_the_true_one(values: list[int], fraction: float) -> None:
    """It is never below the true quantile, and above it by 1/16 and 1 us at most."""
    rank = max(0, -int(-fraction * len(values) // 1) - 1)
    true = sorted(values)[rank]
    (told,) = _histogram(values).quantiles_ns(fraction)
    assert true <= told <= true * (1 + 1 / 16) + 1000


@given(first=st.lists(TIMES), second=st.lists(TIMES))
def test_histograms_add_up(first: list[int], second: list[int]) -> None:
    """What two told one after the other is what one would have told; taking empties it."""
    whole, parts, source = _histogram(first + second), Lateness(), Lateness()
    for values in (first, second):
        for value in values:
            source.add(value)
        parts.merge(source.take())
    assert source.max_ns == 0
    assert parts.max_ns == whole.max_ns
    fractions = (0.1, 0.5, 0.9, 1.0)
    assert parts.quantiles_ns(*fractions) == whole.quantiles_ns(*fractions)


@given(older=st.lists(TIMES), newer=st.lists(TIMES))
def test_what_was_added_can_be_taken_away(older: list[int], newer: list[int]) -> None:
    """Without the older ones it is as if they had never been there, once the maximum is told."""
    both, part, rest = _histogram(older + newer), _histogram(older), _histogram(newer)
    both.remove(part)
    both.max_ns = rest.max_ns
    assert both.quantiles_ns(0.5, 0.99, 0.999) == rest.quantiles_ns(0.5, 0.99, 0.999)


def test_what_is_told_fits_an_atomic_write() -> None:
    """Even with every bucket in use it is one frame of at most PIPE_BUF bytes."""
    lateness = Lateness()
    value = 1
    while value < 10**14:
        for part in range(32):
            lateness.add(value + value * part // 32)
        value *= 2
    assert len(lateness.take()) + 5 <= select.PIPE_BUF


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_nothing_counted_is_zero(fraction: float) -> None:
    """A histogram of nothing says 0."""
    assert Lateness().quantiles_ns(fraction) == (0,)
