"""ADS1115: four 16-bit inputs on I2C (TI data sheet SBAS444).

Registers, chosen by the pointer byte that begins a write: 0 conversion, 1 config, 2 and 3 the
comparator's. The config register:

    15   14-12   11-9   8      7-5   4-0
    OS   MUX     PGA    MODE   DR    comparator, 00011 is off

OS written as 1 starts a conversion, and read as 1 says that none runs; MUX 100 to 111 are A0 to A3
against ground; PGA is the range; MODE 1 is single-shot; DR 111 is 860 a second.

A conversion is started by each tick, one for each count or, where M are averaged, M. So nothing is
ever read twice: the conversion register is read only after the OS bit has said that the conversion
that this read started has ended. An OS bit that is written while a conversion runs starts none, so
that after a failure the driver first waits until none runs; that frame is later than the others.
Its oscillator is up to 10 % slow or fast, and it takes 25 us to power up.

    volts = count * range / 32768
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..clock import Clock
from ..config import FULL_SCALES
from ..errors import SourceError
from . import Input
from .chip import ChipAdc
from .i2c import Chip, OpenBus
from .timing import BusTiming, Cost, Probe, measure, transfer_clocks

CONVERSION, CONFIG = 0, 1
OS = 0x8000
SINGLE_SHOT = 0x0100
DATA_RATE_860 = 7 << 5
COMPARATOR_OFF = 0x0003
MUX_A0 = 4
FULL_SCALE = 32768

POWER_UP_NS = 25_000
CONVERSION_NS = 1_000_000_000 // 860
TOLERANCE = 0.10
# The slowest conversion, with powering up.
LONGEST_NS = POWER_UP_NS + math.ceil(CONVERSION_NS / (1 - TOLERANCE))
# A conversion that has not ended after this never will.
TIMEOUT_NS = 2 * LONGEST_NS
POLL_NS = 100_000
# Someone may have left it converting by itself, 8 times a second at the slowest.
_STOP_NS = 200_000_000
_STOP_POLL_NS = 5_000_000

# How near to its supply or to ground an input is at a rail: a rail-to-rail output stage ends some
# tens of mV before them, and a 3.3 V supply may be that much less than it is said to be. At the
# electrodes of a front end of gain 1100 it is 0.1 mV.
RAIL_MARGIN_VOLTS = 0.1


class Ads1115(ChipAdc):
    """The driver; an Adc. Beside what every chip needs it takes full_scale_volts of the settings.

    A read may fail with EIO, where the chip was reset meanwhile, and with ETIMEDOUT, where a
    conversion does not end.
    """

    chip = Chip(
        name="ADS1115",
        kernel_module="ti_ads1015",
        address_hint="0x48 with ADDR at GND, 0x49 at VDD, 0x4a at SDA, 0x4b at SCL",
        max_bus_hz=400e3,
    )
    sample_format = "S16LE"
    count_size = 2

    def __init__(
        self, settings: Mapping[str, Any], open_bus: OpenBus, clock: Clock | None = None
    ) -> None:
        super().__init__(settings, open_bus, clock)
        self._full_scale_volts = settings["full_scale_volts"]
        self._idle = False

    def _read_frame(self) -> bytes:
        """M rounds of all inputs, so that the means of all are as near in time as can be."""
        sums = [0] * len(self._channels)
        for _ in range(self._oversampling):
            for place, channel in enumerate(self._channels):
                sums[place] += self._convert(channel)
        return b"".join(self._mean(total).to_bytes(2, "little", signed=True) for total in sums)

    def _convert(self, channel: int) -> int:
        """Start a conversion of one input, wait until it has ended, and fetch it."""
        if not self._idle:
            self._let_end()
        config = self._config(MUX_A0 + channel)
        self._transfer(bytes((CONFIG, *(config | OS).to_bytes(2, "big"))), 0)
        started_ns = self._clock.monotonic_ns()
        self._clock.sleep_until(started_ns + LONGEST_NS)
        self._wait_until_idle(config, started_ns + TIMEOUT_NS, POLL_NS)
        return int.from_bytes(self._transfer(bytes((CONVERSION,)), 2), "big", signed=True)

    def _let_end(self) -> None:
        """Wait until no conversion runs, whatever a read that failed may have started."""
        # The OS bit tells of it only when the chip has powered up.
        self._clock.sleep_until(self._clock.monotonic_ns() + POWER_UP_NS)
        self._transfer(bytes((CONFIG,)), 0)
        self._wait_until_idle(None, self._clock.monotonic_ns() + TIMEOUT_NS, POLL_NS)
        self._idle = True

    def _forget(self) -> None:
        self._idle = False

    def _stop(self) -> None:
        """End what the chip may still be doing for someone else, and see that it is an ADS1115."""
        config = self._config(MUX_A0)
        self._transfer(bytes((CONFIG, *config.to_bytes(2, "big"))), 0)
        deadline_ns = self._clock.monotonic_ns() + _STOP_NS
        self._wait_until_idle(config, deadline_ns, _STOP_POLL_NS)

    def _wait_until_idle(self, config: int | None, deadline_ns: int, poll_ns: int) -> None:
        """Look at the config register, to which the pointer points since it was written.

        Raises:
            _NoConversionError: it does not hold `config` (EIO), or says until the deadline that a
                conversion runs (ETIMEDOUT).
        """
        while True:
            value = int.from_bytes(self._transfer(None, 2), "big")
            if config is not None and value & ~OS != config:
                raise _NoConversionError(errno.EIO)
            if value & OS:
                return
            now_ns = self._clock.monotonic_ns()
            if now_ns >= deadline_ns:
                raise _NoConversionError(errno.ETIMEDOUT)
            self._clock.sleep_until(now_ns + poll_ns)

    def _config(self, mux: int) -> int:
        """The config register for one conversion, without the OS bit."""
        gain = FULL_SCALES.index(self._full_scale_volts)
        return mux << 12 | gain << 9 | SINGLE_SHOT | DATA_RATE_860 | COMPARATOR_OFF

    def _measure(self) -> BusTiming:
        """Time the two reads that a frame is made of."""
        self._stop()
        return measure(
            self._clock,
            Probe(transfer_clocks(None, 2), lambda: self._transfer(None, 2)),
            Probe(transfer_clocks(1, 2), lambda: self._transfer(bytes((CONVERSION,)), 2)),
        )

    def _cost(self, channels: Sequence[int], oversampling: int) -> Cost:
        return frame_cost(channels, oversampling)

    def _inputs(self, timing: BusTiming, frame_read_ns: int) -> tuple[Input, ...]:
        volts_per_count = self._full_scale_volts / FULL_SCALE
        margin = round(RAIL_MARGIN_VOLTS / volts_per_count)
        supply = round(self._reference_volts / volts_per_count)
        instants = conversion_instants_ns(
            len(self._channels), self._oversampling, timing, frame_read_ns
        )
        return tuple(
            Input(
                name,
                volts_per_count,
                capture_offset_ns=instant_ns,
                rail_low=margin,
                rail_high=min(supply - margin, FULL_SCALE - 1),
            )
            for name, instant_ns in zip(self._names, instants, strict=True)
        )

    def _description(self) -> str:
        return f"{super()._description()}, to {self._full_scale_volts:g} V"

    def _error(self, error: OSError) -> SourceError:
        """What an error of opening means; what answers but does not convert has its own words."""
        if not isinstance(error, _NoConversionError):
            return super()._error(error)
        place = f"address {self._address:#04x} on /dev/i2c-{self._number}"
        text = f"what answers at {place} is no ADS1115: it does not keep its config register"
        if error.errno == errno.ETIMEDOUT:
            text = f"the ADS1115 at {place} finishes no conversion; check its supply"
        return SourceError(
            f"{text}; choose the converter with --adc and its address with --address",
            bus=self._number,
            address=f"{self._address:#04x}",
            errno=error.errno,
        )


class _NoConversionError(OSError):
    """The chip answers, and gives no conversion."""

    def __init__(self, number: int) -> None:
        super().__init__(number, os.strerror(number))


def frame_cost(channels: Sequence[int], oversampling: int) -> Cost:
    """What one frame costs: for each conversion the config written and read, and the result."""
    count = len(channels) * oversampling
    clocks = transfer_clocks(3, 0) + transfer_clocks(None, 2) + transfer_clocks(1, 2)
    return Cost(3 * count, count * clocks, count * LONGEST_NS)


def conversion_instants_ns(
    channel_count: int, oversampling: int, timing: BusTiming, frame_read_ns: int
) -> list[int]:
    """Time from the begin of a frame to the mean of the middles of each channel's conversions.

    The chip begins to power up when the last byte of the config is acknowledged; half of a
    transfer's overhead is taken to be before its START. As its oscillator may be 10 % off, the
    middle of a conversion may be 65 us later or 53 us earlier.
    """
    written = Cost(0.5, transfer_clocks(3, 0) - 1, POWER_UP_NS + CONVERSION_NS / 2)
    each_ns = frame_read_ns / (channel_count * oversampling)
    rounds = (oversampling - 1) / 2
    return [
        round(timing.ns(written) + (channel + channel_count * rounds) * each_ns)
        for channel in range(channel_count)
    ]
