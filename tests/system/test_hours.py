"""Hours of recording at full speed: every reader has the source's own bytes, and memory is flat.

A simulated ECG is a function of its sequence alone, so that what is expected at hour 24 is known
without keeping it. Memory is looked at by frames, not by time: every so many of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import holter_host
from holter.frontend import FrontEnd
from holter_device.adc.simulated import simulated_counts
from holter_host import Gap, GapCause, SampleBlock, SessionStarted
from support.daemon import Daemon, holterd
from support.follower import Follower

RATE_HZ = 360
HOUR = 3600 * RATE_HZ
MIB = 2**20
# The last quarter of a run may take this much more memory than the first one took at most.
GROWTH_BYTES = 6 * MIB
# Where nothing paces the source but the log, 16 MiB may wait for the disk, or none.
BACKLOG_BYTES = 24 * MIB
LOOKS = 40


class Identity:
    """Takes the samples of session 1, each frame once and in order, and holds them to a table.

    Attributes:
        next_sequence: the frame that comes next.
        received_count: frames that came.
        gaps: what was missing.
        following: what said that session 2 began; None while nothing did.
    """

    def __init__(self, table: npt.NDArray[np.uint8]) -> None:
        self._table = table
        self.next_sequence = 0
        self.received_count = 0
        self.gaps: list[Gap] = []
        self.following: SessionStarted | None = None

    @property
    def missing_count(self) -> int:
        """Frames in gaps."""
        return sum(gap.frame_count for gap in self.gaps)

    def add(self, event: SessionStarted | SampleBlock | Gap) -> None:
        """Take the next event.

        Raises:
            AssertionError: it is not what comes next, or not what was played.
        """
        if self.following is not None:
            return
        if isinstance(event, SessionStarted):
            self.following = event if event.session.session_id == 2 else None
            return
        assert event.first_sequence == self.next_sequence
        if isinstance(event, Gap):
            self.gaps.append(event)
        else:
            ticks = np.arange(event.first_sequence, event.next_sequence)
            assert np.array_equal(event.counts, self._table[ticks % len(self._table)])
            self.received_count += event.frame_count
        self.next_sequence = event.next_sequence

    def has(self, sequence: int) -> bool:
        """Whether all below `sequence` has come."""
        return self.next_sequence >= sequence

    def is_over(self) -> bool:
        """Whether the session after it has begun."""
        return self.following is not None


class Memory:
    """Looks at the memory of holterd and its children as frames come by: LOOKS times at most."""

    def __init__(self, daemon: Daemon, frames: int) -> None:
        self._daemon = daemon
        self._frames = frames
        self._next_look = 0
        self._pss: list[tuple[int, int]] = []

    def look(self, sequence: int) -> None:
        """Look, where it is time."""
        if sequence < self._next_look:
            return
        pids = self._daemon.process.pid, *self._daemon.children().values()
        self._pss.append((sequence, sum(map(_pss, pids))))
        self._next_look = sequence + self._frames // LOOKS

    def assert_flat(self, growth: int) -> None:
        """The last quarter took no more than the first, but for `growth` bytes."""
        first = [pss for sequence, pss in self._pss if sequence < self._frames / 4]
        last = [pss for sequence, pss in self._pss if sequence >= self._frames * 3 / 4]
        told = [round(pss / MIB, 1) for _, pss in self._pss]
        assert min(len(first), len(last)) >= 3, told
        assert max(last) < max(first) + growth, told


def _pss(pid: int) -> int:
    """Memory of a process, what it shares divided by who shares it, in bytes; 0 where it ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


@pytest.fixture(scope="module")
def table() -> npt.NDArray[np.uint8]:
    """One period of what is sampled."""
    return simulated_counts("bigeminy", 0, RATE_HZ, FrontEnd())


class Gate:
    """Lets a reader go on as long as something is true."""

    def __init__(self, may_go: Callable[[], bool]) -> None:
        self._may_go = may_go
        self._looking = asyncio.Event()
        self._open = False

    async def __call__(self) -> None:
        """Wait until it is true."""
        while not (self._open or self._may_go()):
            self._looking.clear()
            await self._looking.wait()

    def look(self, *, let_go: bool = False) -> None:
        """Look whether it is true now; from now on it is, with `let_go`."""
        self._open = let_go
        self._looking.set()


@pytest.mark.parametrize(
    ("hours", "speed", "kills"),
    [
        (1, "1000", 1),
        pytest.param(24, "1000", 6, marks=[pytest.mark.long, pytest.mark.timeout(1200)]),
        pytest.param(24, "max", 1, marks=[pytest.mark.long, pytest.mark.timeout(1200)]),
    ],
)
async def test_hours_are_the_source_to_every_reader(
    tmp_path: Path, table: npt.NDArray[np.uint8], hours: int, speed: str, kills: int
) -> None:
    """One who keeps up, one who lags, and one who comes later read the same, and it is the source.

    The sampler is killed meanwhile; that is what the gaps say, and nothing else is missing. The
    memory of all processes stays flat.

    At full speed nothing paces the source but the log, so that it may be days ahead of its readers.
    """
    frames = hours * HOUR
    address = f"unix:{tmp_path / 'socket'}"
    live, slow, later = Identity(table), Identity(table), Identity(table)
    gate = Gate(lambda: slow.next_sequence <= live.next_sequence // 3)
    async with contextlib.AsyncExitStack() as stack:
        flags = ("--retention-hours", "8760", "--listen", address)
        fast = ("--simulate", "bigeminy", "--speed", speed)
        async with holterd(tmp_path, *fast, *flags) as daemon:
            device = await stack.enter_async_context(holter_host.connect(address))
            lagging = Follower(device.samples("earliest"), slow.add, gate)
            await stack.enter_async_context(lagging)
            memory = Memory(daemon, frames)
            to_kill = [frames * k // (kills + 1) for k in range(1, kills + 1)]
            if speed == "max":  # a later gap would be wherever the source has come to by then
                to_kill = [1]
            async for event in device.samples("earliest"):
                live.add(event)
                gate.look()
                memory.look(live.next_sequence)
                if to_kill and live.has(to_kill[0]):
                    del to_kill[0]
                    os.kill(daemon.children()["sampler"], signal.SIGKILL)
                if live.has(frames) and len(live.gaps) >= kills:
                    break
            assert await daemon.stop() == 0
        memory.assert_flat(GROWTH_BYTES + (BACKLOG_BYTES if speed == "max" else 0))
        gate.look(let_go=True)
        async with holterd(tmp_path, "--simulate", "sinus", *flags):
            backfill = Follower(device.samples("earliest"), later.add)
            await stack.enter_async_context(backfill)
            await backfill.until(later.is_over)
            await lagging.until(slow.is_over)
    assert later.gaps == slow.gaps
    assert live.gaps == later.gaps[: len(live.gaps)]
    assert [gap.cause for gap in later.gaps] == [GapCause.SAMPLER_RESTARTED] * kills
    for reader in (later, slow):
        assert reader.following is not None
        assert reader.next_sequence == reader.following.previous_next_sequence >= frames
        assert reader.received_count + reader.missing_count == reader.next_sequence


async def test_what_retention_drops_is_a_gap(tmp_path: Path, table: npt.NDArray[np.uint8]) -> None:
    """Where the log keeps one hour of many, a reader that lags has the rest as Gap(RETENTION).

    Who starts at frame 0 later has a gap to the first frame that is kept; all others are there.
    """
    address = f"unix:{tmp_path / 'socket'}"
    kept = ("--retention-hours", "1", "--listen", address)
    start = holter_host.LogPosition(1, 0)
    slow, later = Identity(table), Identity(table)
    gate = Gate(lambda: False)
    async with contextlib.AsyncExitStack() as stack:
        async with holterd(tmp_path, "--simulate", "bigeminy", "--speed", "max", *kept) as daemon:
            device = await stack.enter_async_context(holter_host.connect(address))
            lagging = Follower(device.samples(start), slow.add, gate)
            await stack.enter_async_context(lagging)
            while (await device.status()).next_sequence < 12 * HOUR:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            assert await daemon.stop() == 0
        gate.look(let_go=True)
        async with holterd(tmp_path, "--simulate", "sinus", *kept):
            backfill = Follower(device.samples(start), later.add)
            await stack.enter_async_context(backfill)
            await backfill.until(later.is_over)
            await lagging.until(slow.is_over)
    for reader in (later, slow):
        assert {gap.cause for gap in reader.gaps} == {GapCause.RETENTION}
        assert reader.following is not None
        assert reader.next_sequence == reader.following.previous_next_sequence >= 12 * HOUR
        assert reader.received_count + reader.missing_count == reader.next_sequence
    (gap,) = later.gaps
    assert gap.first_sequence == 0
    assert HOUR <= later.received_count <= 2 * HOUR
