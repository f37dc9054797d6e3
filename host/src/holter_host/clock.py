"""How a device's clocks and this computer's differ: a few probes, of which the quickest counts.

A probe asks the device for its monotonic clock. Where it was asked at the host time t0 and answered
at t1, the device looked at its clock somewhere between: at (t0 + t1) / 2, give or take half the
round trip, whatever the two ways took. So the probe with the least round trip is the best, as in
NTP's clock filter and Lab Streaming Layer's time_correction.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Awaitable, Callable

from holter_host.errors import DeviceError
from holter_host.types import UtcEstimate

WallClock = Callable[[], int]


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceClock:
    """A device's clocks at one instant, as GetClock tells them; see device_service.proto."""

    monotonic_time_nanos: int
    utc: UtcEstimate
    boot_id: str
    speed: float


@dataclasses.dataclass(frozen=True, slots=True)
class ClockOffset:
    """How this computer's wall clock and a device's monotonic clock differ.

    Attributes:
        offset_nanos: this computer's UTC in nanoseconds since 1970 is the device's monotonic time
            plus this.
        uncertainty_nanos: half the width of the interval in which the offset lies: half the round
            trip.
        round_trip_nanos: time that the best probe took, reading this computer's clock included.
        monotonic_time_nanos: the device's monotonic time at the best probe.
        boot_id: the boot that the monotonic clock belongs to; the offset holds for no other.
        utc: the device's own estimate of UTC at the best probe.
        probe_count: how many probes there were.
    """

    offset_nanos: int
    uncertainty_nanos: int
    round_trip_nanos: int
    monotonic_time_nanos: int
    boot_id: str
    utc: UtcEstimate
    probe_count: int

    @property
    def utc_difference_nanos(self) -> int:
        """By how much the device's wall clock is ahead of this computer's.

        It is good to `uncertainty_nanos`. How far both are from true UTC is another matter, of
        which `utc.uncertainty_nanos` is the device's half.
        """
        return self.utc.offset_nanos - self.offset_nanos


async def measure(
    ask: Callable[[], Awaitable[DeviceClock]],
    probes: int,
    *,
    wall: WallClock = time.time_ns,
    monotonic: WallClock = time.perf_counter_ns,
) -> ClockOffset:
    """Ask a device for its clock `probes` times, and keep the quickest answer.

    Args:
        ask: asks once.
        probes: how often, 1 or more.
        wall: this computer's UTC in nanoseconds since 1970.
        monotonic: this computer's clock for the round trips, in nanoseconds.

    Raises:
        DeviceError: the device's clock does not run in real time.
    """
    found: list[ClockOffset] = []
    for _ in range(probes):
        before = monotonic()
        start = wall()
        clock = await ask()
        round_trip = monotonic() - before
        if clock.speed != 1:
            raise DeviceError(
                "The device's clock is simulated and does not run in real time; it has no offset "
                "to this computer's.",
                reason="CLOCK_SIMULATED",
                metadata={"speed": f"{clock.speed:g}"},
            )
        half = (round_trip + 1) // 2
        found.append(
            ClockOffset(
                offset_nanos=start + half - clock.monotonic_time_nanos,
                uncertainty_nanos=half,
                round_trip_nanos=round_trip,
                monotonic_time_nanos=clock.monotonic_time_nanos,
                boot_id=clock.boot_id,
                utc=clock.utc,
                probe_count=probes,
            )
        )
    # A device that was booted between two probes has another clock now.
    same = [offset for offset in found if offset.boot_id == found[-1].boot_id]
    return min(same, key=lambda offset: offset.round_trip_nanos)
