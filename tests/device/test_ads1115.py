"""The shipped ADS1115 driver over the chip model, in simulated bus time."""

from __future__ import annotations

import errno
import itertools
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_device.adc import AdcInfo
from holter_device.adc.ads1115 import Ads1115
from holter_device.clock import FollowingClock
from holter_device.errors import (
    AddressBusyError,
    BusReadError,
    ConfigError,
    NoAnswerError,
    SourceError,
)
from holter_device.testing import Ads1115Chip, Pcf8591Chip, Signal, SimulatedBus, level
from support.sampling import source_settings

LEVELS = (0.2, 1.0, 2.0, 3.2)
CONFIG = 1
START_A3 = bytes((CONFIG, 0xF3, 0xE3))


class _Setup:
    """A driver on a chip on a bus, in one simulated time."""

    def __init__(
        self,
        *inputs: Signal,
        clock_hz: float = 400e3,
        host_ns: tuple[int, int] = (0, 0),
        oscillator: float = 1.0,
        **settings: Any,
    ) -> None:
        self.clock = FollowingClock(10**9)
        signals = inputs or tuple(level(volts) for volts in LEVELS)
        self.chip = Ads1115Chip(signals, now_ns=self.clock.monotonic_ns, oscillator=oscillator)
        self.bus = SimulatedBus(self.chip, clock_hz=clock_hz, host_ns=host_ns, clock=self.clock)
        chosen = {"adc": "ads1115", "rate": 10.0} | settings
        self.driver = Ads1115(source_settings(**chosen), lambda _: self.bus, self.clock)

    def open(self) -> AdcInfo:
        """Open the driver."""
        return self.driver.open()

    def read(self) -> list[int]:
        """The counts of a frame."""
        return np.frombuffer(self.driver.read(0), "<i2").tolist()

    def fetched(self, since: int) -> list[int]:
        """Numbers of the conversions that were fetched since the journal had so many reads."""
        return [f.conversion.number if f.conversion else -1 for f in self.chip.fetches[since:]]


def _counter() -> Signal:
    """An input whose every conversion gives another count: 1000, 1001, ... in turn."""
    counts = itertools.count(1000)
    return lambda _: next(counts) * 4.096 / 32768


def _nth(number: int, then: Callable[[], int]) -> Callable[[int], int]:
    """A fault that does something at one transaction from now on, counted from 0."""
    calls = itertools.count()
    return lambda _: then() if next(calls) == number else 0


inputs_of_a_frame = st.permutations(("A0", "A1", "A2", "A3")).flatmap(
    lambda names: st.integers(1, 4).map(lambda count: tuple(names[:count]))
)
# What may come before a read or in it: a pause, a transaction that fails before it reaches the chip
# or when a conversion has begun after all, a power loss, a chip that stands still.
mishaps = st.one_of(
    st.just(("none", 0)),
    st.tuples(st.just("pause"), st.integers(1, 10_000_000)),
    st.tuples(st.just("fault"), st.integers(0, 20)),
    st.tuples(st.just("late fault"), st.integers(0, 20)),
    st.tuples(st.just("power"), st.integers(0, 20)),
    st.tuples(st.just("stuck"), st.just(0)),
)


@given(
    inputs=inputs_of_a_frame,
    oversampling=st.integers(1, 4),
    oscillator=st.sampled_from([0.9, 1.0, 1.1]),
    clock_hz=st.sampled_from([0, 100e3, 400e3]),
    history=st.lists(mishaps, max_size=12),
)
def test_no_conversion_is_ever_read_twice_or_for_another(
    inputs: tuple[str, ...],
    oversampling: int,
    oscillator: float,
    clock_hz: float,
    history: list[tuple[str, int]],
) -> None:
    """Each frame is of conversions of its own inputs that its own read began, and of no others.

    Whatever came before: pauses, transactions that failed at any place, a chip that lost its power
    or stood still, and with the slowest and the fastest oscillator of the tolerance.
    """
    setup = _Setup(
        _counter(),
        _counter(),
        _counter(),
        _counter(),
        oscillator=oscillator,
        clock_hz=clock_hz,
        inputs=inputs,
        rate=1.0,
        oversampling=str(oversampling),
    )
    setup.open()
    chip = setup.chip
    used: set[int] = set()
    failures: set[tuple[str, int | None]] = set()
    for what, value in [*history, ("none", 0), ("none", 0)]:
        setup.bus.fault, chip.stuck = lambda _: 0, what == "stuck"
        if what == "pause":
            setup.clock.advance_to(setup.clock.monotonic_ns() + value)
        elif what == "fault":
            setup.bus.fault = _nth(value, lambda: errno.EREMOTEIO)
        elif what == "late fault":
            setup.bus.fault = _nth(value, lambda: chip.write(START_A3) or errno.EREMOTEIO)
        elif what == "power":
            setup.bus.fault = _nth(value, lambda: chip.power_on() or 0)
        begun_ns, journal = setup.clock.monotonic_ns(), len(chip.fetches)
        try:
            counts = setup.read()
        except BusReadError as error:
            failures.add((what, error.errno))
            continue
        fetched = [fetch.conversion for fetch in chip.fetches[journal:]]
        if what == "power" and None in fetched:
            continue  # lost between its end and its read: no driver can know
        assert len(fetched) == len(inputs) * oversampling
        assert all(one is not None and one.begun_ns >= begun_ns for one in fetched)
        numbers = {one.number for one in fetched if one}
        assert len(numbers) == len(fetched)
        assert not numbers & used
        used |= numbers
        for name, count in zip(inputs, counts, strict=True):
            codes = [one.code for one in fetched if one and one.mux == 4 + int(name[1])]
            assert len(codes) == oversampling
            assert count == int(sum(codes) / oversampling + 0.5)
    assert failures <= {
        ("fault", errno.EREMOTEIO),
        ("late fault", errno.EREMOTEIO),
        ("power", errno.EIO),
        ("power", errno.ETIMEDOUT),  # while the driver waited for a conversion of before to end
        ("stuck", errno.ETIMEDOUT),
    }


def test_a_tick_is_three_transactions_and_no_busy_loop() -> None:
    """Write the config, look at it once after the slowest conversion's time, fetch the result."""
    setup = _Setup(oscillator=0.9)
    setup.open()
    setup.read()
    before = setup.bus.transaction_count
    for _ in range(50):
        setup.read()
    assert setup.bus.transaction_count - before == 150


def test_a_conversion_that_never_ends_is_an_error_and_no_hang() -> None:
    """A chip that stands still is ETIMEDOUT within 10 ms, seldom asked, and works again after."""
    setup = _Setup()
    setup.open()
    setup.chip.stuck = True
    for _ in range(3):
        begun_ns, before = setup.clock.monotonic_ns(), setup.bus.transaction_count
        with pytest.raises(BusReadError) as raised:
            setup.read()
        assert raised.value.errno == errno.ETIMEDOUT
        assert setup.clock.monotonic_ns() - begun_ns < 10_000_000
        assert setup.bus.transaction_count - before < 40
    setup.chip.stuck = False
    assert setup.read() == [1600]


def test_a_chip_that_was_reset_meanwhile_is_an_error() -> None:
    """Its config is not what was written: EIO, and the next read sets it again."""
    setup = _Setup(inputs=("A2",))
    setup.open()
    setup.read()
    setup.bus.fault = _nth(1, lambda: setup.chip.power_on() or 0)
    with pytest.raises(BusReadError) as raised:
        setup.read()
    assert raised.value.errno == errno.EIO
    assert setup.read() == [16000]


@given(inputs=inputs_of_a_frame, oversampling=st.integers(1, 5))
def test_inputs_never_mix(inputs: tuple[str, ...], oversampling: int) -> None:
    """Any inputs in any order, averaged or not: each channel shows its own input's level."""
    setup = _Setup(inputs=inputs, oversampling=str(oversampling))
    setup.open()
    expected = [round(LEVELS[int(name[1])] * 8000) for name in inputs]
    assert [setup.read() for _ in range(10)] == [expected] * 10


@pytest.mark.parametrize("full_scale", [6.144, 4.096, 2.048, 1.024, 0.512, 0.256])
def test_counts_are_volts_in_each_range(full_scale: float) -> None:
    """volts_per_count is the range / 32768; beyond it a count stays at full scale."""
    setup = _Setup(level(0.2), level(-0.1), inputs=("A0", "A1"), full_scale_volts=full_scale)
    info = setup.open()
    counts = setup.read()
    assert info.sample_format == "S16LE"
    for source, count, volts in zip(info.inputs, counts, (0.2, -0.1), strict=True):
        assert source.volts_per_count == full_scale / 32768
        assert count * source.volts_per_count == pytest.approx(volts, abs=source.volts_per_count)
    setup.chip.inputs[0] = level(9.0)
    assert setup.read()[0] == 32767


@pytest.mark.parametrize(
    ("supply", "full_scale", "low", "high"),
    [
        (3.3, 4.096, 800, 25600),  # 0.1 V and 3.2 V, 125 uV a count
        (5.0, 6.144, 533, 26134),
        (3.3, 2.048, 1600, 32767),  # full scale comes before the supply
    ],
)
def test_rails_are_a_tenth_of_a_volt_inside_the_supply(
    supply: float, full_scale: float, low: int, high: int
) -> None:
    """A front end at a rail is within 0.1 V of ground or of the supply, or beyond full scale."""
    setup = _Setup(reference_volts=supply, full_scale_volts=full_scale)
    (source,) = setup.open().inputs
    assert (source.rail_low, source.rail_high) == (low, high)
    for volts, railed in ((0.02, True), (1.0, False), (supply - 0.02, True)):
        setup.chip.inputs[0] = level(volts)
        (count,) = setup.read()
        assert (count <= low or count >= high) == railed


@given(
    inputs=inputs_of_a_frame,
    oversampling=st.integers(1, 4),
    clock_hz=st.sampled_from([50e3, 100e3, 400e3]),
    host_ns=st.sampled_from([(0, 0), (40_000, 40_000)]),
    oscillator=st.sampled_from([0.9, 1.0, 1.1]),
)
def test_a_capture_offset_is_the_mean_middle_of_the_conversions(
    inputs: tuple[str, ...],
    oversampling: int,
    clock_hz: float,
    host_ns: tuple[int, int],
    oscillator: float,
) -> None:
    """To a microsecond, and to what the oscillator's 10 % is in half a conversion."""
    setup = _Setup(
        clock_hz=clock_hz,
        host_ns=host_ns,
        oscillator=oscillator,
        inputs=inputs,
        rate=1.0,
        oversampling=str(oversampling),
    )
    info = setup.open()
    begun_ns, done = setup.clock.monotonic_ns(), len(setup.chip.conversions)
    setup.read()
    taken_ns = setup.clock.monotonic_ns() - begun_ns
    middle_ns = 0.5e9 / 860
    tolerance_ns = 1000 + abs(middle_ns / oscillator - middle_ns)
    for source in info.inputs:
        times = [
            conversion.time_ns - begun_ns
            for conversion in setup.chip.conversions[done:]
            if conversion.mux == 4 + int(source.name[1])
        ]
        assert len(times) == oversampling
        assert abs(source.capture_offset_ns - statistics.mean(times)) <= tolerance_ns
    assert abs(info.frame_read_ns - taken_ns) <= 10


def test_the_capture_offset_by_hand() -> None:
    """At 400 kHz: 37 clocks to the last acknowledge, 25 us to power up, half of 1/860 s."""
    (source,) = _Setup().open().inputs
    assert source.capture_offset_ns == pytest.approx(92_500 + 25_000 + 581_395, abs=10)


def test_auto_takes_as_many_as_fit_into_half_of_a_period() -> None:
    """A conversion takes 1.60 ms at 400 kHz and 2.47 ms at 100 kHz: 15 and 10 fit 25 ms."""
    found = [
        _Setup(clock_hz=hz, rate=rate, oversampling="auto").open().oversampling
        for hz, rate in ((400e3, 20.0), (100e3, 20.0), (400e3, 10.0), (400e3, 360.0))
    ]
    assert found == [15, 10, 16, 1]


@pytest.mark.parametrize(
    ("clock_hz", "settings", "sentence"),
    [
        (
            400e3,
            {"rate": 360.0, "inputs": ("A0", "A1"), "oversampling": "2"},
            "360 Hz x 2 inputs x 2 conversions does not fit: one frame is 460 clocks of the 400 kHz"
            " measured on /dev/i2c-1 (1.15 ms), 12 calls (0.00 ms), 5.27 ms of converting, together"
            " 6.42 ms, and there is 2.78 ms; what fits is rate 155",
        ),
        (
            50e3,
            {"rate": 360.0},
            "360 Hz x 1 input x 1 conversion does not fit: one frame is 115 clocks of the 50 kHz"
            " measured on /dev/i2c-1 (2.30 ms), 3 calls (0.00 ms), 1.32 ms of converting, together"
            " 3.62 ms, and there is 2.78 ms; what fits is rate 276 or a bus of 400 kHz"
            " (i2c_arm_baudrate)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_arithmetic(
    clock_hz: float, settings: dict[str, Any], sentence: str
) -> None:
    """Each conversion costs its time and three transactions; the remedies are those that help."""
    with pytest.raises(ConfigError) as raised:
        _Setup(clock_hz=clock_hz, **settings).open()
    assert str(raised.value) == sentence


def test_360_hz_of_one_input_fits_a_bus_of_100_khz() -> None:
    """The default rate needs no faster bus than a Pi's default."""
    info = _Setup(clock_hz=100e3, rate=360.0).open()
    assert info.frame_read_ns < 1e9 / 360
    assert info.description == "ADS1115 at 0x48 on /dev/i2c-1, A0, to 4.096 V"


def test_a_chip_that_was_left_converting_by_itself_is_stopped() -> None:
    """Someone's continuous mode at 8 a second: its running conversion is not taken for ours."""
    setup = _Setup(_counter(), oscillator=0.9)
    setup.chip.write(bytes((CONFIG, 0x42, 0x03)))
    setup.open()
    (count,) = setup.read()
    assert count == setup.chip.conversions[-1].code
    assert setup.chip.conversions[-1].ended_ns - setup.chip.conversions[-1].begun_ns < 2_000_000


def test_another_chip_is_told_from_an_ads1115() -> None:
    """A PCF8591 answers at the same address, and does not keep a config register."""
    setup = _Setup()
    setup.bus.chips[0x48] = Pcf8591Chip(now_ns=setup.clock.monotonic_ns)
    with pytest.raises(SourceError, match=r"0x48 on /dev/i2c-1 is no ADS1115.*--adc") as raised:
        setup.open()
    assert raised.value.facts == {"bus": "1", "address": "0x48", "errno": str(errno.EIO)}


def test_a_chip_that_finishes_nothing_does_not_open() -> None:
    """What never becomes ready ends the opening with a sentence of its own."""
    setup = _Setup()
    setup.chip.stuck = True
    with pytest.raises(SourceError, match="finishes no conversion; check its supply"):
        setup.open()


def test_its_errors_name_it() -> None:
    """No answer gives its addresses, and an owner is the kernel module for this chip."""
    setup = _Setup(address=0x4B)
    with pytest.raises(NoAnswerError, match=r"0x48 with ADDR at GND.* 0x4b at SCL"):
        setup.open()
    setup.bus.claim_errno = errno.EBUSY
    with pytest.raises(AddressBusyError, match="modprobe -r ti_ads1015"):
        setup.open()
    setup.bus.claim_errno = errno.EOPNOTSUPP
    with pytest.raises(SourceError, match="the ADS1115 needs plain I2C"):
        setup.open()
