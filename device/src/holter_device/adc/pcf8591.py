"""PCF8591: four 8-bit inputs on I2C (NXP data sheet, rev. 7).

Control byte, the first one of a write:

    7   6      5 4    3   2     1 0
    0   AOEF   mode   0   AINC  channel

AOEF 1 keeps the oscillator running between reads, which AINC needs; mode 00 is four single-ended
inputs; AINC moves on one channel, of the four, with each byte read.

A byte read is the conversion that was finished before: while it is shifted out the next one runs.
So the first byte of each read is stale: it belongs to the read before, and after power-on is 0x80.
It is always dropped; each further byte was converted during this read.

    volts = count * Vref / 256
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..errors import BusReadError, ConfigError
from . import AdcInfo, Input
from .i2c import I2cBus, OpenBus, source_error

AOEF = 0x40
AINC = 0x04
CHANNEL_COUNT = 4
FULL_SCALE = 256

_PACE_READS = 8


class Pcf8591:
    """The driver; an Adc.

    A frame of one input is one read; of A0 up to A(C-1), one write and one read with
    auto-increment; of any other inputs, a write and a read for each. Each count is the mean of
    `oversampling` conversions, rounded half up.

    Args:
        settings: bus, address, inputs, rate, oversampling and reference_volts of a Config.
        open_bus: how to open an I2C bus by its number.
    """

    def __init__(self, settings: Mapping[str, Any], open_bus: OpenBus) -> None:
        self._number = settings["bus"]
        self._address = settings["address"]
        self._names = tuple(settings["inputs"])
        self._rate_hz = float(settings["rate"])
        self._oversampling = settings["oversampling"]
        self._reference_volts = settings["reference_volts"]
        self._open_bus = open_bus
        self._bus: I2cBus | None = None
        self._channels = [int(name.removeprefix("A")) for name in self._names]
        if len(self._channels) == 1:
            self._read_frame = self._read_one
        elif self._channels == list(range(len(self._channels))):
            self._read_frame = self._read_in_turn
        else:
            self._read_frame = self._read_each
        self._selected = False

    def open(self) -> AdcInfo:
        """Open the bus, read the chip, and see that the bus is fast enough.

        Raises:
            SourceError: the bus or the chip does not answer.
            ConfigError: a frame takes longer than a period.
        """
        try:
            self._bus = self._open_bus(self._number)
            self._bus.claim(self._address)
            self._check_pace()
        except OSError as error:
            self.close()
            raise source_error(error, self._number, self._address) from error
        except ConfigError:
            self.close()
            raise
        where = f"PCF8591 at {self._address:#04x} on /dev/i2c-{self._number}"
        mean = f", mean of {self._oversampling}" if self._oversampling > 1 else ""
        volts_per_count = self._reference_volts / FULL_SCALE
        return AdcInfo(
            kind="pcf8591",
            description=f"{where}, {', '.join(self._names)}{mean}",
            inputs=tuple(Input(name, volts_per_count) for name in self._names),
            sample_format="U8",
            frame_size=len(self._names),
        )

    def read(self, sequence: int) -> bytes:
        """Convert each input now.

        Raises:
            BusReadError: the chip did not answer. The next read selects the input anew.
        """
        try:
            return self._read_frame()
        except OSError as error:
            self._selected = False
            raise BusReadError(error.errno or 0) from error

    def close(self) -> None:
        """Let go of the bus."""
        bus, self._bus = self._bus, None
        self._selected = False
        if bus is not None:
            bus.close()

    def _read_one(self) -> bytes:
        """One input: its control byte stands, and is written again only after an error."""
        control = None if self._selected else AOEF | self._channels[0]
        data = self._transfer(control, self._oversampling)
        self._selected = True
        return bytes((self._mean(data),))

    def _read_in_turn(self) -> bytes:
        """A0 up to A(C-1): the write takes the channel pointer back to A0.

        The pointer goes round all four inputs, so that M conversions of each need M - 1 whole
        rounds and a last one of C.
        """
        count = len(self._channels)
        last_round = CHANNEL_COUNT * (self._oversampling - 1)
        data = self._transfer(AOEF | AINC, last_round + count)
        return bytes(self._mean(data[channel::CHANNEL_COUNT]) for channel in range(count))

    def _read_each(self) -> bytes:
        """Any inputs, in any order."""
        return bytes(
            self._mean(self._transfer(AOEF | channel, self._oversampling))
            for channel in self._channels
        )

    def _transfer(self, control: int | None, count: int) -> bytes:
        """Read `count` conversions that are made now, after a control byte where one is given."""
        assert self._bus is not None, "the converter is not open"
        write = None if control is None else bytes((control,))
        return self._bus.transfer(self._address, write, 1 + count)[1:]

    def _mean(self, conversions: bytes) -> int:
        return (2 * sum(conversions) + len(conversions)) // (2 * len(conversions))

    def _check_pace(self) -> None:
        """Compare the fastest of a few frames with the period: an idle bus decides, not luck.

        A read that fails is no frame; where all fail, the last one's error is raised.
        """
        assert self._bus is not None
        failure: OSError | None = None
        frames_ns: list[int] = []
        for _ in range(_PACE_READS):
            begun_ns = time.perf_counter_ns()
            try:
                self._read_frame()
            except OSError as error:
                self._selected, failure = False, error
            else:
                frames_ns.append(time.perf_counter_ns() - begun_ns)
        if failure is not None and not frames_ns:
            raise failure
        self._refuse_slower_than(min(frames_ns))

    def _refuse_slower_than(self, frame_ns: int) -> None:
        period_ns = 1e9 / self._rate_hz
        if frame_ns > period_ns:
            raise ConfigError(
                f"the bus is too slow: one frame of {len(self._names)} inputs x"
                f" {self._oversampling} conversions takes {frame_ns / 1e6:.2f} ms on /dev/i2c-"
                f"{self._number}, and {self._rate_hz:g} Hz leaves {period_ns / 1e6:.2f} ms; lower"
                " rate, oversampling or the number of inputs",
                frame_ns=frame_ns,
                period_ns=round(period_ns),
            )
