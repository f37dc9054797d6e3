"""Says in the log that a converter does not answer, once, and once that it does again."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from .adc import SETTINGS, make_chip
from .config import Config
from .grid import GapCause
from .samples import Block, Gap

# A converter that gives no frame for this long is gone; a shorter silence is in the quality only.
GONE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Outage:
    """Watches the tiles of one session.

    Args:
        config: names the converter.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._least = GONE_SECONDS * config.rate
        self._missing = 0
        self._failed = False
        self._gone = False

    def look(self, tiles: Iterable[Block | Gap], errno: int) -> None:
        """Take the next tiles, and why a read failed last."""
        for tile in tiles:
            if isinstance(tile, Block):
                self._answered()
            else:
                self._missing += tile.frame_count
                self._failed |= tile.cause is GapCause.BUS_ERROR
        if self._failed and not self._gone and self._missing >= self._least:
            self._gone = True
            _log.warning("%s; its frames are gaps until it answers", _sentence(self._config, errno))

    def _answered(self) -> None:
        if self._gone:
            seconds = self._missing / self._config.rate
            _log.warning(
                "the converter answers again: %d frames (%.1f s) are missing",
                self._missing,
                seconds,
            )
        self._missing, self._failed, self._gone = 0, False, False


def _sentence(config: Config, errno: int) -> str:
    """What this errno means of this converter."""
    from .adc.chip import ChipAdc
    from .adc.i2c import open_bus, source_error

    adc = make_chip({key: getattr(config, key) for key in SETTINGS}, open_bus)
    assert isinstance(adc, ChipAdc)
    error = OSError(errno, os.strerror(errno))
    sentence = source_error(error, config.bus, config.address, adc.chip)
    return f"{sentence} ({error.strerror}, errno {errno})"
