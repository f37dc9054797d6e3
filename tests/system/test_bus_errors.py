"""Errors that are injected on the bus: what is told of them is what was injected, read by read.

Unmodified smbus2 reads a chip model through the shim, in lockstep, so that every number is exact.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import grpc.aio
import numpy as np
import pytest

import holter_host
from holter.v1 import sample_service_pb2 as sample_pb
from holter.v1 import sample_service_pb2_grpc as sample_grpc
from holter.v1 import stream_pb2
from holter_device.testing import LockstepClockServer, level
from holter_host import Gap, GapCause, RecentQuality, SampleBlock, SamplingQuality, _convert
from support.daemon import Daemon, holterd
from support.i2c import VirtualI2c, virtual_i2c

RATE_HZ = 360
# Ticks of which every sampler's flush (25 ms) and every second is a whole part.
TICKS = 3 * RATE_HZ

# The errno of the nth read from the first tick on; 0 where it is answered.
Fault = Callable[[int], int]


@dataclasses.dataclass
class Expected:
    """What a sampler must tell, tick by tick."""

    missing: list[int] = dataclasses.field(default_factory=list)
    errors: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    retries: list[int] = dataclasses.field(default_factory=list)

    def of(self, ticks: int, fault: Fault, retries: int) -> Expected:
        """Walk the ticks: a read that fails is tried again so often, and then missing."""
        reads = itertools.count()
        for tick in range(ticks):
            for left in range(retries, -1, -1):
                number = fault(next(reads))
                if not number:
                    break
                self.errors.append((tick, number))
                if left:
                    self.retries.append(tick)
                else:
                    self.missing.append(tick)
        return self

    def assert_told(self, quality: SamplingQuality | RecentQuality, first: int, ticks: int) -> None:
        """The quality is that of the ticks from `first` to before `ticks`."""
        missing = sum(tick >= first for tick in self.missing)
        errors = Counter(number for tick, number in self.errors if tick >= first)
        received = ticks - first - missing
        assert (quality.received_count, quality.missing_count) == (received, missing)
        assert quality.retry_count == sum(tick >= first for tick in self.retries)
        assert quality.bus_error_count == errors.total()
        if isinstance(quality, SamplingQuality):
            assert {error.errno: error.count for error in quality.bus_errors} == errors
            assert all(errno.errorcode[error.errno] == error.name for error in quality.bus_errors)
        else:
            assert quality.duration_nanos == round((ticks - first) * 1e9 / RATE_HZ)
            assert quality.achieved_rate_hz == pytest.approx(RATE_HZ * received / (ticks - first))


@dataclasses.dataclass
class Bench:
    """A holterd that reads the virtual bus in lockstep."""

    daemon: Daemon
    device: holter_host.Device
    clock: LockstepClockServer
    pi: VirtualI2c

    def inject(self, fault: Fault) -> None:
        """Have the reads from the first tick on fail."""
        before = self.pi.bus.transaction_count
        self.pi.bus.fault = lambda number: fault(number - before)

    async def tiles(self, ticks: int) -> list[SampleBlock | Gap]:
        """The session's tiles from its start, up to so many ticks exactly."""
        tiles: list[SampleBlock | Gap] = []
        async for event in self.device.samples("earliest"):
            if isinstance(event, SampleBlock | Gap):
                tiles.append(event)
                if event.first_sequence + event.frame_count >= ticks:
                    break
        assert tiles[-1].first_sequence + tiles[-1].frame_count == ticks
        return tiles

    async def qualities(self, ticks: int) -> list[SamplingQuality]:
        """What GetDevice tells, and what the heartbeat of a stream that has so many ticks tells."""
        live = sample_pb.StreamSamplesRequest(
            start=stream_pb2.StreamStart(live=stream_pb2.StartLive())
        )
        async with grpc.aio.insecure_channel(self.daemon.address) as channel:
            async for response in sample_grpc.SampleServiceStub(channel).StreamSamples(live):
                if response.heartbeat.next_sequence == ticks:
                    break
        told = _convert.quality(response.heartbeat.quality)
        return [(await self.device.status()).quality, told]


@contextlib.asynccontextmanager
async def _bench(
    folder: Path, *flags: str, time_of: Callable[[int], int] = lambda deadline: deadline
) -> AsyncIterator[Bench]:
    with (
        LockstepClockServer(folder / "clock", time_of) as clock,
        virtual_i2c(
            [level(0.4), level(0.8), lambda now_ns: (now_ns // 10**7 % 256 + 0.5) * 3.3 / 256],
            now_ns=clock.now_ns,
        ) as pi,
    ):
        flags = ("--inputs", "A2", "--clock", clock.text, *flags)
        async with (
            holterd(folder, *flags, env=pi.environment) as daemon,
            holter_host.connect(daemon.address) as device,
        ):
            yield Bench(daemon, device, clock, pi)


def _missing(tiles: Iterable[SampleBlock | Gap], cause: GapCause) -> list[int]:
    """The ticks of all gaps with this cause."""
    gaps = [tile for tile in tiles if isinstance(tile, Gap) and tile.cause is cause]
    return [tick for gap in gaps for tick in _ticks(gap)]


def _ticks(tile: SampleBlock | Gap) -> range:
    return range(tile.first_sequence, tile.first_sequence + tile.frame_count)


def _assert_right(tiles: Iterable[SampleBlock | Gap], session: holter_host.Session) -> None:
    """Every count is what was connected at its tick: nothing stale, and of no other input."""
    for tile in tiles:
        if isinstance(tile, SampleBlock):
            times = [
                session.start_monotonic_nanos + round(tick * 1e9 / RATE_HZ) for tick in _ticks(tile)
            ]
            assert np.array_equal(tile.counts[:, 0], [time // 10**7 % 256 for time in times])


def _every_hundredth(number: int) -> int:
    return 0 if (number + 1) % 100 else errno.EREMOTEIO


def _now_and_then(number: int) -> int:
    """110 in one read of fifty, and others beside it."""
    kinds = (errno.ETIMEDOUT, errno.ETIMEDOUT, errno.EREMOTEIO, errno.EIO)
    draw = random.Random(number)
    return draw.choice(kinds) if draw.random() < 0.04 else 0


@pytest.mark.parametrize(
    ("fault", "retries", "holes"),
    [
        (_every_hundredth, 0, 10),
        (_every_hundredth, 1, 0),
        (_now_and_then, 0, 47),
        (_now_and_then, 1, 3),
        (_now_and_then, 3, 0),
    ],
)
async def test_what_is_told_is_what_was_injected(
    tmp_path: Path, fault: Fault, retries: int, holes: int
) -> None:
    """Errors by errno, retries, gaps and their places: in GetDevice, heartbeat and stream."""
    expected = Expected().of(TICKS, fault, retries)
    async with _bench(tmp_path, "--retries", str(retries)) as bench:
        bench.inject(fault)
        bench.clock.release(TICKS)
        tiles = await bench.tiles(TICKS)
        qualities = await bench.qualities(TICKS)
        session = (await bench.device.status()).session
        log = bench.daemon.log()
    assert _missing(tiles, GapCause.BUS_ERROR) == expected.missing
    assert len(expected.missing) == holes
    _assert_right(tiles, session)
    for quality in qualities:
        expected.assert_told(quality, 0, TICKS)
        expected.assert_told(quality.last_minute, 0, TICKS)
    assert "answer" not in log


async def test_the_last_minute_forgets_what_is_older(tmp_path: Path) -> None:
    """After 70 s of errors the session has them all, and the last minute its own only."""
    ticks = 70 * RATE_HZ
    expected = Expected().of(ticks, _every_hundredth, 0)
    async with _bench(tmp_path, "--retries", "0") as bench:
        bench.inject(_every_hundredth)
        bench.clock.release(ticks)
        await bench.tiles(ticks)
        qualities = await bench.qualities(ticks)
    for quality in qualities:
        expected.assert_told(quality, 0, ticks)
        expected.assert_told(quality.last_minute, 10 * RATE_HZ, ticks)


async def test_a_timeout_costs_the_ticks_that_pass_meanwhile(tmp_path: Path) -> None:
    """A read that fails after 20 ms is BUS_ERROR at its tick and LATE at the six that passed."""
    passed_ns = 0

    def fault(number: int) -> int:
        nonlocal passed_ns
        if number not in (50, 150):
            return 0
        passed_ns = 20_000_000 - round(1e9 / RATE_HZ)
        return errno.ETIMEDOUT

    def time_of(deadline_ns: int) -> int:
        nonlocal passed_ns
        passed, passed_ns = passed_ns, 0
        return deadline_ns + passed

    failing, late = [50, 156], [*range(51, 57), *range(157, 163)]
    async with _bench(tmp_path, "--retries", "0", time_of=time_of) as bench:
        bench.inject(fault)
        bench.clock.release(250)
        tiles: list[SampleBlock | Gap] = []
        async for event in bench.device.samples("earliest"):
            if isinstance(event, SampleBlock | Gap):
                tiles.append(event)
                if event.first_sequence + event.frame_count >= 200:
                    break
        quality = (await bench.device.status()).quality
    assert _missing(tiles, GapCause.BUS_ERROR) == failing
    assert _missing(tiles, GapCause.LATE) == late
    assert [(error.name, error.count) for error in quality.bus_errors] == [("ETIMEDOUT", 2)]
    assert quality.missing_count == len(failing) + len(late)


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_chip_that_vanishes_for_three_seconds(tmp_path: Path, retries: int) -> None:
    """Each tick without it is counted and missing; the first frame after its return is right.

    It comes back as one that has lost its power: it has forgotten its input, and its first byte
    is stale. The log has one sentence when it goes, with the errno, and one when it is back.
    """
    ticks, gone = 6 * RATE_HZ, range(RATE_HZ + 7, 4 * RATE_HZ + 7)
    async with _bench(tmp_path, "--retries", str(retries)) as bench:
        session = (await bench.device.status()).session
        chip = bench.pi.chip

        def pull_out_and_put_back(number: int) -> int:
            since_ns = bench.clock.now_ns() - session.start_monotonic_nanos
            if round(since_ns * RATE_HZ / 1e9) in gone:
                bench.pi.bus.chips.pop(chip.address, None)
            elif chip.address not in bench.pi.bus.chips:
                chip.power_on()
                bench.pi.bus.chips[chip.address] = chip
            return 0

        bench.inject(pull_out_and_put_back)
        bench.clock.release(ticks)
        tiles = await bench.tiles(ticks)
        qualities = await bench.qualities(ticks)
        log = bench.daemon.log()
    assert _missing(tiles, GapCause.BUS_ERROR) == list(gone)
    _assert_right(tiles, session)
    expected = Expected(
        missing=list(gone),
        errors=[(tick, errno.EREMOTEIO) for tick in gone] * (1 + retries),
        retries=list(gone) * retries,
    )
    for quality in qualities:
        expected.assert_told(quality, 0, ticks)
        expected.assert_told(quality.last_minute, 0, ticks)
    lines = [line for line in log.splitlines() if "answer" in line]
    assert len(lines) == 2
    assert "no chip answers at address 0x48 on /dev/i2c-1" in lines[0]
    assert f"{os.strerror(errno.EREMOTEIO)}, errno 121" in lines[0]
    assert f"{len(gone)} frames (3.0 s) are missing" in lines[1]
