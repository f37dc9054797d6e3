"""The grid: sequence to time and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holter_device.grid import Grid

GRIDS = st.builds(
    Grid,
    start_ns=st.integers(0, 10**18),
    rate_hz=st.one_of(
        st.floats(0.1, 4000, allow_nan=False), st.sampled_from([100.0, 250.0, 360.0])
    ),
)
SEQUENCES = st.integers(0, 10**9)


@given(grid=GRIDS, sequence=SEQUENCES)
def test_ticks_have_no_drift(grid: Grid, sequence: int) -> None:
    """Tick k is k periods after the start, to half a nanosecond and the precision of a double."""
    exact = sequence * 1e9 / grid.rate_hz
    assert abs(grid.time_ns(sequence) - grid.start_ns - exact) <= 0.5 + exact * 2**-51


@given(grid=GRIDS, sequence=SEQUENCES)
def test_a_ticks_own_time_finds_it(grid: Grid, sequence: int) -> None:
    """The first frame at or after the time of tick k is k; a nanosecond later it is k + 1."""
    time_ns = grid.time_ns(sequence)
    assert grid.sequence_at(time_ns) == sequence
    assert grid.sequence_at(time_ns + 1) == sequence + 1


@given(grid=GRIDS, after_ns=st.integers(0, 10**16))
def test_any_time_lies_between_two_ticks(grid: Grid, after_ns: int) -> None:
    """The frame found is at or after the time, and the one before it is not."""
    time_ns = grid.start_ns + after_ns
    sequence = grid.sequence_at(time_ns)
    assert grid.time_ns(sequence) >= time_ns
    assert sequence == 0 or grid.time_ns(sequence - 1) < time_ns


@given(grid=GRIDS, before_ns=st.integers(0, 10**12))
def test_before_the_start_comes_frame_0(grid: Grid, before_ns: int) -> None:
    """No sequence is below 0."""
    assert grid.sequence_at(grid.start_ns - before_ns) == 0
