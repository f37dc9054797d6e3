"""The whole way of a count: chip model, shim, unmodified smbus2, driver, sampler process, tiles."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from holter.frontend import FrontEnd
from holter_device.config import Config
from holter_device.errors import BusMissingError, BusPermissionError, ConfigError, NoAnswerError
from holter_device.grid import GapCause, Grid
from holter_device.sampler import ProcessSampler, child_clock
from holter_device.samples import Block
from holter_device.testing import LockstepClockServer, level, played
from support.i2c import VirtualI2c, record_volts, virtual_i2c
from support.sampling import Tile, assert_contiguous, counts_of, environment, gaps_of, take

LEVELS = (0.3, 1.1, 2.2, 3.1)
CODES = bytes(int(volts * 256 / 3.3) for volts in LEVELS)
START_DELAY_NS = 50_000_000


@pytest.fixture
def lockstep(tmp_path: Path) -> Iterator[LockstepClockServer]:
    """A clock that this test holds."""
    with LockstepClockServer(tmp_path / "clock") as server:
        yield server


@contextlib.asynccontextmanager
async def _sampler(pi: VirtualI2c, config: Config) -> AsyncIterator[ProcessSampler]:
    """A sampler on the virtual bus, open."""
    with environment(pi.environment):
        sampler = ProcessSampler(config, child_clock(config, 0))
        try:
            await sampler.open()
            yield sampler
        finally:
            await sampler.close()


async def test_four_inputs_at_four_levels_never_mix(lockstep: LockstepClockServer) -> None:
    """In 10 000 ticks of four inputs every count is of its own input, and no frame is missing."""
    config = Config(inputs=("A0", "A1", "A2", "A3"), clock=lockstep.text)
    levels = [level(volts) for volts in LEVELS]
    with virtual_i2c(levels, now_ns=lockstep.now_ns) as pi:
        async with _sampler(pi, config) as sampler:
            lockstep.release()
            tiles = await take(sampler, Grid(10**9, config.rate), 10_000)
    assert gaps_of(tiles) == []
    assert_contiguous(tiles)
    assert counts_of(tiles) == CODES * tiles[-1].next_sequence
    assert tiles[-1].next_sequence >= 10_000


async def test_a_record_plays_for_a_minute_in_lockstep_without_a_hole(
    mitdb: Path, lockstep: LockstepClockServer
) -> None:
    """60 s of record 208: each count is the chip's conversion at that tick, of that value."""
    volts = record_volts(mitdb / "208", 61)
    grid = Grid(10**9, 360.0)
    config = Config(clock=lockstep.text)
    with virtual_i2c([played(volts, 360.0, grid.start_ns)], now_ns=lockstep.now_ns) as pi:
        async with _sampler(pi, config) as sampler:
            lockstep.release(60 * 360)
            tiles = await take(sampler, grid, 60 * 360)
        reads = [read for read in pi.chip.reads if read.time_ns >= grid.start_ns]
    assert gaps_of(tiles) == []
    assert_contiguous(tiles)
    counts = counts_of(tiles)
    assert len(counts) == 60 * 360
    assert [read.time_ns for read in reads] == [grid.time_ns(k) for k in range(60 * 360)]
    assert counts == bytes(read.conversions[0].code for read in reads)
    front_end = FrontEnd()
    millivolts = (volts - front_end.baseline_volts) / front_end.gain * 1000
    assert counts == front_end.counts(millivolts[: 60 * 360]).tobytes()


@pytest.mark.parametrize("inputs", [("A0",), ("A0", "A1", "A2")])
async def test_in_real_time_each_count_equals_the_journal_of_its_read(
    mitdb: Path, inputs: tuple[str, ...]
) -> None:
    """Frame after frame is what the chip converted in that read; the others are in named gaps."""
    volts = record_volts(mitdb / "208", 10)
    config = Config(inputs=inputs)
    start_ns = time.monotonic_ns() + START_DELAY_NS
    signals = [played(volts[shift:], 360.0, start_ns) for shift in (0, 360, 720)]
    with virtual_i2c(signals) as pi:
        async with _sampler(pi, config) as sampler:
            grid = Grid(time.monotonic_ns() + START_DELAY_NS, config.rate)
            tiles = await take(sampler, grid, 3 * 360)
            quality = sampler.quality
        frames = pi.frames_since(grid.start_ns)
    assert_contiguous(tiles)
    counts = counts_of(tiles)
    assert counts == b"".join(frames)[: len(counts)]
    received = len(counts) // len(inputs)
    missing = sum(gap.frame_count for gap in gaps_of(tiles))
    assert received + missing == tiles[-1].next_sequence
    assert (quality.received_count, quality.missing_count) == (received, missing)
    assert {gap.cause for gap in gaps_of(tiles)} <= {GapCause.LATE}
    assert received > 0


async def test_no_read_begins_before_its_tick(mitdb: Path) -> None:
    """In real time a frame of tick k was converted at or after t0 + k * period, in its order."""
    volts = record_volts(mitdb / "208", 2)
    config = Config()
    with virtual_i2c([played(volts, 360.0, 0)]) as pi:
        async with _sampler(pi, config) as sampler:
            grid = Grid(time.monotonic_ns() + START_DELAY_NS, config.rate)
            tiles = await take(sampler, grid, 360)
        times = [read.time_ns for read in pi.chip.reads if read.time_ns >= grid.start_ns]
    ticks = [
        sequence
        for tile in tiles
        if isinstance(tile, Block)
        for sequence in range(tile.first_sequence, tile.next_sequence)
    ]
    assert all(grid.time_ns(tick) <= time_ns for tick, time_ns in zip(ticks, times, strict=False))


async def test_injected_errors_are_gaps_of_one_frame(lockstep: LockstepClockServer) -> None:
    """Every tenth read fails with errno 121 and is not retried: each is one BUS_ERROR frame."""
    config = Config(clock=lockstep.text, retries=0)
    with virtual_i2c([level(1.0)], now_ns=lockstep.now_ns) as pi:
        async with _sampler(pi, config) as sampler:
            transactions = itertools.count(1)
            pi.bus.fault = lambda _: 0 if next(transactions) % 10 else errno.EREMOTEIO
            lockstep.release(1080)
            tiles = await take(sampler, Grid(10**9, config.rate), 1080)
            quality = sampler.quality
    assert_contiguous(tiles)
    assert [(gap.first_sequence, gap.frame_count, gap.cause) for gap in gaps_of(tiles)] == [
        (k, 1, GapCause.BUS_ERROR) for k in range(9, 1080, 10)
    ]
    assert (quality.bus_errors, quality.received_count) == ({errno.EREMOTEIO: 108}, 972)


async def test_late_ticks_are_skipped_and_never_caught_up(tmp_path: Path) -> None:
    """A tick released three periods late costs the ticks before it, and one read is made for it."""
    grid = Grid(10**9, 360.0)
    late = {grid.time_ns(100): grid.time_ns(103) + 1000}
    config = Config(clock=f"lockstep:{tmp_path / 'clock'}")
    with (
        LockstepClockServer(tmp_path / "clock", lambda t: late.get(t, t)) as lockstep,
        virtual_i2c([level(1.0)], now_ns=lockstep.now_ns) as pi,
    ):
        async with _sampler(pi, config) as sampler:
            lockstep.release()
            tiles = await take(sampler, grid, 360)
        times = [read.time_ns for read in pi.chip.reads if read.time_ns >= grid.start_ns]
    assert [(gap.first_sequence, gap.frame_count, gap.cause) for gap in gaps_of(tiles)] == [
        (100, 3, GapCause.LATE)
    ]
    assert_contiguous(tiles)
    assert len(set(times)) == len(times)
    assert times[99:102] == [grid.time_ns(99), grid.time_ns(103) + 1000, grid.time_ns(104)]


async def test_a_killed_sampler_is_a_named_gap_in_a_tiled_grid(mitdb: Path) -> None:
    """kill -9 of the child: the frames on both sides are the chip's, the hole is one named Gap."""
    volts = record_volts(mitdb / "208", 10)
    config = Config()
    with virtual_i2c() as pi:
        async with _sampler(pi, config) as sampler:
            start_ns = time.monotonic_ns() + START_DELAY_NS
            pi.chip.inputs[0] = played(volts, 360.0, start_ns)
            grid = Grid(start_ns, config.rate)
            victim = sampler.pid
            assert victim is not None

            def kill_at_100(tile: Tile) -> None:
                if sampler.pid == victim and tile.next_sequence >= 100:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(victim, 9)

            tiles = await take(sampler, grid, 1080, kill_at_100)
            assert sampler.quality.sampler_restart_count == 1
            assert "SIGKILL" in sampler.last_error
        codes = {frame[0] for frame in pi.frames_since(start_ns)}
    assert_contiguous(tiles)
    restarts = [gap for gap in gaps_of(tiles) if gap.cause == GapCause.SAMPLER_RESTARTED]
    assert len(restarts) == 1
    before = [tile for tile in tiles if tile.next_sequence <= restarts[0].first_sequence]
    assert before
    assert tiles[-1].next_sequence >= 1080
    assert set(counts_of(tiles)) <= codes


async def test_a_session_keeps_the_oversampling_that_auto_chose() -> None:
    """A child that starts again on a bus that became slower averages as many as the one before."""
    config = Config(rate=300.0, oversampling="auto")
    with virtual_i2c() as pi:
        pi.bus.clock_hz = 100e3
        async with _sampler(pi, config) as sampler:
            before = sampler.source
            pi.bus.clock_hz = 62.5e3
            victim = sampler.pid
            assert victim is not None
            os.kill(victim, 9)
            tiles = await take(sampler, Grid(time.monotonic_ns() + START_DELAY_NS, 300.0), 300)
            again = sampler.source
            assert sampler.quality.sampler_restart_count >= 1
        size = 1 + before.oversampling
        frames = [read for read in pi.chip.reads if len(read.conversions) == size]
    assert_contiguous(tiles)
    assert again.frame_read_ns > before.frame_read_ns > 0
    assert again.oversampling == before.oversampling > 1
    assert again.channels == before.channels  # as they were at the session's start
    assert len(frames) >= len(counts_of(tiles)) > 0


async def test_a_bus_that_is_not_there_is_told_by_the_sampler() -> None:
    """The child's error is raised here, with its class and its sentence."""
    with virtual_i2c(number=1) as pi, pytest.raises(BusMissingError, match="no I2C bus /dev/i2c-7"):
        async with _sampler(pi, Config(bus=7)):
            pass


async def test_a_bus_that_is_not_permitted_is_told_by_the_sampler() -> None:
    """EACCES of the open is its own error, and names the group."""
    with virtual_i2c() as pi:
        pi.bus.open_errno = errno.EACCES
        with pytest.raises(BusPermissionError, match="group i2c"):
            async with _sampler(pi, Config()):
                pass


async def test_an_address_with_no_chip_is_told_by_the_sampler() -> None:
    """Nobody at the address is its own error, and gives the range of addresses."""
    with virtual_i2c() as pi, pytest.raises(NoAnswerError, match="0x48 to 0x4f"):
        async with _sampler(pi, Config(address=0x4B)):
            pass


async def test_a_rate_that_the_bus_has_not_is_refused_by_the_sampler() -> None:
    """On a bus of 100 kHz 4000 Hz with 8 conversions a frame is refused, with the arithmetic."""
    with virtual_i2c() as pi:
        pi.bus.clock_hz = 100_000
        with pytest.raises(ConfigError, match="does not fit"):
            async with _sampler(pi, Config(rate=4000.0, oversampling="8")):
                pass


SMBUS_SCRIPT = """
import smbus2
with smbus2.SMBus(1) as bus:
    bus.write_byte(0x48, 0x41)
    bus.read_byte(0x48)
    print(bus.funcs == 0x0eff0009, bus.read_byte(0x48), bus.read_byte_data(0x48, 0x42),
          bus.read_byte(0x48), bus.read_word_data(0x48, 0x43) >> 8)
    bus.write_byte_data(0x48, 0x40, 77)
    print(bus.read_i2c_block_data(0x48, 0x44, 5)[1:])
    try:
        bus.read_byte(0x4f)
    except OSError as error:
        print(error.errno)
print(open("/dev/null").read() == "")
"""


async def test_smbus_calls_are_lowered_to_plain_messages() -> None:
    """What the tutorials do with smbus2 works on the shim as on a kernel, stale bytes and all."""
    with virtual_i2c([level(volts) for volts in LEVELS]) as pi:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", SMBUS_SCRIPT],
            env=os.environ | pi.environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stderr == ""
    a0, a1, a2, a3 = CODES
    assert done.stdout.splitlines() == [
        f"True {a1} {a1} {a2} {a3}",
        f"{[a0, a1, a2, a3]}",
        f"{errno.EREMOTEIO}",
        "True",
    ]
    assert pi.chip.output == 77
