"""What the log says of a converter that does not answer."""

from __future__ import annotations

import errno

import pytest

from holter_device.config import Config
from holter_device.grid import GapCause
from holter_device.outage import Outage
from holter_device.samples import Block, Gap


class Tiles:
    """The tiles of a session at 100 Hz, as they come."""

    def __init__(self, config: Config) -> None:
        self._outage = Outage(config)
        self._next = 0

    def frames(self, count: int) -> None:
        """Frames that were read."""
        self._look(Block(1, self._next, count, bytes(count)))

    def missing(self, count: int, cause: GapCause = GapCause.BUS_ERROR) -> None:
        """Frames that are missing, told in parts."""
        for _ in range(count // 5):
            self._look(Gap(1, self._next, 5, cause))

    def _look(self, tile: Block | Gap) -> None:
        self._next = tile.next_sequence
        self._outage.look([tile], errno.ETIMEDOUT)


def test_a_converter_that_is_gone_is_told_once_and_its_return_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However long it is gone: a sentence with the errno in words, and one with what is missing."""
    tiles = Tiles(Config(rate=100.0, bus=3))
    for _ in range(2):
        tiles.frames(50)
        tiles.missing(95)
        assert caplog.messages == []
        tiles.missing(5)
        tiles.missing(1000, GapCause.LATE)
        (gone,) = caplog.messages
        assert gone.startswith("the bus timed out at address 0x48 on /dev/i2c-3")
        assert "(Connection timed out, errno 110)" in gone
        tiles.frames(1)
        assert caplog.messages[1:] == [
            "the converter answers again: 1100 frames (11.0 s) are missing"
        ]
        caplog.clear()


def test_errors_that_pass_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """Shorter silences are counted in the quality; the log is not flooded with them."""
    tiles = Tiles(Config(rate=100.0))
    for _ in range(100):
        tiles.missing(95)
        tiles.frames(1)
    assert caplog.messages == []


@pytest.mark.parametrize("cause", [GapCause.LATE, GapCause.OVERRUN, GapCause.SAMPLER_RESTARTED])
def test_a_hole_without_an_error_of_the_bus_is_not_the_converters(
    caplog: pytest.LogCaptureFixture, cause: GapCause
) -> None:
    """Frames that are missing for another reason say nothing of the chip."""
    tiles = Tiles(Config(rate=100.0, adc="ads1115"))
    tiles.missing(1000, cause)
    tiles.frames(1)
    assert caplog.messages == []
