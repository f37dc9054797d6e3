"""The clocks: monotonic, scaled, following and lockstep."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_device.clock import (
    FollowingClock,
    LockstepClock,
    MonotonicClock,
    ScaledClock,
    boot_id,
    make_clock,
)
from holter_device.errors import ConfigError
from holter_device.testing import LockstepClockServer


@pytest.mark.parametrize("clock", [MonotonicClock(), ScaledClock(50, time.monotonic_ns())])
def test_a_clock_never_wakes_early(clock: MonotonicClock | ScaledClock) -> None:
    """After `sleep_until` the deadline has come, by the same clock; past ones return."""
    for step_ns in (5_000_000, 1, 0, -(10**12)):
        deadline_ns = clock.monotonic_ns() + step_ns
        clock.sleep_until(deadline_ns)
        assert clock.monotonic_ns() >= deadline_ns


def test_scaled_time_starts_at_its_epoch() -> None:
    """At the epoch both clocks are equal; from there one runs `speed` times as fast."""
    epoch_ns = time.monotonic_ns() - 10**9
    clock = ScaledClock(10, epoch_ns)
    before = time.monotonic_ns()
    now_ns = clock.monotonic_ns()
    after = time.monotonic_ns()
    assert 10 * (before - epoch_ns) <= now_ns - epoch_ns <= 10 * (after - epoch_ns)


@given(deadlines=st.lists(st.integers(0, 10**15), min_size=1))
def test_following_time_is_the_newest_deadline(deadlines: list[int]) -> None:
    """Nobody waits, and time never goes back."""
    clock = FollowingClock(0)
    for deadline_ns in deadlines:
        clock.sleep_until(deadline_ns)
    assert clock.monotonic_ns() == max(deadlines)


def test_lockstep_time_is_what_the_test_says(tmp_path: Path) -> None:
    """Each tick is released at its deadline, or as late as the test likes."""
    late = {2000: 2750}
    path = tmp_path / "clock"
    with LockstepClockServer(path, lambda t: late.get(t, t)) as server:
        server.release(3)
        clock = make_clock(server.text)
        assert isinstance(clock, LockstepClock)
        assert clock.monotonic_ns() == 0
        seen = []
        for deadline_ns in (1000, 2000, 3000):
            clock.sleep_until(deadline_ns)
            seen.append(clock.monotonic_ns())
            assert server.now_ns() == clock.monotonic_ns()
        assert seen == [1000, 2750, 3000]
        clock.close()


def test_a_test_that_ends_releases_who_waits(tmp_path: Path) -> None:
    """When the other end is gone, waiting ends with an error instead of never."""
    with LockstepClockServer(tmp_path / "clock") as server:
        clock = make_clock(server.text)
        assert isinstance(clock, LockstepClock)
    with pytest.raises(OSError, match=r"gone|Broken pipe|reset"):
        clock.sleep_until(1)
    clock.close()


@pytest.mark.parametrize("text", ["", "wall", "lockstep:", "max:1", "monotonic:2"])
def test_an_unknown_clock_is_refused(text: str) -> None:
    """A text that names no clock is a ConfigError."""
    with pytest.raises(ConfigError, match="no clock"):
        make_clock(text)


def test_the_wall_clock_lies_within_its_uncertainty() -> None:
    """UTC estimated is UTC read, to within the uncertainty and the time between the reads."""
    clock = MonotonicClock()
    before = time.time_ns() - time.monotonic_ns()
    estimate = clock.utc()
    after = time.time_ns() - time.monotonic_ns()
    slack = estimate.uncertainty_ns + 10_000_000
    assert min(before, after) - slack <= estimate.offset_ns <= max(before, after) + slack
    assert estimate.uncertainty_ns >= 0


def test_the_boot_has_one_identity() -> None:
    """It is the same every time that it is asked."""
    assert boot_id() == boot_id() != ""
