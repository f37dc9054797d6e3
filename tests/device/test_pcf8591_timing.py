"""When the PCF8591's counts were true, and how many fit: in simulated bus time, to the clock."""

from __future__ import annotations

import math
import re
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_device.adc import AdcInfo
from holter_device.adc.pcf8591 import Pcf8591
from holter_device.clock import FollowingClock
from holter_device.errors import ConfigError
from holter_device.testing import Pcf8591Chip, SimulatedBus
from support.sampling import source_settings

# The simulated bus's time is whole nanoseconds: a 2500th of a clock at 400 kHz.
TOLERANCE_CLOCKS = 0.01


class _Setup:
    """A driver on a chip on a bus, in one simulated time."""

    def __init__(self, clock_hz: float, host_ns: tuple[int, int] = (0, 0), **settings: Any) -> None:
        self.clock = FollowingClock(10**9)
        self.chip = Pcf8591Chip(now_ns=self.clock.monotonic_ns)
        self.bus = SimulatedBus(self.chip, clock_hz=clock_hz, host_ns=host_ns, clock=self.clock)
        self.driver = Pcf8591(source_settings(**settings), lambda _: self.bus, self.clock)

    def open(self) -> AdcInfo:
        """Open the driver."""
        return self.driver.open()

    def frame(self) -> tuple[int, dict[int, list[int]]]:
        """Read one: how long it took, and when each channel was sampled after its begin, in ns.

        A read's last conversion is the next one's stale byte, and belongs to no count.
        """
        begun_ns, reads = self.clock.monotonic_ns(), len(self.chip.reads)
        self.driver.read(0)
        samples: dict[int, list[int]] = {}
        for read in self.chip.reads[reads:]:
            for conversion in read.conversions[:-1]:
                samples.setdefault(conversion.channel, []).append(conversion.time_ns - begun_ns)
        return self.clock.monotonic_ns() - begun_ns, samples


def _largest_that_fits(clock_hz: float, rate_hz: float, inputs: tuple[str, ...]) -> int:
    """By trying: the most conversions whose frame takes no more than half of a period."""
    best = 1
    for count in range(1, 17):
        setup = _Setup(clock_hz, inputs=inputs, rate=1.0, oversampling=str(count))
        setup.open()
        if setup.frame()[0] <= 0.5e9 / rate_hz:
            best = count
    return best


inputs_of_a_frame = st.permutations(("A0", "A1", "A2", "A3")).flatmap(
    lambda names: st.integers(1, 4).map(lambda count: tuple(names[:count]))
)


@given(
    inputs=inputs_of_a_frame | st.sampled_from([("A0", "A1"), ("A0", "A1", "A2", "A3")]),
    oversampling=st.integers(1, 16),
    clock_hz=st.sampled_from([50e3, 62.5e3, 100e3, 400e3]),
    host_ns=st.sampled_from([(0, 0), (40_000, 40_000), (20_000, 70_000)]),
)
def test_a_capture_offset_is_the_mean_instant_of_the_samples(
    inputs: tuple[str, ...], oversampling: int, clock_hz: float, host_ns: tuple[int, int]
) -> None:
    """For any inputs, M and bus: to a hundredth of a clock, and to what the host's halves differ.

    Where the host takes longer after a transfer than before it, each of the frame's transfers is
    placed half of the difference late at the most.
    """
    setup = _Setup(clock_hz, host_ns, inputs=inputs, rate=1.0, oversampling=str(oversampling))
    info = setup.open()
    taken_ns, samples = setup.frame()
    tolerance_ns = TOLERANCE_CLOCKS * 1e9 / clock_hz + abs(host_ns[0] - host_ns[1]) / 2
    for source in info.inputs:
        mine = samples[int(source.name[1])]
        assert len(mine) == oversampling
        assert abs(source.capture_offset_ns - statistics.mean(mine)) <= tolerance_ns
    assert abs(info.frame_read_ns - taken_ns) <= 1


@pytest.mark.parametrize(
    ("inputs", "oversampling", "clocks"),
    [
        # START 1, address 9.
        (("A2",), 1, [10]),
        (("A2",), 3, [19]),
        # START, address, control byte, repeated START, address: 29; then nine a byte.
        (("A0", "A1"), 1, [29, 38]),
        # The pointer goes round four channels: A0 at 29 and 65.
        (("A0", "A1"), 2, [47, 56]),
        # A transaction of a byte written and two read is 48 clocks.
        (("A3", "A1"), 1, [29, 77]),
    ],
)
def test_capture_offsets_by_hand(
    inputs: tuple[str, ...], oversampling: int, clocks: list[int]
) -> None:
    """Counted on the data sheet's figure of a conversion sequence, at 100 kHz."""
    setup = _Setup(100e3, inputs=inputs, oversampling=str(oversampling), rate=100.0)
    offsets = [source.capture_offset_ns for source in setup.open().inputs]
    assert offsets == pytest.approx([count * 10_000 for count in clocks], abs=100)


@pytest.mark.parametrize("clock_hz", [50e3, 100e3])
@pytest.mark.parametrize(
    ("rate", "inputs"),
    [(360.0, ("A0",)), (250.0, ("A0", "A1", "A2")), (100.0, ("A3", "A1")), (40.0, ("A2",))],
)
def test_auto_takes_what_fits_into_half_of_a_period(
    clock_hz: float, rate: float, inputs: tuple[str, ...]
) -> None:
    """The largest M whose frame takes half of a period at most, and no larger one; at most 16."""
    setup = _Setup(clock_hz, inputs=inputs, rate=rate, oversampling="auto")
    info = setup.open()
    assert info.oversampling == _largest_that_fits(clock_hz, rate, inputs)
    if info.oversampling > 1:
        assert f"mean of {info.oversampling}" in info.description
    samples = setup.frame()[1]
    assert {len(samples[int(name[1])]) for name in inputs} == {info.oversampling}


def test_auto_adapts_to_the_bus() -> None:
    """At 360 Hz one input has 13 conversions on a bus of 100 kHz, and 5 on one of 50 kHz."""
    found = [_Setup(hz, oversampling="auto").open().oversampling for hz in (100e3, 50e3)]
    assert found == [13, 5]


def test_auto_takes_one_where_half_of_a_period_is_too_short() -> None:
    """A frame of one conversion that fits a period but not its half is taken all the same."""
    info = _Setup(100e3, rate=3000.0, oversampling="auto").open()
    assert info.oversampling == 1
    assert info.frame_read_ns > 0.5e9 / 3000


@given(
    inputs=inputs_of_a_frame,
    oversampling=st.integers(1, 16),
    clock_hz=st.sampled_from([50e3, 100e3]),
    rate=st.floats(50, 4000),
)
def test_what_does_not_fit_is_refused_and_what_is_advised_fits(
    inputs: tuple[str, ...], oversampling: int, clock_hz: float, rate: float
) -> None:
    """A fixed M opens exactly where its frame fits a period; each remedy alone makes it open."""
    host_ns = (30_000, 30_000)
    asked = {"inputs": inputs, "rate": rate, "oversampling": str(oversampling)}
    slow = _Setup(clock_hz, host_ns, **asked | {"rate": 1.0})
    frame_ns = slow.open().frame_read_ns
    setup = _Setup(clock_hz, host_ns, **asked)
    if frame_ns <= 1e9 / rate:
        setup.open()
        return
    with pytest.raises(ConfigError, match="does not fit") as raised:
        setup.open()
    text = str(raised.value)
    if found := re.search(r"oversampling (\d+)", text):
        _Setup(clock_hz, host_ns, **asked | {"oversampling": found[1]}).open()
        more = {"oversampling": str(int(found[1]) + 1)}
        with pytest.raises(ConfigError):
            _Setup(clock_hz, host_ns, **asked | more).open()
    found = re.search(r"or rate ([\d.]+)|is rate ([\d.]+)", text)
    assert found
    _Setup(clock_hz, host_ns, **asked | {"rate": float(found[1] or found[2])}).open()
    if found := re.search(r"or (\d) inputs?", text):
        _Setup(clock_hz, host_ns, **asked | {"inputs": inputs[: int(found[1])]}).open()
    if "a bus of 100 kHz" in text:
        _Setup(100e3, host_ns, **asked).open()
    assert math.isclose(float(raised.value.facts["frame_ns"]), frame_ns, abs_tol=2)


def test_the_refusal_is_the_arithmetic() -> None:
    """Rate, inputs, M, clocks, bus clock, the time it takes, the time there is, and what fits."""
    setup = _Setup(50e3, (30_000, 30_000), inputs=("A0", "A1"), rate=360.0, oversampling="8")
    with pytest.raises(ConfigError) as raised:
        setup.open()
    assert str(raised.value) == (
        "360 Hz x 2 inputs x 8 conversions does not fit: one frame is 309 clocks of the 50 kHz"
        " measured on /dev/i2c-1 (6.18 ms), 1 call (0.06 ms), together 6.24 ms, and there is"
        " 2.78 ms; what fits is oversampling 3 or rate 160 or 1 input"
    )


def test_a_machine_that_was_busy_for_a_moment_refuses_nothing() -> None:
    """Where frames do not fit the bus is measured again, before that is said."""
    setup = _Setup(100e3)

    def busy(number: int) -> int:
        if number < 40:
            setup.clock.advance_to(setup.clock.monotonic_ns() + 3_000_000)
        return 0

    setup.bus.fault = busy
    info = setup.open()
    assert info.frame_read_ns == setup.frame()[0]
