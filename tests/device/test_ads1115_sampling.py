"""The sampler's own loop on the ADS1115: chip, bus, driver and grid in one simulated time."""

from __future__ import annotations

import errno
import itertools
import random
from typing import Any

import numpy as np
import pytest

from holter_device.adc import AdcInfo
from holter_device.adc.ads1115 import Ads1115
from holter_device.children.sampler import sample
from holter_device.clock import FollowingClock
from holter_device.grid import GapCause, Grid
from holter_device.testing import Ads1115Chip, SimulatedBus
from support.sampling import source_settings

GRID = Grid(10**9, 360.0)
TICKS = 1800


class _Over(Ads1115):
    """The shipped driver, over after TICKS."""

    def read(self, sequence: int) -> bytes:
        """As the driver, or b""."""
        return super().read(sequence) if sequence < TICKS else b""


class _Journal:
    """Stands in for the outbox: what the loop tells, by sequence."""

    def __init__(self) -> None:
        self.frames: dict[int, int] = {}
        self.late: set[int] = set()
        self.causes: dict[int, GapCause] = {}
        self.retries = 0
        self.errors: list[int] = []

    def frame(self, sequence: int, counts: bytes, *, late: bool) -> None:
        """A frame came."""
        self.frames[sequence] = int(np.frombuffer(counts, "<i2")[0])
        if late:
            self.late.add(sequence)

    def missing(self, sequence: int, count: int, cause: GapCause) -> None:
        """Frames did not."""
        self.causes |= dict.fromkeys(range(sequence, sequence + count), cause)

    def bus_error(self, sequence: int, number: int) -> None:
        """A read failed."""
        self.errors.append(number)

    def retry(self) -> None:
        """It is tried again."""
        self.retries += 1

    def quality(self, lateness: object) -> None:
        """Not of interest."""


def _run(failing: float, retries: int, clock_hz: float, **chip: Any) -> tuple[Any, ...]:
    """Sample with this part of the transactions failing, by chance but always the same ones."""
    clock = FollowingClock(0)
    counts = itertools.count(1)
    converter = Ads1115Chip(
        [lambda _: next(counts) * 4.096 / 32768], now_ns=clock.monotonic_ns, **chip
    )
    bus = SimulatedBus(converter, clock_hz=clock_hz, clock=clock)
    driver = _Over(source_settings(adc="ads1115"), lambda _: bus, clock)
    info = driver.open()
    chance = random.Random(1)
    bus.fault = lambda _: errno.EREMOTEIO if chance.random() < failing else 0
    journal = _Journal()
    sample(driver, clock, GRID, journal, 0, retries)  # type: ignore[arg-type]
    return info, journal, converter


@pytest.mark.parametrize("oscillator", [0.9, 1.0, 1.1])
@pytest.mark.parametrize(("failing", "retries"), [(0, 0), (0.02, 0), (0.1, 1), (0.3, 2)])
@pytest.mark.parametrize("clock_hz", [100e3, 400e3])
def test_each_tick_has_a_conversion_of_its_own_or_a_cause(
    failing: float, retries: int, clock_hz: float, oscillator: float
) -> None:
    """5 s with failing transactions, retries and skipped ticks: no conversion is in two frames.

    A frame's conversion begins after its tick and before the next frame's, and is captured at the
    tick plus the capture offset where nothing delayed it.
    """
    info, journal, chip = _run(failing, retries, clock_hz, oscillator=oscillator)
    assert isinstance(info, AdcInfo)
    assert sorted([*journal.frames, *journal.causes]) == list(range(TICKS))
    assert set(journal.causes.values()) <= {GapCause.BUS_ERROR, GapCause.LATE}
    by_code = {conversion.code: conversion for conversion in chip.conversions}
    assert len(by_code) == len(chip.conversions)
    found = [by_code[journal.frames[sequence]] for sequence in sorted(journal.frames)]
    numbers = [conversion.number for conversion in found]
    assert numbers == sorted(set(numbers))
    offset_ns = info.inputs[0].capture_offset_ns
    middle_ns = 0.5e9 / 860
    tolerance_ns = 1000 + abs(middle_ns / oscillator - middle_ns)
    for sequence, conversion in zip(sorted(journal.frames), found, strict=True):
        after_ns = conversion.time_ns - GRID.time_ns(sequence)
        assert after_ns >= offset_ns - tolerance_ns
        if not failing:
            assert after_ns <= offset_ns + tolerance_ns
    if not failing:
        assert len(found) == TICKS
        assert not journal.late
    else:
        assert len(found) > TICKS / 4
        assert set(journal.errors) == {errno.EREMOTEIO}
        assert (journal.retries > 0) == (retries > 0)
