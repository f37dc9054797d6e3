"""The chip model against the data sheet."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from holter_device.testing import Pcf8591Chip, SimulatedBus, level, played

CODES = bytes(int(volts * 256 / 3.3) for volts in (0.5, 1.0, 2.0, 3.0))


@pytest.fixture
def chip() -> Pcf8591Chip:
    """A chip with four levels at its inputs."""
    return Pcf8591Chip([level(volts) for volts in (0.5, 1.0, 2.0, 3.0)])


def test_the_first_byte_after_power_on_is_0x80(chip: Pcf8591Chip) -> None:
    """There is no conversion before the first one: its place holds 0x80."""
    assert chip.read(2) == bytes((0x80, CODES[0]))


def test_the_first_byte_of_a_read_is_the_last_conversion_before(chip: Pcf8591Chip) -> None:
    """Whatever channel was selected since, the stale conversion comes out first."""
    chip.write(b"\x42")
    chip.read(1)
    chip.write(b"\x41")
    assert chip.read(2) == bytes((CODES[2], CODES[1]))


def test_auto_increment_moves_one_channel_a_byte_from_read_to_read(chip: Pcf8591Chip) -> None:
    """Without a write between them the pointer rotates on through the four channels."""
    chip.write(b"\x44")
    assert chip.read(3)[1:] == CODES[:2]
    assert chip.read(4) == CODES[2:] + CODES[:2]


def test_a_write_takes_the_pointer_back(chip: Pcf8591Chip) -> None:
    """The channel in the control byte is the next one to be converted."""
    chip.write(b"\x44")
    chip.read(3)
    chip.write(b"\x44")
    assert chip.read(5)[1:] == CODES


def test_auto_increment_needs_the_oscillator(chip: Pcf8591Chip) -> None:
    """With AOEF 0 the pointer stays."""
    chip.write(b"\x04")
    assert chip.read(4)[1:] == CODES[:1] * 3


def test_bytes_after_the_control_byte_are_the_output(chip: Pcf8591Chip) -> None:
    """The last of them stands at the analogue output."""
    chip.write(b"\x40\x10\x20")
    assert chip.output == 0x20


def test_another_address_is_not_acknowledged(chip: Pcf8591Chip) -> None:
    """Nobody answers for an address that no chip has, and no chip notices."""
    with pytest.raises(OSError, match="Remote I/O") as raised:
        SimulatedBus(chip).transfer(0x49, None, 1)
    assert raised.value.errno == errno.EREMOTEIO
    assert chip.reads == []


def test_the_journal_has_every_conversion_with_its_input(chip: Pcf8591Chip) -> None:
    """Each read keeps what it gave and what it converted, with channel, volts and code."""
    chip.write(b"\x44")
    data = chip.read(3)
    (read,) = chip.reads
    assert read.data == data
    assert [(c.channel, c.volts, c.code) for c in read.conversions] == [
        (0, 0.5, CODES[0]),
        (1, 1.0, CODES[1]),
        (2, 2.0, CODES[2]),
    ]


def test_a_recording_plays_each_value_at_its_tick() -> None:
    """At the rounded time of tick k a recording gives value k, up to its last one."""
    values = np.arange(5000.0)
    signal = played(values, 360.0, start_ns=1_000)
    times = [1_000 + round(k * 1e9 / 360) for k in range(5010)]
    assert [signal(t) for t in times] == [min(k, 4999) for k in range(5010)]
    assert signal(0) == 0
