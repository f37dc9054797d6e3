"""How many conversions a frame has time for, and the refusal, with its arithmetic, of too many."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from ..config import MAX_OVERSAMPLING
from ..errors import ConfigError
from .timing import BusTiming, Cost

AUTO = "auto"
# The part of a period that `auto` may fill: the rest is for a late tick and for a retry.
AUTO_FRACTION = 0.5

# What a frame of these channels costs, with so many conversions for each count.
FrameCost = Callable[[Sequence[int], int], Cost]


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """What the settings ask of a converter, and what its bus can do.

    Attributes:
        rate_hz: frames a second.
        channels: the inputs' numbers, in the order of a frame.
        bus: number of the bus.
        max_bus_hz: the bus clock that the chip can take.
        timing: the bus as it was measured.
        cost: what a frame costs.
    """

    rate_hz: float
    channels: Sequence[int]
    bus: int
    max_bus_hz: float
    timing: BusTiming
    cost: FrameCost

    def oversampling(self, asked: str) -> int:
        """The conversions for each count: what was asked, or for `auto` as many as fit.

        Raises:
            ConfigError: frames with so many do not fit into their period.
        """
        count = (self._most(AUTO_FRACTION) or 1) if asked == AUTO else int(asked)
        if self._frame_ns(self.channels, count) > self._period_ns:
            raise self._refusal(count)
        return count

    @property
    def _period_ns(self) -> float:
        return 1e9 / self.rate_hz

    def _frame_ns(self, channels: Sequence[int], count: int) -> float:
        return self.timing.ns(self.cost(channels, count))

    def _most(self, fraction: float = 1.0) -> int:
        """The largest oversampling that fits into this part of a period; 0 where none does."""
        room_ns = fraction * self._period_ns
        counts = range(MAX_OVERSAMPLING, 0, -1)
        return next((n for n in counts if self._frame_ns(self.channels, n) <= room_ns), 0)

    def _refusal(self, count: int) -> ConfigError:
        cost = self.cost(self.channels, count)
        frame_ns = self.timing.ns(cost)
        on_bus_ns = cost.clocks * self.timing.clock_ns
        calls_ns = cost.transfers * self.timing.overhead_ns
        parts = [
            f"{cost.clocks:.0f} clocks of the {_kilohertz(self.timing)} measured on"
            f" /dev/i2c-{self.bus} ({_ms(on_bus_ns)})",
            f"{_count(int(cost.transfers), 'call')} ({_ms(calls_ns)})",
        ]
        if cost.wait_ns:
            parts.append(f"{_ms(cost.wait_ns)} of converting")
        asked = (
            f"{self.rate_hz:g} Hz x {_count(len(self.channels), 'input')}"
            f" x {_count(count, 'conversion')}"
        )
        return ConfigError(
            f"{asked} does not fit: one frame is {', '.join(parts)}, together {_ms(frame_ns)}, and"
            f" there is {_ms(self._period_ns)}; what fits is {' or '.join(self._remedies(count))}",
            key="oversampling" if self._most() else "rate",
            frame_ns=round(frame_ns),
            period_ns=round(self._period_ns),
        )

    def _remedies(self, count: int) -> list[str]:
        """What would fit, each with all else as it is."""
        remedies = []
        if most := self._most():
            remedies.append(f"oversampling {most}")
        rate_hz = 1e9 / self._frame_ns(self.channels, count)
        remedies.append(f"rate {_rounded_down(rate_hz):g}")
        fewer = range(len(self.channels) - 1, 0, -1)
        fitting = (n for n in fewer if self._frame_ns(self.channels[:n], count) <= self._period_ns)
        if inputs := next(fitting, 0):
            remedies.append(_count(inputs, "input"))
        faster = dataclasses.replace(self.timing, clock_ns=1e9 / self.max_bus_hz)
        if faster.ns(self.cost(self.channels, count)) <= self._period_ns:
            remedies.append(f"a bus of {self.max_bus_hz / 1e3:g} kHz (i2c_arm_baudrate)")
        return remedies


def _rounded_down(rate_hz: float) -> float:
    """A rate that people can type, not above this one."""
    return math.floor(rate_hz) if rate_hz >= 10 else math.floor(rate_hz * 10) / 10


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.2f} ms"


def _kilohertz(timing: BusTiming) -> str:
    return f"{timing.clock_hz / 1e3:.3g} kHz"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
