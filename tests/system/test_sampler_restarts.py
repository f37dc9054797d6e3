"""A sampler that crashes, stops or hangs in a transfer: the hole is a Gap, exact to the tick.

The chip's time is the lockstep clock's, so that every count tells the tick at which it was read.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holter_device.config import Config
from holter_device.grid import GapCause, Grid
from holter_device.sampler import ProcessSampler, child_clock
from holter_device.testing import LockstepClockServer, level
from support.i2c import VirtualI2c, virtual_i2c
from support.sampling import assert_contiguous, counts_of, environment, gaps_of, take

GRID = Grid(10**9, 360.0)
# The tick in whose read the trouble is, and the last flush (25 ms) before it.
TROUBLE, FLUSHED = 204, 198


def _tick_of(now_ns: int) -> int:
    return round((now_ns - GRID.start_ns) * GRID.rate_hz / 1e9)


def _volts(now_ns: int) -> float:
    """The tick, as a count."""
    return (_tick_of(now_ns) % 256 + 0.5) * 3.3 / 256


def _locked_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmLck")))


@contextlib.contextmanager
def _pi(folder: Path) -> Iterator[tuple[VirtualI2c, LockstepClockServer]]:
    with (
        LockstepClockServer(folder / "clock") as clock,
        virtual_i2c([_volts], now_ns=clock.now_ns) as pi,
        environment(pi.environment),
    ):
        yield pi, clock


@pytest.mark.parametrize("trouble", ["crashes", "is stopped", "blocks"])
async def test_the_hole_of_a_restart_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """From the last flush to the tick that the next process joins; no frame twice, none wrong."""
    monkeypatch.setattr(ProcessSampler, "_silence_seconds", lambda *_: 1.0)
    released = threading.Event()
    with _pi(tmp_path) as (pi, clock):
        sampler = ProcessSampler(Config(clock=clock.text), clock.text)
        await sampler.open()
        victim = sampler.pid
        assert victim is not None
        acts: dict[str, Callable[[], object]] = {
            "crashes": lambda: os.kill(victim, signal.SIGKILL),
            "is stopped": lambda: os.kill(victim, signal.SIGSTOP),
            "blocks": released.wait,
        }
        number = pi.bus.transaction_count + TROUBLE

        def fault(count: int) -> int:
            if count == number:
                acts[trouble]()
            return 0

        pi.bus.fault = fault
        clock.release()
        try:
            tiles = await take(sampler, GRID, 720)
        finally:
            released.set()
            await sampler.close()
    assert_contiguous(tiles)
    assert [(gap.first_sequence, gap.next_sequence, gap.cause) for gap in gaps_of(tiles)] == [
        (FLUSHED, TROUBLE, GapCause.SAMPLER_RESTARTED)
    ]
    ticks = [*range(FLUSHED), *range(TROUBLE, tiles[-1].next_sequence)]
    assert counts_of(tiles) == bytes(tick % 256 for tick in ticks)
    words = "SIGKILL" if trouble == "crashes" else "wrote nothing for 1 s"
    assert words in sampler.last_error
    quality = sampler.quality
    assert quality.sampler_restart_count == 1
    assert quality.missing_count == TROUBLE - FLUSHED
    assert quality.last_minute.missing_count == TROUBLE - FLUSHED


async def test_a_sampler_that_fails_to_start_again_keeps_trying(tmp_path: Path) -> None:
    """While the chip does not answer at a restart, the hole grows; then the grid goes on."""
    with _pi(tmp_path) as (pi, clock):
        sampler = ProcessSampler(Config(clock=clock.text), clock.text)
        await sampler.open()
        victim = sampler.pid
        assert victim is not None
        first = pi.bus.transaction_count + TROUBLE
        refused = 0

        def fault(count: int) -> int:
            nonlocal refused
            if count == first:
                os.kill(victim, signal.SIGKILL)
            if count <= first or refused == 8:  # the tries of one measurement
                return 0
            refused += 1
            return 121

        pi.bus.fault = fault
        clock.release()
        tiles = await take(sampler, GRID, 720)
        await sampler.close()
    assert_contiguous(tiles)
    (gap,) = gaps_of(tiles)
    assert (gap.first_sequence, gap.cause) == (FLUSHED, GapCause.SAMPLER_RESTARTED)
    assert "no chip answers" in sampler.last_error
    ticks = [*range(FLUSHED), *range(gap.next_sequence, tiles[-1].next_sequence)]
    assert counts_of(tiles) == bytes(tick % 256 for tick in ticks)


async def test_the_source_tells_what_makes_it_punctual() -> None:
    """Priority and locked memory are told as the system has them; in lockstep there are none."""
    with virtual_i2c([level(1.0)]) as pi, environment(pi.environment):
        config = Config()
        sampler = ProcessSampler(config, child_clock(config, time.monotonic_ns()))
        source = await sampler.open()
        pid = sampler.pid
        assert pid is not None
        policy = os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK
        locked_kib = _locked_kib(pid)
        await sampler.close()
    assert source.real_time_priority == (policy == os.SCHED_FIFO)
    assert source.memory_locked == (locked_kib > 0)
    assert source.frame_read_ns > 0
    assert source.channels[0].capture_offset_ns > 0


async def test_a_simulated_source_needs_no_priority() -> None:
    """What reads nothing at an instant runs as any process, and says so."""
    config = Config(simulate="sinus")
    sampler = ProcessSampler(config, child_clock(config, time.monotonic_ns()))
    source = await sampler.open()
    await sampler.close()
    assert (source.real_time_priority, source.memory_locked) == (False, False)
    assert (source.frame_read_ns, source.oversampling) == (0, 1)
