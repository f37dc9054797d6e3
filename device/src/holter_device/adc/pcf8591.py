"""PCF8591: four 8-bit inputs on I2C (NXP data sheet, rev. 7).

Control byte, the first one of a write:

    7   6      5 4    3   2     1 0
    0   AOEF   mode   0   AINC  channel

AOEF 1 keeps the oscillator running between reads, which AINC needs; mode 00 is four single-ended
inputs; AINC moves on one channel, of the four, with each byte read.

A byte read is the conversion that was finished before: while it is shifted out the next one runs.
So the first byte of each read is stale: it belongs to the read before, and after power-on is 0x80.
It is always dropped; each further byte was converted during this read.

A sample is taken at the trailing edge of the acknowledge before each byte ("A/D conversion"): the
first at that of the address, each further one nine clocks later. So the instant at which a count
was true follows from its place in the transfer; of M conversions it is the mean of their instants.

    volts = count * Vref / 256
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..clock import Clock
from ..config import MAX_OVERSAMPLING
from . import Input
from .chip import ChipAdc
from .i2c import Chip, OpenBus
from .timing import BYTE_CLOCKS, BusTiming, Cost, Probe, measure, transfer_clocks

AOEF = 0x40
AINC = 0x04
CHANNEL_COUNT = 4
FULL_SCALE = 256


class Pcf8591(ChipAdc):
    """The driver; an Adc.

    A frame of one input is one read; of A0 up to A(C-1), one write and one read with
    auto-increment; of any other inputs, a write and a read for each.
    """

    chip = Chip(
        name="PCF8591",
        kernel_module="pcf8591",
        address_hint="0x48 plus its jumpers A0 to A2, so 0x48 to 0x4f",
        max_bus_hz=100e3,
    )
    sample_format = "U8"
    count_size = 1

    def __init__(
        self, settings: Mapping[str, Any], open_bus: OpenBus, clock: Clock | None = None
    ) -> None:
        super().__init__(settings, open_bus, clock)
        self._selected = False

    def _read_frame(self) -> bytes:
        if len(self._channels) == 1:
            return self._read_one()
        if _in_turn(self._channels):
            return self._read_in_turn()
        return self._read_each()

    def _read_one(self) -> bytes:
        """One input: its control byte stands, and is written again only after an error."""
        control = None if self._selected else AOEF | self._channels[0]
        data = self._converted(control, self._oversampling)
        self._selected = True
        return bytes((self._mean(sum(data)),))

    def _read_in_turn(self) -> bytes:
        """A0 up to A(C-1): the write takes the channel pointer back to A0.

        The pointer goes round all four inputs, so that M conversions of each need M - 1 whole
        rounds and a last one of C.
        """
        count = len(self._channels)
        last_round = CHANNEL_COUNT * (self._oversampling - 1)
        data = self._converted(AOEF | AINC, last_round + count)
        return bytes(self._mean(sum(data[channel::CHANNEL_COUNT])) for channel in range(count))

    def _read_each(self) -> bytes:
        """Any inputs, in any order."""
        return bytes(
            self._mean(sum(self._converted(AOEF | channel, self._oversampling)))
            for channel in self._channels
        )

    def _converted(self, control: int | None, count: int) -> bytes:
        """Read `count` conversions that are made now, after a control byte where one is given."""
        write = None if control is None else bytes((control,))
        return self._transfer(write, 1 + count)[1:]

    def _forget(self) -> None:
        self._selected = False

    def _measure(self) -> BusTiming:
        """Time a shortest and a longest read."""
        short, long = 2, 1 + MAX_OVERSAMPLING
        return measure(
            self._clock,
            Probe(transfer_clocks(None, short), lambda: self._transfer(None, short)),
            Probe(transfer_clocks(None, long), lambda: self._transfer(None, long)),
        )

    def _cost(self, channels: Sequence[int], oversampling: int) -> Cost:
        return frame_cost(channels, oversampling)

    def _inputs(self, timing: BusTiming, frame_read_ns: int) -> tuple[Input, ...]:
        instants = sample_instants(self._channels, self._oversampling)
        return tuple(
            Input(
                name,
                self._reference_volts / FULL_SCALE,
                capture_offset_ns=round(timing.ns(instant)),
                rail_low=0,
                rail_high=FULL_SCALE - 1,
            )
            for name, instant in zip(self._names, instants, strict=True)
        )


def frame_cost(channels: Sequence[int], oversampling: int) -> Cost:
    """What the bus does for one frame."""
    count = len(channels)
    if count == 1:
        return Cost(1, transfer_clocks(None, 1 + oversampling))
    if _in_turn(channels):
        return Cost(1, transfer_clocks(1, 1 + CHANNEL_COUNT * (oversampling - 1) + count))
    return Cost(count, count * transfer_clocks(1, 1 + oversampling))


def sample_instants(channels: Sequence[int], oversampling: int) -> list[Cost]:
    """What the bus does from the begin of a frame to the mean instant of each channel's samples.

    Half of a transfer's overhead is taken to be before its START. One input's control byte is
    taken to stand; where an error made it be written again, that frame is 19 clocks later.
    """
    # Up to the acknowledge of a read's address there is all of a transfer but its bytes and STOP.
    alone = transfer_clocks(None, 1) - BYTE_CLOCKS - 1
    written = transfer_clocks(1, 1) - BYTE_CLOCKS - 1
    rounds = (oversampling - 1) / 2
    if len(channels) == 1:
        return [Cost(0.5, alone + BYTE_CLOCKS * rounds)]
    if _in_turn(channels):
        return [
            Cost(0.5, written + BYTE_CLOCKS * (channel + CHANNEL_COUNT * rounds))
            for channel in channels
        ]
    whole = transfer_clocks(1, 1 + oversampling)
    return [
        Cost(before + 0.5, before * whole + written + BYTE_CLOCKS * rounds)
        for before in range(len(channels))
    ]


def _in_turn(channels: Sequence[int]) -> bool:
    """Whether auto-increment from A0 on serves them."""
    return list(channels) == list(range(len(channels)))
