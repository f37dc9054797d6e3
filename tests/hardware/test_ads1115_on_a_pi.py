"""A real ADS1115 on a real bus.

Run it where the chip is: `HOLTER_I2C_BUS=1 HOLTER_ADS1115_ADDRESS=0x48 pytest -m hardware
tests/hardware`. Any voltages from ground to its supply may be at the inputs.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from holter_device.adc.ads1115 import CONVERSION_NS, TOLERANCE, Ads1115
from holter_device.adc.i2c import open_bus
from holter_device.clock import MonotonicClock
from holter_device.config import Config
from holter_device.grid import Grid
from holter_device.probe import probe
from holter_device.sampler import ProcessSampler, child_clock
from support.sampling import (
    assert_contiguous,
    counts_of,
    gaps_of,
    source_settings,
    take,
)

pytestmark = pytest.mark.hardware


@pytest.fixture
def config() -> Config:
    """The bus and address that the environment names."""
    if "HOLTER_I2C_BUS" not in os.environ or "HOLTER_ADS1115_ADDRESS" not in os.environ:
        pytest.skip("set HOLTER_I2C_BUS and HOLTER_ADS1115_ADDRESS to where an ADS1115 is")
    address = int(os.environ["HOLTER_ADS1115_ADDRESS"], 0)
    return Config(adc="ads1115", bus=int(os.environ["HOLTER_I2C_BUS"]), address=address)


def test_the_chip_answers(config: Config) -> None:
    """The probe reads all four inputs of a chip that is there."""
    assert "ADS1115 at" in probe(config)


def test_a_conversion_takes_what_the_data_sheet_says(config: Config) -> None:
    """The OS bit says idle neither before the fastest conversion's time nor after the slowest's."""
    bus, clock = open_bus(config.bus), MonotonicClock()
    try:
        for _ in range(20):
            bus.transfer(config.address, bytes((1, 0xC3, 0xE3)), 0)
            begun_ns = clock.monotonic_ns()
            looked_ns = begun_ns
            while not bus.transfer(config.address, None, 2)[0] & 0x80:
                looked_ns = clock.monotonic_ns()
            ended_ns = clock.monotonic_ns()
            assert ended_ns - begun_ns >= CONVERSION_NS / (1 + TOLERANCE)
            assert looked_ns - begun_ns <= 25_000 + CONVERSION_NS / (1 - TOLERANCE)
    finally:
        bus.close()


def test_all_inputs_are_converted(config: Config) -> None:
    """A hundred frames of four inputs: none fails, and the counts are not all one."""
    settings = source_settings(
        adc="ads1115",
        bus=config.bus,
        address=config.address,
        inputs=("A0", "A1", "A2", "A3"),
        rate=50.0,
    )
    driver = Ads1115(settings, open_bus)
    driver.open()
    try:
        frames = b"".join(driver.read(sequence) for sequence in range(100))
    finally:
        driver.close()
    assert len(set(np.frombuffer(frames, "<i2").tolist())) > 1


async def test_ten_seconds_keep_the_grid(config: Config) -> None:
    """In 10 s at 360 Hz every frame is received or named, and nine of ten are received."""
    sampler = ProcessSampler(config, child_clock(config, 0))
    await sampler.open()
    try:
        tiles = await take(sampler, Grid(time.monotonic_ns() + 50_000_000, config.rate), 10 * 360)
    finally:
        await sampler.close()
    assert_contiguous(tiles)
    missing = sum(gap.frame_count for gap in gaps_of(tiles))
    assert len(counts_of(tiles)) // 2 + missing == tiles[-1].next_sequence
    assert missing < 360
