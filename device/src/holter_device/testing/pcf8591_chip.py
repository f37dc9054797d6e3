"""A PCF8591 at byte level, as its data sheet describes it, with a journal of all it converted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Volts at an input, by the time of the conversion in ns.
Signal = Callable[[int], float]

_POWER_ON = 0x80
_AOEF, _MODE, _AINC, _CHANNEL = 0x40, 0x30, 0x04, 0x03


class Conversion(NamedTuple):
    """One conversion: when it was sampled, of which input, what was there and what came out."""

    time_ns: int
    channel: int
    volts: float
    code: int


class Read(NamedTuple):
    """One read message: when it began, what was shifted out, what was converted meanwhile.

    data[0] is the conversion before this read; data[i + 1] is conversions[i].
    """

    time_ns: int
    data: bytes
    conversions: tuple[Conversion, ...]


class Pcf8591Chip:
    """Single-ended inputs only; the analogue output is stored and leads nowhere.

    Args:
        inputs: what is connected to AIN0 up to AIN3; inputs that are left out are at 0 V.
        address: its I2C address.
        reference_volts: Vref.
        now_ns: the time at which it converts.

    Attributes:
        address: its I2C address.
        inputs: what is connected; may be changed while it runs.
        reads: the journal, in order.
        output: what was last written to the analogue output.
    """

    def __init__(
        self,
        inputs: Sequence[Signal] = (),
        *,
        address: int = 0x48,
        reference_volts: float = 3.3,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.address = address
        self.inputs: list[Signal] = [*inputs, *[level(0.0)] * 4][:4]
        self.reads: list[Read] = []
        self._reference_volts = reference_volts
        self._now_ns = now_ns
        self.power_on()

    def power_on(self) -> None:
        """Forget everything but the journal, as after a loss of power."""
        self._control = 0
        self._channel = 0
        self._converted = _POWER_ON
        self.output = 0

    def write(self, data: bytes, delay_ns: float = 0) -> None:
        """Take a control byte, and after it values of the analogue output."""
        if not data:
            return
        if data[0] & (_MODE | 0x88):
            raise ValueError(f"control byte {data[0]:#04x} is not modelled")
        self._control = data[0]
        self._channel = data[0] & _CHANNEL
        self.output = data[-1] if len(data) > 1 else self.output

    def read(self, length: int, delay_ns: float = 0, byte_ns: float = 0) -> bytes:
        """Shift out `length` bytes; while each one goes out, the next conversion runs.

        Its sample is taken at the acknowledge before the byte.
        """
        begun_ns = self._now_ns() + delay_ns
        data = bytearray()
        conversions = []
        for place in range(length):
            data.append(self._converted)
            conversions.append(self._convert(round(begun_ns + place * byte_ns)))
            self._converted = conversions[-1].code
            if self._control & (_AINC | _AOEF) == _AINC | _AOEF:
                self._channel = (self._channel + 1) % len(self.inputs)
        self.reads.append(Read(round(begun_ns), bytes(data), tuple(conversions)))
        return bytes(data)

    def _convert(self, now_ns: int) -> Conversion:
        volts = self.inputs[self._channel](now_ns)
        code = min(255, max(0, math.floor(volts * 256 / self._reference_volts)))
        return Conversion(now_ns, self._channel, volts, code)


def level(volts: float) -> Signal:
    """A steady voltage."""
    return lambda _: volts


def played(volts: npt.NDArray[np.floating], rate_hz: float, start_ns: int) -> Signal:
    """A recording that plays from `start_ns` on, each value held until the next.

    Args:
        volts: shape (frames,), in volts; the first and the last one last for ever.
        rate_hz: values a second.
        start_ns: time of the first value.
    """
    values = [float(value) for value in volts]

    def signal(now_ns: int) -> float:
        # Ticks are at whole nanoseconds, up to half of one before their value's time.
        index = math.floor((now_ns - start_ns) * rate_hz / 1e9 + 1e-5)
        return values[min(len(values) - 1, max(0, index))]

    return signal
