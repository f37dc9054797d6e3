"""`holterd probe` in each situation that a bus can be in."""

from __future__ import annotations

import errno

import pytest

from holter_device.adc.i2c import source_error
from holter_device.adc.pcf8591 import Pcf8591
from holter_device.config import Config
from holter_device.errors import (
    AddressBusyError,
    BusMissingError,
    BusPermissionError,
    NoAnswerError,
    SourceError,
)
from holter_device.probe import probe
from holter_device.testing import Ads1115Chip, Pcf8591Chip, SimulatedBus, level


def _bus(address: int = 0x48) -> SimulatedBus:
    levels = [level(volts) for volts in (1.64, 0.0, 3.29, 2.0)]
    return SimulatedBus(Pcf8591Chip(levels, address=address))


def test_a_chip_that_answers_is_told_with_its_four_inputs() -> None:
    """The sentence gives chip, address, bus, and each input's count and volts."""
    assert probe(Config(), lambda _: _bus()) == (
        "PCF8591 at 0x48 on /dev/i2c-1 answers:"
        " A0 127 (1.64 V), A1 0 (0.00 V), A2 255 (3.29 V), A3 155 (2.00 V)"
    )


def test_volts_are_by_the_configs_reference() -> None:
    """At Vref 5 V the same count is more volts."""
    assert "A0 127 (2.48 V)" in probe(Config(reference_volts=5.0), lambda _: _bus())


def test_an_ads1115_is_told_with_its_counts_and_volts() -> None:
    """Sixteen bits, with their sign, in the range that the settings choose."""
    levels = [level(volts) for volts in (1.64, -0.01, 3.29, 5.0)]
    bus = SimulatedBus(Ads1115Chip(levels, address=0x49))
    assert probe(Config(adc="ads1115", address=0x49), lambda _: bus) == (
        "ADS1115 at 0x49 on /dev/i2c-1 answers:"
        " A0 13120 (1.64 V), A1 -80 (-0.01 V), A2 26320 (3.29 V), A3 32767 (4.10 V)"
    )


def test_an_ads1115_at_another_address_is_looked_for_where_it_can_be() -> None:
    """Only its own four addresses are pointed to."""
    bus = SimulatedBus(Ads1115Chip(address=0x4A), Pcf8591Chip(address=0x4F))
    with pytest.raises(NoAnswerError, match=r"There is an answer at 0x4a \(--address 0x4a\)$"):
        probe(Config(adc="ads1115"), lambda _: bus)


def test_a_chip_at_another_address_is_pointed_to() -> None:
    """Nobody at 0x48, but at 0x4a: the sentence says which flag finds it."""
    with pytest.raises(NoAnswerError, match=r"There is an answer at 0x4a \(--address 0x4a\)"):
        probe(Config(), lambda _: _bus(0x4A))


def test_a_bus_that_is_missing_is_told() -> None:
    """The kernel's own bus 999: no such file."""
    with pytest.raises(BusMissingError, match=r"no I2C bus /dev/i2c-999.*raspi-config.*--bus"):
        probe(Config(bus=999))


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOENT, BusMissingError, "raspi-config"),
        (errno.EACCES, BusPermissionError, "group i2c"),
        (errno.EPERM, BusPermissionError, "may not use"),
        (errno.EBUSY, AddressBusyError, "kernel driver owns address 0x48"),
        (errno.EREMOTEIO, NoAnswerError, "no chip answers at address 0x48"),
        (errno.ENXIO, NoAnswerError, "0x48 to 0x4f"),
        (errno.ENODEV, NoAnswerError, "i2cdetect -y 1"),
        (errno.ETIMEDOUT, NoAnswerError, "SDA or SCL is held low"),
        (errno.EIO, NoAnswerError, "loose wires"),
        (errno.EOPNOTSUPP, SourceError, "SMBus only"),
        (errno.ENOMEM, SourceError, "Cannot allocate memory"),
    ],
)
def test_each_errno_has_its_sentence(number: int, kind: type[SourceError], words: str) -> None:
    """What the bus says becomes an error of its own kind that says what to do, with its facts."""
    bus = _bus()
    bus.claim_errno = number
    with pytest.raises(SourceError, match=words) as raised:
        probe(Config(), lambda _: bus)
    assert type(raised.value) is kind
    assert raised.value.facts == {"bus": "1", "address": "0x48", "errno": str(number)}


def test_sentences_differ() -> None:
    """Situations that need another remedy have another sentence."""
    numbers = (
        errno.ENOENT,
        errno.EACCES,
        errno.EBUSY,
        errno.EREMOTEIO,
        errno.ETIMEDOUT,
        errno.EIO,
        errno.EOPNOTSUPP,
    )
    sentences = {str(source_error(OSError(n, "x"), 1, 0x48, Pcf8591.chip)) for n in numbers}
    assert len(sentences) == len(numbers)
    assert all("\n" not in sentence for sentence in sentences)
