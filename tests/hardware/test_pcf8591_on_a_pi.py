"""A real PCF8591 on a real bus.

Run it where the chip is: `make test-hardware`, or `HOLTER_I2C_BUS=1 HOLTER_I2C_ADDRESS=0x48
pytest -m hardware tests/hardware`. Any voltages may be at the inputs.
"""

from __future__ import annotations

import os
import time

import pytest

from holter_device.config import Config
from holter_device.grid import Grid
from holter_device.probe import probe
from holter_device.sampler import ProcessSampler, child_clock
from support.sampling import assert_contiguous, counts_of, gaps_of, take

pytestmark = pytest.mark.hardware


@pytest.fixture
def config() -> Config:
    """The bus and address that the environment names."""
    if "HOLTER_I2C_BUS" not in os.environ:
        pytest.skip("set HOLTER_I2C_BUS (and HOLTER_I2C_ADDRESS) to where a PCF8591 is")
    address = int(os.environ.get("HOLTER_I2C_ADDRESS", "0x48"), 0)
    return Config(bus=int(os.environ["HOLTER_I2C_BUS"]), address=address)


def test_the_chip_answers(config: Config) -> None:
    """The probe reads all four inputs of a chip that is there."""
    assert "answers: A0 " in probe(config)


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
    assert len(counts_of(tiles)) + missing == tiles[-1].next_sequence
    assert missing < 360
