"""The shipped driver over the chip model, in this process."""

from __future__ import annotations

import errno
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_device.adc.pcf8591 import Pcf8591
from holter_device.errors import (
    AddressBusyError,
    BusReadError,
    NoAnswerError,
)
from holter_device.testing import Pcf8591Chip, Signal, SimulatedBus, level
from support.sampling import source_settings

LEVELS = (0.2, 1.0, 2.0, 3.2)
CODES = tuple(int(volts * 256 / 3.3) for volts in LEVELS)


def _counter() -> Signal:
    """An input whose every conversion gives another code: 0, 1, 2, ... in turn."""
    codes = itertools.count()
    return lambda _: (next(codes) % 256 + 0.5) * 3.3 / 256


def _open(bus: SimulatedBus, **settings: Any) -> Pcf8591:
    driver = Pcf8591(source_settings(**settings), lambda _: bus)
    driver.open()
    return driver


def _bus(*inputs: Any) -> tuple[SimulatedBus, Pcf8591Chip]:
    chip = Pcf8591Chip(inputs or [level(volts) for volts in LEVELS])
    return SimulatedBus(chip), chip


def test_a_count_is_of_its_own_read_and_never_the_stale_one() -> None:
    """Each count is a conversion that its own read made: the byte shifted out first is dropped."""
    bus, chip = _bus(_counter())
    driver = _open(bus)
    for _ in range(1000):
        (count,) = driver.read(0)
        assert count == chip.reads[-1].conversions[0].code
        assert count != chip.reads[-1].data[0]


def test_a_tick_of_one_input_is_one_transaction_of_two_bytes() -> None:
    """One input with no oversampling costs one read of two bytes a tick, and no write."""
    bus, chip = _bus()
    driver = _open(bus)
    before, reads = bus.transaction_count, len(chip.reads)
    for _ in range(100):
        driver.read(0)
    assert bus.transaction_count - before == 100
    assert [len(read.data) for read in chip.reads[reads:]] == [2] * 100


@given(
    inputs=st.permutations(("A0", "A1", "A2", "A3")),
    count=st.integers(1, 4),
    oversampling=st.integers(1, 16),
)
def test_inputs_never_mix(inputs: list[str], count: int, oversampling: int) -> None:
    """Any inputs in any order, averaged or not: each channel shows its own input's level."""
    bus, _ = _bus()
    chosen = tuple(inputs[:count])
    driver = _open(bus, inputs=chosen, oversampling=str(oversampling))
    expected = bytes(CODES[int(name[1])] for name in chosen)
    assert [driver.read(tick) for tick in range(50)] == [expected] * 50


@given(oversampling=st.integers(1, 16), count=st.integers(1, 4))
def test_a_count_is_the_rounded_mean_of_its_input_in_its_read(
    oversampling: int, count: int
) -> None:
    """With M conversions a count is their mean, rounded half up, from this one read alone."""
    bus, chip = _bus(*(_counter() for _ in range(4)))
    driver = _open(bus, inputs=("A0", "A1", "A2", "A3")[:count], oversampling=str(oversampling))
    for tick in range(20):
        frame = driver.read(tick)
        fresh = chip.reads[-1].conversions[:-1]
        for channel in range(count):
            codes = [c.code for c in fresh if c.channel == channel]
            assert len(codes) == oversampling
            assert frame[channel] == int(sum(codes) / oversampling + 0.5)


def test_a_failed_read_says_its_errno_and_the_next_one_selects_the_input_again() -> None:
    """A chip that lost power meanwhile, and forgot its channel, gives no count of another input."""
    bus, chip = _bus()
    driver = _open(bus, inputs=("A2",))
    bus.fault = lambda _: errno.EREMOTEIO
    with pytest.raises(BusReadError) as raised:
        driver.read(0)
    assert raised.value.errno == errno.EREMOTEIO
    chip.power_on()
    bus.fault = lambda _: 0
    assert driver.read(1) == bytes((CODES[2],))


def test_counts_span_the_whole_range() -> None:
    """0 V is 0, and Vref and above are 255."""
    bus, _ = _bus(level(0.0), level(3.29), level(3.3), level(9.0))
    assert _open(bus, inputs=("A0", "A1", "A2", "A3")).read(0) == bytes((0, 255, 255, 255))


def test_a_read_that_fails_while_it_opens_is_borne() -> None:
    """A bus on which every other read fails opens; one on which all fail does not."""
    bus, _ = _bus()
    bus.fault = lambda number: errno.EREMOTEIO if number % 2 else 0
    _open(bus).close()
    bus.fault = lambda _: errno.ETIMEDOUT
    with pytest.raises(NoAnswerError, match="timed out"):
        _open(bus)


def test_an_address_that_a_kernel_driver_owns_is_refused() -> None:
    """EBUSY of the claim ends the opening, before anything is transferred."""
    bus, _ = _bus()
    bus.claim_errno = errno.EBUSY
    with pytest.raises(AddressBusyError, match="modprobe -r"):
        _open(bus)
    assert bus.transaction_count == 0


def test_the_description_names_chip_address_bus_and_inputs() -> None:
    """A user reads from it what is sampled."""
    bus, _ = _bus()
    driver = Pcf8591(source_settings(inputs=("A0", "A3"), oversampling="4"), lambda _: bus)
    assert driver.open().description == "PCF8591 at 0x48 on /dev/i2c-1, A0, A3, mean of 4"
