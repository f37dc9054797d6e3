"""What the Log promises when its disk is small, full or failing: on a real disk that is."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from holter_device.errors import DataDirectoryError
from holter_device.grid import GapCause
from holter_device.log import Cursor, CursorItem, EndReason, Log, StartEarliest, StartPosition
from holter_device.log.reserve import RESERVE_BYTES
from holter_device.samples import Block, Gap, SampleFormat, Session
from support.disk import small_disk
from support.logs import PATIENCE, begin, block, drain, gap, joined, opened, there, window

MIB = 1 << 20
TINY_TAIL = 0.05
DISK_BYTES = 12 * MIB
ROUND = 1000  # frames of 16 bytes


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB."""
    yield from small_disk(tmp_path / "disk", str(DISK_BYTES))


def fill(path: Path, spare: int = 0) -> None:
    """Take all of a disk but `spare` bytes."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    size = path.stat().st_size
    os.truncate(path, max(0, size - spare))
    if not spare:
        full = os.strerror(errno.ENOSPC)
        with pytest.raises(OSError, match=full), path.open("ab", buffering=0) as file:
            file.write(bytes(4097))


def made(first: int, count: int, session_id: int = 1) -> Block:
    """Frames of 8 counts that tell where they are."""
    counts = np.arange(first * 8, (first + count) * 8).astype("<i2")
    return Block(session_id, first, count, counts.tobytes())


class Source:
    """Appends what a live reader then has, and remembers how far it is."""

    def __init__(self, log: Log, session: Session, live: Cursor) -> None:
        self.log, self.session, self.live = log, session, live
        self.next_sequence = 0
        self.seen: list[CursorItem] = []

    @classmethod
    async def begin(cls, log: Log) -> Source:
        """Begin a session of frames of 16 bytes, and a live reader."""
        session = await begin(log, channels=8, sample_format=SampleFormat.S16LE)
        return cls(log, session, await log.samples(StartPosition(session.session_id, 0)))

    async def sample(self, rounds: int = 1) -> None:
        """Append, read, commit."""
        for _ in range(rounds):
            frames = made(self.next_sequence, ROUND, self.session.session_id)
            self.log.append([frames, window(self.session, frames.next_sequence - 1)])
            self.next_sequence = frames.next_sequence
            self.seen += await there(self.live)
            await self.log.commit()

    async def sample_until_stopped(self) -> None:
        """Append until the disk refuses."""
        async with asyncio.timeout(PATIENCE):
            while not self.log.recording.stopped:
                await self.sample()

    def check_seen(self) -> None:
        """The live reader had every frame once."""
        assert joined(self.seen) == [made(0, self.next_sequence)]


@pytest.mark.parametrize("spare", [0, 4 << 10, 40 << 10, 200 << 10, 2 * MIB])
async def test_a_disk_that_fills_and_is_emptied(disk: Path, spare: int) -> None:
    """A disk that fills under a running log raises the alarm; live readers have everything once,
    what memory could not hold becomes an exact Gap, and once there is space all else is recorded,
    whichever write it was that found the disk full."""
    async with opened(disk / "data", tail_seconds=TINY_TAIL, max_uncommitted=MIB) as log:
        source = await Source.begin(log)
        await source.sample(100)
        assert not log.recording.stopped
        assert log.recording.durable_sequence == source.next_sequence
        fill(disk / "other", spare)
        await source.sample_until_stopped()
        stopped = log.recording
        assert "full" in stopped.error
        assert stopped.durable_sequence < source.next_sequence
        assert stopped.lost_frame_count == 0
        await source.sample(100)
        assert log.recording.durable_sequence == stopped.durable_sequence
        lost = log.recording.lost_frame_count
        assert lost > 0
        (disk / "other").unlink()
        await source.sample(3)
        assert not log.recording.stopped
        assert log.recording.error == ""
        assert log.recording.durable_sequence == source.next_sequence
        source.check_seen()
        whole = [
            made(0, stopped.durable_sequence),
            gap(source.session, stopped.durable_sequence, lost, GapCause.RETENTION),
            made(
                stopped.durable_sequence + lost,
                source.next_sequence - stopped.durable_sequence - lost,
            ),
        ]
        assert joined(await there(await log.samples(StartEarliest()))) == whole
    assert integrity(disk / "data") == "ok"
    async with opened(disk / "data") as log:
        log.finish(EndReason.STOPPING)
        assert joined(await drain(await log.samples(StartEarliest()))) == whole


async def test_recording_recovers_by_itself(disk: Path) -> None:
    """Nobody has to ask: a commit that comes with time ends the alarm."""
    async with opened(disk / "data", commit_interval=0.01) as log:
        source = await Source.begin(log)
        await source.sample(5)
        fill(disk / "other")
        await source.sample_until_stopped()
        (disk / "other").unlink()
        async with asyncio.timeout(PATIENCE):
            while log.recording.stopped:
                await log._committed.wait(log._committed.level + 1)
        assert log.recording.durable_sequence == source.next_sequence


async def test_sessions_begin_on_a_full_disk(disk: Path) -> None:
    """The log starts, and starts again, on a disk that others filled while it was away: sessions
    are durable, streams live, and once there is space what memory has is recorded too."""
    first = made(0, 100)
    async with opened(disk / "data") as log:
        await begin(log, channels=8, sample_format=SampleFormat.S16LE)
        log.append([first])
        await log.commit()
    fill(disk / "other")
    for number in range(2, 6):
        async with opened(disk / "data") as log:
            source = await Source.begin(log)
            assert source.session.session_id == number
            await source.sample_until_stopped()
            assert "full" in log.recording.error
            assert [item for item in source.seen if isinstance(item, Block)]
    async with opened(disk / "data") as log:
        source = await Source.begin(log)
        await source.sample_until_stopped()
        (disk / "other").unlink()
        await source.sample()
        assert not log.recording.stopped
        assert log.recording.durable_sequence == source.next_sequence
        log.finish(EndReason.STOPPING)
        kept = await drain(await log.samples(StartEarliest()))
        assert first in kept
        assert sum(isinstance(item, Session) for item in kept) == 6
    assert (disk / "data" / "holter.reserve").stat().st_size == RESERVE_BYTES
    assert integrity(disk / "data") == "ok"


async def test_a_disk_that_was_filled_before_the_start_makes_no_log_smaller(disk: Path) -> None:
    """Where others filled the disk while the log was away, it drops what the newest needs only."""
    async with opened(disk / "data", retention_bytes=DISK_BYTES) as log:
        source = await Source.begin(log)
        await source.sample(200)
    fill(disk / "other", 1 * MIB)
    async with opened(disk / "data", retention_bytes=DISK_BYTES) as log:
        again = await Source.begin(log)
        await again.sample(3)
        assert not log.recording.stopped
        items = joined(await there(await log.samples(StartEarliest())))
        assert items[0].session_id == 1
        assert items[0].first_sequence <= again.next_sequence + 2 * ROUND


async def test_a_new_log_on_a_full_disk_is_refused(disk: Path) -> None:
    """Nothing was kept back there: one sentence says that the disk is full."""
    (disk / "data").mkdir()
    (disk / "data" / "holter.lock").write_text("1\n")
    fill(disk / "other")
    with pytest.raises(DataDirectoryError, match=r"its disk is full .*: make room"):
        async with opened(disk / "data"):
            pass


async def test_a_session_can_begin_once_there_is_space(disk: Path) -> None:
    """Readers of the file are served while it is full, and nothing half-done remains."""
    async with opened(disk / "data", tail_seconds=TINY_TAIL) as log:
        source = await Source.begin(log)
        await source.sample(50)
        fill(disk / "other")
        await source.sample_until_stopped()
        items = joined(await there(await log.samples(StartPosition(1, 0))))
        assert items == [made(0, source.next_sequence)]
        (disk / "other").unlink()
        second = await begin(log)
        log.append([block(second, 0, 10)])
        await log.commit()
        assert (second.previous_session_id, second.previous_next_sequence) == (
            1,
            source.next_sequence,
        )
        assert log.recording.lost_frame_count == 0


async def test_a_disk_smaller_than_the_limit_is_the_limit(disk: Path) -> None:
    """Where the disk has no room for retention_bytes the oldest is dropped before it is full."""
    kept = 0
    async with opened(disk / "data", tail_seconds=TINY_TAIL, retention_bytes=1 << 30) as log:
        source = await Source.begin(log)
        for _ in range(60):
            await source.sample(20)
            assert not log.recording.stopped
            assert log.recording.size_bytes <= log.recording.size_limit_bytes <= DISK_BYTES
        source.check_seen()
        assert log.recording.earliest is not None
        kept = source.next_sequence - log.recording.earliest.next_sequence
    assert kept * source.session.frame_size > DISK_BYTES / 2


async def test_what_others_write_drops_nothing(disk: Path) -> None:
    """A disk that others fill stops the recording, and costs nothing that is kept."""
    async with opened(disk / "data", tail_seconds=TINY_TAIL, retention_bytes=1 << 30) as log:
        source = await Source.begin(log)
        await source.sample(100)
        fill(disk / "other", MIB)
        await source.sample_until_stopped()
        items = joined(await there(await log.samples(StartEarliest())))
        assert items == [made(0, source.next_sequence)]


async def test_an_outage_costs_memory_for_what_is_kept_only(tmp_path: Path) -> None:
    """While the disk refuses, the small blocks of a sampler are joined in memory: hours of them
    take what their counts take."""
    async with opened(tmp_path, tail_seconds=1.0, max_uncommitted=MIB) as log:
        session = await begin(log)
        log._storage._writer._connection.execute("PRAGMA query_only=1")
        for first in range(0, 2_000_000, 10_000):
            log.append([Block(1, at, 100, bytes(100)) for at in range(first, first + 10_000, 100)])
            await log.commit()
            tail = log._feed.tail
            assert tail is not None
            assert len(tail._frames) < 200
            counts = (item.counts for item in tail._frames if isinstance(item, Block))
            assert sum(map(len, counts)) <= MIB + 20_000
        assert log.recording.lost_frame_count > 0
        frames = joined(await there(await log.samples(StartPosition(1, 0), max_latency=0)))
        lost = log.recording.lost_frame_count
        assert frames[0] == gap(session, 0, lost, GapCause.RETENTION)
        assert frames[1].next_sequence == 2_000_000
        log._storage._writer._connection.execute("PRAGMA query_only=0")


async def test_size_is_kept_within_its_limit(tmp_path: Path) -> None:
    """With the WAL the file is never above retention_bytes, nor much below once it is full; what
    went is the oldest, a Gap(RETENTION) up to `earliest`."""
    limit = 16 * MIB
    async with opened(tmp_path, tail_seconds=TINY_TAIL, retention_bytes=limit) as log:
        session = await begin(log, channels=8, sample_format=SampleFormat.S16LE)
        for first in range(0, 3_000_000, 10_000):
            counts = bytes(160_000)
            log.append([Block(1, first, 10_000, counts), window(session, first + 9_999)])
            await log.commit()
            recording = log.recording
            assert recording.size_bytes <= limit == recording.size_limit_bytes
            assert recording.durable_sequence == first + 10_000
        earliest = recording.earliest
        assert earliest is not None
        assert (3_000_000 - earliest.next_sequence) * 16 > limit * 0.6
        position = (await log.samples(StartEarliest())).position
        assert position == earliest
        items = joined(await there(await log.samples(StartPosition(1, 7))))
        kept_from = earliest.next_sequence
        assert items[0] == gap(session, 7, kept_from - 7, GapCause.RETENTION)
        assert [item.next_sequence for item in items[1:]] == [3_000_000]
        windows = await there(await log.classifications(StartPosition(1, 7)))
        assert windows[1] == items[0]
        assert len(windows) == 2 + 300 - kept_from // 10_000
        assert recording.written_bytes > 3_000_000 * 16
    file = tmp_path / "holter.db"
    assert file.stat().st_size <= limit


async def test_the_newest_commit_is_kept_at_any_limit(tmp_path: Path) -> None:
    """A limit below what the tables take drops all but the newest commit, and loses none of it."""
    async with opened(tmp_path, tail_seconds=TINY_TAIL, retention_bytes=1) as log:
        session = await begin(log)
        for first in range(0, 1000, 100):
            log.append([block(session, first, 100)])
            await log.commit()
            assert log.recording.durable_sequence == first + 100
            items = joined(await there(await log.samples(StartEarliest(), max_latency=0)))
            assert items == [block(session, first, 100)]


async def test_a_smaller_limit_is_reached_in_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the log is far above a new limit, each commit drops a bounded part of it."""
    async with opened(tmp_path) as log:
        session = await begin(log)
        for first in range(0, 8 * MIB, MIB):
            log.append([Block(1, first, MIB, bytes(MIB))])
            await log.commit()
    monkeypatch.setattr("holter_device.log.retention.STEP_BYTES", MIB)
    monkeypatch.setattr("holter_device.log.retention.STEP_ROWS", 10)
    async with opened(tmp_path, retention_bytes=2 * MIB) as log:
        session = await begin(log)
        sizes = [log.recording.size_bytes]
        for first in range(40):
            log.append([block(session, first, 1)])
            await log.commit()
            sizes.append(log.recording.size_bytes)
            earliest = log.recording.earliest
            assert earliest is not None
        assert max(old - new for old, new in itertools.pairwise(sizes)) < 1.3 * MIB
        assert sizes[0] > 8 * MIB
        assert sizes[-1] <= 2 * MIB
        items = joined(await there(await log.samples(StartPosition(1, 0), max_latency=0)))
        dropped = items[0]
        assert isinstance(dropped, Gap)
        assert earliest.next_sequence == dropped.next_sequence


def integrity(directory: Path) -> str:
    """What SQLite says of the file."""
    connection = sqlite3.connect(directory / "holter.db")
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()
