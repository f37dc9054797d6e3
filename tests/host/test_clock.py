"""Laws of the offset between a device's clock and this computer's."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import holter_host
from holter_host import BadInputError, Capture, ClockOffset, UtcEstimate, connect
from holter_host.clock import DeviceClock, measure
from holter_host.testing import FakeDevice
from holter_host.testing._signal import UTC_OFFSET_NANOS

NANOS = st.integers(0, 2 * 10**9)
UTC = UtcEstimate(5, 7, True)


class World:
    """Two clocks, and a link with its own time for each way.

    Attributes:
        now: nanoseconds since this world began.
    """

    def __init__(self, wall: int, device: int, ways: list[tuple[int, int, int]]) -> None:
        self.now = 0
        self.asked = 0
        self._wall, self._device, self._ways = wall, device, itertools.cycle(ways)

    def wall(self) -> int:
        """This computer's UTC; to read it takes time."""
        self.now += 40
        return self._wall + self.now - 15

    def monotonic(self) -> int:
        """This computer's clock for round trips."""
        self.now += 30
        return self.now - 10

    async def ask(self) -> DeviceClock:
        """The way there, a look at the clock, the way back."""
        there, work, back = next(self._ways)
        self.asked += 1
        self.now += there
        clock = DeviceClock(self._device + self.now, UTC, "boot", 1.0)
        self.now += work + back
        return clock


class TestMeasure:
    @given(
        wall=st.integers(0, 2**62),
        device=NANOS,
        ways=st.lists(st.tuples(NANOS, NANOS, NANOS), min_size=1, max_size=9),
    )
    async def test_the_true_offset_is_within_the_uncertainty(
        self, wall: int, device: int, ways: list[tuple[int, int, int]]
    ) -> None:
        """However unlike the two ways are, the offset is never further off than it says."""
        world = World(wall, device, ways)
        found = await measure(world.ask, len(ways), wall=world.wall, monotonic=world.monotonic)
        assert abs(found.offset_nanos - (wall - device)) <= found.uncertainty_nanos
        assert (world.asked, found.probe_count) == (len(ways), len(ways))
        # The least of the round trips, and what reading the clocks takes.
        assert 0 <= found.round_trip_nanos - min(map(sum, ways)) <= 100
        assert found.uncertainty_nanos == (found.round_trip_nanos + 1) // 2

    @given(NANOS, st.integers(0, 2**62))
    async def test_like_ways_are_exact(self, way: int, wall: int) -> None:
        """Where both ways take as long, all that is left is the time to read the clocks."""
        world = World(wall, 0, [(way, 0, way)])
        found = await measure(world.ask, 3, wall=world.wall, monotonic=world.monotonic)
        assert abs(found.offset_nanos - wall) <= 50

    async def test_a_device_that_booted_between_probes(self) -> None:
        """Probes of an earlier boot do not count, however quick they were."""
        world = World(10**18, 0, [(1, 1, 1), (1000, 1, 1)])

        async def ask() -> DeviceClock:
            clock = await world.ask()
            return dataclasses.replace(clock, boot_id=f"boot {world.asked}")

        found = await measure(ask, 2, wall=world.wall, monotonic=world.monotonic)
        assert found.boot_id == "boot 2"
        assert found.round_trip_nanos > 1000


class TestDevice:
    async def test_a_known_clock_is_found(self) -> None:
        """Over real gRPC the offset of a clock that is known is within the uncertainty."""
        with FakeDevice() as fake:
            async with connect(fake.address) as device:
                found = await device.clock_offset()
        assert abs(found.offset_nanos - UTC_OFFSET_NANOS) <= found.uncertainty_nanos
        assert abs(found.utc_difference_nanos) <= found.uncertainty_nanos
        assert (found.boot_id, found.probe_count) == ("boot", 8)

    @pytest.mark.parametrize("speed", [0.0, 20.0])
    async def test_a_simulated_clock_has_no_offset(self, speed: float) -> None:
        """Where the device's clock does not run in real time, that is said, and nothing guessed."""
        with FakeDevice() as fake:
            fake.source.speed = speed
            async with connect(fake.address) as device:
                with pytest.raises(holter_host.DeviceError, match="simulated") as caught:
                    await device.clock_offset()
                assert (await device.capture(0.1)).clock_offsets == ()
        assert caught.value.reason == "CLOCK_SIMULATED"

    async def test_no_probe_is_refused(self) -> None:
        """At least one probe is needed."""
        with FakeDevice() as fake:
            async with connect(fake.address) as device:
                with pytest.raises(BadInputError, match="probes is 0"):
                    await device.clock_offset(0)


def _capture(first: int, frames: int, clocks: list[tuple[int, int]], delays: list[int]) -> Capture:
    channels = tuple(
        holter_host.Channel(f"A{n}", 0.01, 0.0, 1100.0, 1.65, delay)
        for n, delay in enumerate(delays)
    )
    session = holter_host.Session(
        1, "log", 360.0, 10**12, channels, holter_host.SampleFormat.U8, "boot", UTC
    )
    return Capture(
        session,
        first,
        np.zeros((frames, len(channels)), np.uint8),
        np.ones(frames, np.bool_),
        clock_offsets=tuple(
            ClockOffset(offset, 5, 10, monotonic, "boot", UTC, 8) for monotonic, offset in clocks
        ),
    )


class TestAlignment:
    @given(first=st.integers(0, 2**33), offset=st.integers(0, 2 * 10**18))
    def test_host_time_is_grid_plus_capture_offset_plus_clock_offset(
        self, first: int, offset: int
    ) -> None:
        """Each count is at its frame's grid time, its channel's delay later, by this clock."""
        taken = _capture(first, 50, [(10**12, offset)], [0, 123_456])
        for frame, (one, two) in enumerate(taken.host_time_nanos().tolist()):
            expected = taken.session.monotonic_nanos(first + frame) + offset
            assert abs(one - expected) <= 1
            assert two - one == 123_456

    def test_a_drift_between_two_measurements_is_a_straight_line(self) -> None:
        """Between two measurements the offset goes from one to the other; outside it stays."""
        second = 10**9
        clocks = [(10**12 + second, 0), (10**12 + 3 * second, 2_000_000)]
        taken = _capture(0, 5 * 360, clocks, [0])
        grid = [taken.session.monotonic_nanos(n) for n in range(0, 5 * 360, 360)]
        times = taken.host_time_nanos()[::360, 0] - np.array(grid)
        assert times.tolist() == [0, 0, 1_000_000, 2_000_000, 2_000_000]

    def test_two_devices_align(self) -> None:
        """What happened at one instant has one time, whichever device saw it."""
        one = _capture(0, 720, [(10**12, 5 * 10**9)], [0])
        # This device's clock is 1 s behind the other's; its frame 360 is the other's frame 0.
        two = _capture(0, 720, [(10**12, 4 * 10**9)], [0])
        assert (two.host_time_nanos()[360:] == one.host_time_nanos()[:360]).all()

    def test_without_a_measurement_nothing_is_invented(self) -> None:
        """A capture without a clock offset says so."""
        with pytest.raises(BadInputError, match="does not know"):
            _capture(0, 1, [], [0]).host_time_nanos()
