"""An ADS1115 at byte level, as its data sheet (TI SBAS444) describes it, with a journal.

A conversion begins when it is written, 25 us after the acknowledge for the chip to power up, and
takes 1/DR of an oscillator that is up to 10 % off. Until the chip has powered up its OS bit still
reads idle (the data sheet's worst reading), and an OS bit that is written during a conversion
starts none: both are traps for a driver that hurries.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .pcf8591_chip import Signal, level

POWER_UP_NS = 25_000
OSCILLATOR_TOLERANCE = 0.10

_CONVERSION, _CONFIG = 0, 1
_RESET = (0x0000, 0x8583, 0x8000, 0x7FFF)
_OS, _SINGLE_SHOT = 0x8000, 0x0100
# MUX bits 0 to 3: differential pairs; 4 to 7: one input against ground.
_PAIRS = ((0, 1), (0, 3), (1, 3), (2, 3))
_FULL_SCALES = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256)
_RATES_HZ = (8, 16, 32, 64, 128, 250, 475, 860)


class Ads1115Conversion(NamedTuple):
    """One conversion.

    Attributes:
        number: from 0, in the order of their begins.
        begun_ns: its begin.
        ended_ns: when its result was ready.
        mux: the MUX bits; 4 up to 7 are A0 up to A3 against ground.
        volts: what was there in its middle.
        code: what came out.
    """

    number: int
    begun_ns: int
    ended_ns: int
    mux: int
    volts: float
    code: int

    @property
    def time_ns(self) -> int:
        """The middle of the conversion, which its result is of."""
        return (self.begun_ns + self.ended_ns) // 2


class Fetch(NamedTuple):
    """A read of the conversion register: when, and which conversion was in it, None before any."""

    time_ns: int
    conversion: Ads1115Conversion | None


class Ads1115Chip:
    """All registers, single-shot and continuous; the comparator and its pin do nothing.

    Args:
        inputs: what is connected to AIN0 up to AIN3; inputs that are left out are at 0 V.
        address: its I2C address.
        now_ns: the time at which it converts.
        oscillator: its oscillator's frequency against the nominal one, 0.9 to 1.1.

    Attributes:
        address: its I2C address.
        inputs: what is connected; may be changed while it runs.
        oscillator: may be changed; a conversion keeps the one that it began with.
        stuck: while it is set no conversion ends.
        conversions: the journal of what was converted, in order.
        fetches: the journal of the reads of the conversion register.
    """

    def __init__(
        self,
        inputs: Sequence[Signal] = (),
        *,
        address: int = 0x48,
        now_ns: Callable[[], int] = time.monotonic_ns,
        oscillator: float = 1.0,
    ) -> None:
        self.address = address
        self.inputs: list[Signal] = [*inputs, *[level(0.0)] * 4][:4]
        self.oscillator = oscillator
        self.stuck = False
        self.conversions: list[Ads1115Conversion] = []
        self.fetches: list[Fetch] = []
        self._now_ns = now_ns
        self.power_on()

    def power_on(self) -> None:
        """Forget everything but the journal, as after a loss of power."""
        self._registers = list(_RESET)
        self._pointer = 0
        self._running: Ads1115Conversion | None = None
        self._finished: Ads1115Conversion | None = None

    def write(self, data: bytes, delay_ns: float = 0) -> None:
        """Take the pointer byte, and after it two bytes of the register that it points to."""
        now_ns = round(self._now_ns() + delay_ns)
        self._catch_up(now_ns)
        if not data:
            return
        self._pointer = data[0] & 3
        if len(data) < 3 or self._pointer == _CONVERSION:
            return
        value = int.from_bytes(data[1:3], "big")
        self._registers[self._pointer] = value
        starts = value & _OS or not value & _SINGLE_SHOT
        if self._pointer == _CONFIG and starts and self._running is None:
            self._begin(now_ns + POWER_UP_NS)

    def read(self, length: int, delay_ns: float = 0, byte_ns: float = 0) -> bytes:
        """Shift out the register that is pointed to, high byte first; after it come ones."""
        now_ns = round(self._now_ns() + delay_ns)
        self._catch_up(now_ns)
        value = self._registers[self._pointer]
        if self._pointer == _CONFIG:
            running = self._running is not None and now_ns >= self._running.begun_ns
            value = value & ~_OS if running else value | _OS
        elif self._pointer == _CONVERSION:
            self.fetches.append(Fetch(now_ns, self._finished))
        return value.to_bytes(2, "big")[:length] + b"\xff" * (length - 2)

    def _begin(self, begun_ns: int) -> None:
        """Begin a conversion; what it will find is settled, for the input does not know of it."""
        config = self._registers[_CONFIG]
        rate_hz = _RATES_HZ[config >> 5 & 7] * self.oscillator
        ended_ns = begun_ns + round(1e9 / rate_hz)
        mux = config >> 12 & 7
        volts = self._volts(mux, (begun_ns + ended_ns) // 2)
        code = math.floor(volts * 32768 / _FULL_SCALES[config >> 9 & 7] + 0.5)
        number = len(self.conversions)
        code = min(32767, max(-32768, code))
        self._running = Ads1115Conversion(number, begun_ns, ended_ns, mux, volts, code)
        self.conversions.append(self._running)

    def _volts(self, mux: int, now_ns: int) -> float:
        if mux >= 4:
            return self.inputs[mux - 4](now_ns)
        positive, negative = _PAIRS[mux]
        return self.inputs[positive](now_ns) - self.inputs[negative](now_ns)

    def _catch_up(self, now_ns: int) -> None:
        """End what has ended by now; in continuous mode the next conversion follows at once."""
        while self._running and not self.stuck and self._running.ended_ns <= now_ns:
            ended, self._running = self._running, None
            self._finished = ended
            self._registers[_CONVERSION] = ended.code & 0xFFFF
            if not self._registers[_CONFIG] & _SINGLE_SHOT:
                self._begin(ended.ended_ns)
