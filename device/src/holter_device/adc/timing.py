"""What transfers on an I2C bus cost, in SCL clocks and in time as it was measured.

A START (or repeated START) and a STOP take a clock each, a byte (the address too) nine, the ninth
being its acknowledge (NXP UM10204). So a read of n bytes is 11 + 9n clocks. Two transfers of
different lengths tell apart what a clock takes and what each transfer costs besides (the system
call, the adapter's set-up and its interrupt).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

from ..clock import Clock

BYTE_CLOCKS = 9
_TRIES = 8


def transfer_clocks(write: int | None, read: int) -> int:
    """SCL clocks of one transfer.

    Args:
        write: bytes written; None for no write message.
        read: bytes read after it; 0 for no read message.
    """
    messages = [length for length in (write, read or None) if length is not None]
    return sum(1 + BYTE_CLOCKS * (1 + length) for length in messages) + 1


class Cost(NamedTuple):
    """Time on the bus, or until something happens on it.

    Attributes:
        transfers: transfers; a half is up to the middle of one's overhead.
        clocks: SCL clocks.
        wait_ns: what a chip needs besides, in ns.
    """

    transfers: float
    clocks: float
    wait_ns: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class BusTiming:
    """The bus as it was measured: ns that a transfer costs besides its clocks, and of a clock."""

    overhead_ns: float
    clock_ns: float

    def ns(self, cost: Cost) -> float:
        """The time of a cost."""
        return cost.transfers * self.overhead_ns + cost.clocks * self.clock_ns + cost.wait_ns

    @property
    def clock_hz(self) -> float:
        """The bus clock; infinite where a clock took no time that could be measured."""
        return 1e9 / self.clock_ns if self.clock_ns else math.inf


class Probe(NamedTuple):
    """A transfer to be measured, and its clocks."""

    clocks: int
    transfer: Callable[[], object]


def measure(clock: Clock, short: Probe, long: Probe) -> BusTiming:
    """Measure the bus by two transfers, the fastest of a few each.

    Raises:
        OSError: one of them failed each time.
    """
    short_ns = fastest_ns(clock, short.transfer)
    long_ns = fastest_ns(clock, long.transfer)
    clock_ns = (long_ns - short_ns) / (long.clocks - short.clocks)
    # A bus that takes no time (a simulated one) leaves noise alone.
    clock_ns = min(max(0.0, clock_ns), short_ns / short.clocks)
    return BusTiming(short_ns - short.clocks * clock_ns, clock_ns)


def fastest_ns(clock: Clock, action: Callable[[], object]) -> int:
    """The fastest of a few: an idle machine decides, not luck. What fails does not count.

    Raises:
        OSError: it failed each time; the last failure.
    """
    times_ns: list[int] = []
    failure: OSError | None = None
    for _ in range(_TRIES):
        begun_ns = clock.monotonic_ns()
        try:
            action()
        except OSError as error:
            failure = error
        else:
            times_ns.append(clock.monotonic_ns() - begun_ns)
    if failure is not None and not times_ns:
        raise failure
    return min(times_ns)
