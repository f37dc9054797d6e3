"""Sources of frames: what an analogue-to-digital converter is to the sampler.

A driver owns the truths of its chip (what is stale, what must be discarded); nothing above it
knows them. Nothing heavy is imported here, and each driver only when it is chosen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .i2c import OpenBus

# The keys of a Config that a source needs; they travel to the sampler process as JSON.
SETTINGS = (
    "simulate",
    "seed",
    "replay",
    "replay_leads",
    "loop",
    "adc",
    "bus",
    "address",
    "inputs",
    "rate",
    "oversampling",
    "reference_volts",
    "full_scale_volts",
    "gain",
    "baseline_volts",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Input:
    """One input of a converter: volts = count * volts_per_count + offset_volts.

    Attributes:
        name: its name, e.g. "A0".
        volts_per_count: volts of one count.
        offset_volts: volts at count 0.
        capture_offset_ns: time from the begin of the read to the instant at which the count was
            true: the conversion's, or the mean of the conversions' that are averaged.
        rail_low: the count at or below which the front end is at its lower rail.
        rail_high: the count at or above which it is at its upper rail, or beyond full scale.
    """

    name: str
    volts_per_count: float
    offset_volts: float = 0.0
    capture_offset_ns: int = 0
    rail_low: int = 0
    rail_high: int = 255


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AdcInfo:
    """What a source is, once it is open.

    Attributes:
        kind: "pcf8591", "ads1115", "simulate" or "replay".
        description: the source in words, e.g. "PCF8591 at 0x48 on /dev/i2c-1".
        inputs: the channels of a frame, in the order of their counts.
        sample_format: how a count is written: the name of a SampleFormat.
        frame_size: bytes of one frame.
        oversampling: conversions that are averaged for one count.
        frame_read_ns: time of the fastest read of one frame that was measured; 0 where nothing is
            read.
    """

    kind: str
    description: str
    inputs: tuple[Input, ...]
    sample_format: str
    frame_size: int
    oversampling: int = 1
    frame_read_ns: int = 0


class Adc(Protocol):
    """A converter, or what stands for one. It is used by one thread."""

    def open(self) -> AdcInfo:
        """Make it ready to read.

        Raises:
            SourceError: it cannot be used; the sentence says why and what to do.
            ConfigError: it cannot do what the settings ask.
        """

    def read(self, sequence: int) -> bytes:
        """Convert now, and return the counts of one frame; b"" where the source is over.

        Args:
            sequence: the frame's place on the grid; a chip does not need it.

        Raises:
            BusReadError: the chip did not answer. The next read may succeed.
        """

    def close(self) -> None:
        """Let go of it. Safe to repeat."""


@runtime_checkable
class BlockAdc(Adc, Protocol):
    """A source whose frames are a function of their sequence, so that many come at once."""

    def read_many(self, sequence: int, frame_count: int) -> bytes:
        """The frames from `sequence` on; fewer than `frame_count` where the source is over."""


def make_adc(settings: Mapping[str, Any]) -> Adc:
    """Make the source that the settings choose; it is not open yet.

    Args:
        settings: the values of SETTINGS.
    """
    if settings["simulate"]:
        from .simulated import SimulatedAdc

        return SimulatedAdc(settings)
    if settings["replay"]:
        from .replay import ReplayAdc

        return ReplayAdc(settings)
    from .i2c import open_bus

    return make_chip(settings, open_bus)


def make_chip(settings: Mapping[str, Any], open_bus: OpenBus) -> Adc:
    """Make the driver of the converter that the settings choose; it is not open yet.

    Args:
        settings: the values of SETTINGS.
        open_bus: how to open an I2C bus by its number.
    """
    if settings["adc"] == "ads1115":
        from .ads1115 import Ads1115

        return Ads1115(settings, open_bus)
    from .pcf8591 import Pcf8591

    return Pcf8591(settings, open_bus)
