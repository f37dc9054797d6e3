"""The ADS1115's model against its data sheet."""

from __future__ import annotations

import pytest

from holter_device.clock import FollowingClock
from holter_device.testing import Ads1115Chip, level

CONVERSION, CONFIG, LOW, HIGH = range(4)
OS, SINGLE_SHOT = 0x8000, 0x0100
POWER_UP_NS = 25_000
LEVELS = (0.5, 1.0, 2.0, 3.0)
RATES_HZ = (8, 16, 32, 64, 128, 250, 475, 860)


@pytest.fixture
def clock() -> FollowingClock:
    """The chip's time."""
    return FollowingClock(0)


@pytest.fixture
def chip(clock: FollowingClock) -> Ads1115Chip:
    """A chip with four levels at its inputs."""
    return Ads1115Chip([level(volts) for volts in LEVELS], now_ns=clock.monotonic_ns)


def _write(chip: Ads1115Chip, register: int, value: int) -> None:
    chip.write(bytes((register, *value.to_bytes(2, "big"))))


def _read(chip: Ads1115Chip, register: int, *, signed: bool = False) -> int:
    chip.write(bytes((register,)))
    return int.from_bytes(chip.read(2), "big", signed=signed)


def _config(*, mux: int = 4, gain: int = 1, rate: int = 7, mode: int = SINGLE_SHOT) -> int:
    return OS | mux << 12 | gain << 9 | mode | rate << 5 | 3


def _convert(chip: Ads1115Chip, clock: FollowingClock, config: int) -> int:
    """Start a conversion, wait longer than any takes, and fetch it."""
    _write(chip, CONFIG, config)
    clock.advance_to(clock.monotonic_ns() + 200_000_000)
    return _read(chip, CONVERSION, signed=True)


def test_the_registers_have_their_reset_values(chip: Ads1115Chip) -> None:
    """After power-on: no conversion, idle at +-2.048 V and 128 a second, thresholds at the ends."""
    assert [_read(chip, register) for register in range(4)] == [0, 0x8583, 0x8000, 0x7FFF]


def test_a_register_keeps_what_is_written_and_conversions_cannot_be(chip: Ads1115Chip) -> None:
    """Config and thresholds read back; the conversion register is read only."""
    for register, value in ((CONFIG, 0x4583), (LOW, 0x1234), (HIGH, 0x4321), (CONVERSION, 9)):
        _write(chip, register, value)
    assert [_read(chip, register) for register in range(4)] == [0, 0xC583, 0x1234, 0x4321]
    chip.power_on()
    assert _read(chip, CONFIG) == 0x8583


def test_the_pointer_stays_from_read_to_read(chip: Ads1115Chip) -> None:
    """Reads without a write give the register that was pointed to last, high byte first."""
    chip.write(bytes((HIGH,)))
    assert [chip.read(2), chip.read(1), chip.read(2)] == [b"\x7f\xff", b"\x7f", b"\x7f\xff"]


@pytest.mark.parametrize("oscillator", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("rate", range(8))
def test_a_conversion_takes_one_over_dr_of_its_own_oscillator(
    clock: FollowingClock, rate: int, oscillator: float
) -> None:
    """Idle until it has powered up, then busy for 1/DR; the result comes only at the end."""
    chip = Ads1115Chip([level(1.0)], now_ns=clock.monotonic_ns, oscillator=oscillator)
    _write(chip, CONFIG, _config(rate=rate))
    taken_ns = round(1e9 / (RATES_HZ[rate] * oscillator))
    seen = []
    for now_ns in (0, POWER_UP_NS, POWER_UP_NS + taken_ns - 1, POWER_UP_NS + taken_ns):
        clock.advance_to(now_ns)
        seen.append((bool(_read(chip, CONFIG) & OS), _read(chip, CONVERSION)))
    assert seen == [(True, 0), (False, 0), (False, 0), (True, 8000)]
    (conversion,) = chip.conversions
    assert conversion.time_ns == POWER_UP_NS + taken_ns // 2


def test_an_os_bit_during_a_conversion_starts_none(
    chip: Ads1115Chip, clock: FollowingClock
) -> None:
    """The running conversion ends at its time with the input it began with, and none follows."""
    _write(chip, CONFIG, _config(mux=4))
    clock.advance_to(500_000)
    _write(chip, CONFIG, _config(mux=7))
    clock.advance_to(5_000_000)
    assert _read(chip, CONVERSION) == 4000
    assert [c.mux for c in chip.conversions] == [4]


def test_continuous_conversions_follow_each_other_until_single_shot(
    chip: Ads1115Chip, clock: FollowingClock
) -> None:
    """In continuous mode one begins when one ends; after single-shot is set the last one ends."""
    _write(chip, CONFIG, _config(mode=0))
    clock.advance_to(10_000_000)
    assert not _read(chip, CONFIG) & OS
    _write(chip, CONFIG, _config() & ~OS)
    count = len(chip.conversions)
    clock.advance_to(20_000_000)
    assert _read(chip, CONFIG) & OS
    assert len(chip.conversions) == count == 9
    pairs = zip(chip.conversions, chip.conversions[1:], strict=False)
    assert all(a.ended_ns == b.begun_ns for a, b in pairs)


def test_each_mux_setting_converts_its_inputs(chip: Ads1115Chip, clock: FollowingClock) -> None:
    """Four pairs, then each input against ground; at +-4.096 V a count is 125 uV."""
    counts = [_convert(chip, clock, _config(mux=mux)) for mux in range(8)]
    assert counts == [-4000, -20000, -16000, -8000, 4000, 8000, 16000, 24000]


def test_each_range_scales_and_clips(chip: Ads1115Chip, clock: FollowingClock) -> None:
    """0.5 V in each range, which is full scale from 0.512 V down or beyond it."""
    counts = [_convert(chip, clock, _config(gain=gain)) for gain in range(8)]
    assert counts == [2667, 4000, 8000, 16000, 32000, 32767, 32767, 32767]
    chip.inputs[0] = level(-0.5)
    assert _convert(chip, clock, _config(gain=5)) == -32768


def test_the_journal_says_which_conversion_each_read_got(
    chip: Ads1115Chip, clock: FollowingClock
) -> None:
    """A conversion that is read twice is in the journal twice, with its number."""
    _read(chip, CONVERSION)
    _convert(chip, clock, _config())
    _read(chip, CONVERSION)
    _convert(chip, clock, _config())
    found = [fetch.conversion.number if fetch.conversion else None for fetch in chip.fetches]
    assert found == [None, 0, 0, 1]


def test_a_stuck_chip_never_becomes_idle(chip: Ads1115Chip, clock: FollowingClock) -> None:
    """While it is stuck no conversion ends."""
    chip.stuck = True
    assert _convert(chip, clock, _config()) == 0
    assert not _read(chip, CONFIG) & OS
    chip.stuck = False
    assert _read(chip, CONVERSION) == 4000
