"""What the Log promises of its directory, its file, its threads and its memory."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_device.clock import UtcEstimate
from holter_device.errors import AlreadyRunningError, DataDirectoryError
from holter_device.grid import GapCause
from holter_device.log import EndReason, StartEarliest, StartLive, StartPosition
from holter_device.log.join import cut, join
from holter_device.log.schema import UNKNOWN_NS
from holter_device.samples import Block, Gap, SampleFormat, Session
from support import log_writer
from support.logs import begin, block, drain, gap, joined, opened, there, window

TINY_TAIL = 0.05
FILE = "holter.db"
HOUR_SECONDS = 3600
SECOND_NS = 1_000_000_000


def rows(directory: Path, query: str) -> list[tuple[int, ...]]:
    """Ask the file, beside the log that has it open."""
    connection = sqlite3.connect(directory / FILE)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


class TestDirectory:
    async def test_it_is_made(self, tmp_path: Path) -> None:
        """A directory that is missing is made, for its owner alone."""
        async with opened(tmp_path / "a" / "b"):
            assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700

    async def test_one_holterd_at_a_time(self, tmp_path: Path) -> None:
        """A directory in use is refused with the pid; it is free once that log is closed."""
        async with opened(tmp_path):
            with pytest.raises(AlreadyRunningError, match=f"already running as pid {os.getpid()}"):
                async with opened(tmp_path):
                    pass
        async with opened(tmp_path):
            pass

    async def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        """A path that is no directory is refused in a sentence."""
        path = tmp_path / "file"
        path.write_text("")
        for directory in (path, path / "below"):
            with pytest.raises(DataDirectoryError, match="cannot be used"):
                async with opened(directory):
                    pass

    async def test_a_directory_that_cannot_be_written(self) -> None:
        """A file system that takes no files is refused in a sentence."""
        with pytest.raises(DataDirectoryError, match="--data-dir"):
            async with opened(Path("/proc/holter")):
                pass

    @pytest.mark.parametrize(
        ("damage", "sentence"),
        [
            (lambda path: path.write_bytes(b"no database" * 1000), "damaged"),
            (lambda path: path.write_bytes(path.read_bytes()[:5000]), "damaged"),
            (lambda path: _execute(path, "DELETE FROM log"), "damaged"),
            (lambda path: _execute(path, "UPDATE sessions SET facts = '{'"), "damaged"),
            (lambda path: _execute(path, "UPDATE frames SET counts = x'00'"), "counts are missing"),
            (lambda path: _execute(path, "DELETE FROM frames WHERE key % 1024 > 200 AND key % 1024"
                                   " < 600"), "frames are missing"),
            (lambda path: _execute(path, "PRAGMA application_id = 1"), "no log of holterd"),
            (lambda path: _execute(path, "PRAGMA user_version = 999"), "newer holterd"),
        ],
    )  # fmt: skip
    async def test_a_file_that_cannot_be_trusted(
        self, tmp_path: Path, damage: Callable[[Path], None], sentence: str
    ) -> None:
        """A damaged, foreign or newer file is refused in a sentence, and left as it is."""
        async with opened(tmp_path) as log:
            session = await begin(log)
            for first in range(0, 1000, 50):
                log.append([block(session, first, 50)])
                await log.commit()
        damage(tmp_path / FILE)
        before = (tmp_path / FILE).read_bytes()
        with pytest.raises(DataDirectoryError, match=sentence):
            async with opened(tmp_path):
                pass
        assert (tmp_path / FILE).read_bytes() == before
        with pytest.raises(DataDirectoryError, match=sentence):
            async with opened(tmp_path):
                pass


def _execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


class TestFile:
    async def test_a_log_of_version_1_is_taken_over(self, tmp_path: Path) -> None:
        """Its frames are what they were; that its wall clock was synchronized is not claimed."""
        held = UtcEstimate(SECOND_NS, 1, synchronized=True)
        async with opened(tmp_path, utc=held) as log:
            session = await begin(log, boot_id="one", utc=held)
            told = [block(session, 0, 20), block(session, 20, 30, off=True)]
            log.append(told)
        _execute(tmp_path / FILE, "UPDATE frames SET lead_off = x'140000001e000000'")
        _execute(tmp_path / FILE, "PRAGMA user_version = 1")
        for utc in (held, UtcEstimate()):  # the second time it is of this version
            async with opened(tmp_path, utc=utc) as log:
                assert joined(await there(await log.samples(StartEarliest()))) == joined(told)
                following = await begin(log, boot_id="two", utc=held)
                assert following.hole_uncertainty_ns == (UNKNOWN_NS if utc is held else 0)

    async def test_rows_of_a_run_become_one(self, tmp_path: Path) -> None:
        """Commits write small rows; those of a run are replaced by one of up to 64 KiB of counts
        as soon as they fill it, or a gap ends them. No row spans a gap."""
        async with opened(tmp_path) as log:
            session = await begin(log, channels=4, sample_format=SampleFormat.S16LE)
            for first in range(0, 9000, 100):
                log.append([block(session, first, 100)])
                await log.commit()
            log.append([gap(session, 9000, 3), gap(session, 9003, 4)])
            for first in range(9007, 9507, 100):
                log.append([block(session, first, 100, late=1)])
                await log.commit()
            stored = rows(tmp_path, "SELECT frame_count, cause, late_count FROM frames")
            items = await there(await log.samples(StartEarliest(), max_latency=0))
        late = int(GapCause.LATE)
        assert stored == [(8100, 0, 0), (900, 0, 0), (7, late, 0)] + [(100, 0, 1)] * 5
        assert joined(items) == [
            block(session, 0, 9000),
            gap(session, 9000, 7),
            block(session, 9007, 500, late=5),
        ]

    async def test_a_power_cut_takes_no_commit(self, tmp_path: Path) -> None:
        """The file is in WAL mode with synchronous=FULL, and has no index but its keys."""
        async with opened(tmp_path) as log:
            connection = log._storage._writer._connection
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
            assert rows(tmp_path, "SELECT * FROM sqlite_master WHERE type = 'index'") == []

    async def test_a_commit_comes_by_itself(self, tmp_path: Path) -> None:
        """What is appended is in the file after commit_interval without being asked for."""
        async with opened(tmp_path, commit_interval=0.01) as log:
            session = await begin(log)
            log.append([block(session, 0, 10)])
            await log._committed.wait(1)
            assert rows(tmp_path, "SELECT sum(frame_count) FROM frames") == [(10,)]

    async def test_the_event_loop_never_touches_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every SQL statement runs in another thread than the event loop's; one thread writes."""
        seen: list[tuple[str, str]] = []
        connect = sqlite3.connect

        def traced(*args: object, **kwargs: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **kwargs)  # type: ignore[call-overload]
            connection.set_trace_callback(
                lambda statement: seen.append((threading.current_thread().name, statement))
            )
            seen.append((threading.current_thread().name, "CONNECT"))
            return connection

        monkeypatch.setattr(sqlite3, "connect", traced)
        async with opened(tmp_path, tail_seconds=TINY_TAIL, commit_interval=0.001) as log:
            await log.unfinished()
            session = await begin(log)
            readers = [await log.samples(StartEarliest()), await log.classifications(StartLive())]
            for first in range(0, 1000, 10):
                log.append([block(session, first, 10), window(session, first + 9)])
                await asyncio.sleep(0)
            await log.commit()
            log.finish(EndReason.STOPPING)
            for cursor in readers:
                await drain(cursor)
        names = {name for name, _ in seen}
        assert threading.current_thread().name not in names
        assert all(name.startswith("log-") for name in names)
        writing = {name for name, sql in seen if sql.startswith(("INSERT", "UPDATE", "DELETE"))}
        assert writing == {"log-writer_0"}

    async def test_a_slow_reader_does_not_hold_the_file(self, tmp_path: Path) -> None:
        """Between two pages a reader has no transaction open, so the WAL can be emptied."""
        async with opened(tmp_path, tail_seconds=TINY_TAIL) as log:
            await begin(log)
            for first in range(0, 1_000_000, 10_000):
                log.append([Block(1, first, 10_000, bytes(10_000))])
            await log.commit()
            cursor = await log.samples(StartEarliest())
            await cursor.next()
            await cursor.next()
            assert 0 < cursor.position.next_sequence < 1_000_000
            assert rows(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0


class TestKill:
    def test_a_killed_writer_loses_only_what_was_not_committed(self, tmp_path: Path) -> None:
        """After kill -9 every committed frame and window is there and exact, and nothing else."""
        command = [sys.executable, log_writer.__file__, str(tmp_path)]
        tests = str(Path(__file__).parents[1])
        for rounds in (1, 3, 10):
            environment = {**os.environ, "PYTHONPATH": tests}
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
                assert process.stdout is not None
                for _ in range(rounds):
                    committed = int(process.stdout.readline().split()[1])
                process.send_signal(signal.SIGKILL)
                rest = process.stdout.read().splitlines()
                committed = int(rest[-1].split()[1]) if rest and rest[-1].split()[1:] else committed
            asyncio.run(self.check(tmp_path, committed))

    async def check(self, directory: Path, committed: int) -> None:
        """The newest session has what was committed, or one commit more that was not told."""
        async with opened(directory) as log:
            left = await log.unfinished()
            assert left is not None
            session = left.session
            # The commit after the one that was told may have come about before the kill.
            assert left.next_sequence in (committed, committed + 8 * log_writer.BLOCK_FRAMES)
            log.finish(EndReason.STOPPING)
            items = await drain(await log.samples(StartPosition(session.session_id, 0)))
            assert items[0] == session
            assert joined(items) == [block(session, 0, left.next_sequence)]
            windows = await drain(await log.classifications(StartPosition(session.session_id, 0)))
            assert windows[1:-1] == [
                window(session, last) for last in committed_windows(left.next_sequence)
            ]


def committed_windows(next_sequence: int) -> list[int]:
    """The windows of the writer process, as far as its frames came."""
    frames = log_writer.BLOCK_FRAMES
    blocks = range(next_sequence // frames)
    return [(index + 1) * frames - 1 for index in blocks if index % 8 < 5]


class TestRetention:
    async def test_frames_are_dropped_by_recorded_time(self, tmp_path: Path) -> None:
        """At least retention_hours of recording are kept, and at most a quarter of it more."""
        hours = 100 / HOUR_SECONDS  # 100 s, which are 10 000 frames
        async with opened(tmp_path, tail_seconds=TINY_TAIL, retention_hours=hours) as log:
            session = await begin(log)
            for first in range(0, 50_000, 500):
                log.append([block(session, first, 500), window(session, first + 499)])
                await log.commit()
                (kept,) = rows(tmp_path, "SELECT sum(frame_count) FROM frames")[0]
                now = first + 500
                assert min(now, 10_000) <= kept <= 10_000 + 2_500 + 150 + 500
            (windows,) = rows(tmp_path, "SELECT count(*) FROM windows")[0]
            assert windows <= 10_000 // 500 + 7

    async def test_the_start_that_was_dropped_is_a_gap(self, tmp_path: Path) -> None:
        """A stream from a dropped place opens with a RETENTION gap up to the first kept frame."""
        hours = 10 / HOUR_SECONDS
        async with opened(tmp_path, tail_seconds=TINY_TAIL, retention_hours=hours) as log:
            session = await begin(log)
            for first in range(0, 5000, 100):
                log.append([block(session, first, 100), window(session, first + 99)])
                await log.commit()
            log.finish(EndReason.STOPPING)
            items = await drain(await log.samples(StartPosition(1, 7)))
            dropped = items[1]
            assert isinstance(dropped, Gap)
            assert (dropped.first_sequence, dropped.cause) == (7, GapCause.RETENTION)
            kept = dropped.next_sequence
            assert 3500 <= kept <= 4000
            assert joined(items[2:]) == [block(session, kept, 5000 - kept)]
            windows = await drain(await log.classifications(StartPosition(1, 7)))
            assert windows[1] == dropped
            lasts = [last for last in range(99, 5000, 100) if last >= kept]
            assert windows[2:-1] == [window(session, last) for last in lasts]
            earliest = await log.samples(StartEarliest())
            assert earliest.position.next_sequence == kept

    async def test_a_dropped_session_is_still_told(self, tmp_path: Path) -> None:
        """A session whose frames are all gone yields itself and one gap, then the next session."""
        hours = 10 / HOUR_SECONDS
        async with opened(tmp_path, retention_hours=hours) as log:
            first = await begin(log)
            log.append([block(first, 0, 300), gap(first, 300, 40)])
            second = await begin(log)
            for start in range(0, 5000, 100):
                log.append([block(second, start, 100)])
                await log.commit()
            cursor = await log.samples(StartPosition(1, 0), max_latency=0)
            assert await cursor.next() == [first]
            assert await cursor.next() == [gap(first, 0, 340, GapCause.RETENTION)]
            assert await cursor.next() == [second]
            earliest = await log.samples(StartEarliest())
            assert earliest.position.session_id == 2
        async with opened(tmp_path, retention_hours=hours) as log:
            third = await begin(log)
            assert (third.previous_session_id, third.previous_next_sequence) == (2, 5000)

    async def test_time_without_recording_ages_nothing(self, tmp_path: Path) -> None:
        """A device that was off for long keeps what it had recorded last."""
        day_ns = 24 * HOUR_SECONDS * 1_000_000_000
        async with opened(tmp_path, retention_hours=1) as log:
            first = await begin(log, boot_id="one")
            log.append([block(first, 0, 100)])
        async with opened(tmp_path, retention_hours=1) as log:
            second = await begin(log, start_ns=300 * day_ns, boot_id="two")
            log.append([block(second, 0, 100)])
            await log.commit()
            items = await there(await log.samples(StartEarliest(), max_latency=0))
        assert items == [first, block(first, 0, 100), second, block(second, 0, 100)]

    async def test_a_long_backlog_is_dropped_in_steps(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A shorter retention drops a bounded number of rows with each commit."""
        async with opened(tmp_path) as log:
            session = await begin(log)
            log.append([block(session, 0, 100_000)])
        (before,) = rows(tmp_path, "SELECT count(*) FROM frames")[0]
        monkeypatch.setattr("holter_device.log.retention.STEP_ROWS", 10)
        async with opened(tmp_path, retention_hours=10 / HOUR_SECONDS) as log:
            session = await begin(log)
            counts = [before]
            for first in range(100):
                log.append([block(session, first, 1)])
                await log.commit()
                (count,) = rows(tmp_path, "SELECT count(*) FROM frames WHERE key < 2 << 40")[0]
                counts.append(count)
        assert all(0 <= old - new <= 10 for old, new in itertools.pairwise(counts))
        assert counts[-1] * 150 <= 1000 + 150


class TestRefusal:
    async def test_a_full_disk_stops_no_stream(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """While SQLite says that the disk is full, it is logged once and streams go on; when there
        is room again what waited is written."""
        async with opened(tmp_path, tail_seconds=TINY_TAIL) as log:
            session = await begin(log)
            cursor = await log.samples(StartLive(), max_latency=0)
            connection = log._storage._writer._connection
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count={pages}")
            for first in range(0, 100_000, 1000):
                log.append([block(session, first, 1000)])
                await log.commit()
                assert joined((await there(cursor))[-1:])[-1] == block(session, first, 1000)
            failures = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert len(failures) == 1
            assert "full" in failures[0].getMessage()
            connection.execute("PRAGMA max_page_count=1000000")
            await log.commit()
            assert rows(tmp_path, "SELECT sum(frame_count) FROM frames") == [(100_000,)]
            items = await there(await log.samples(StartPosition(1, 0), max_latency=0))
            assert joined(items) == [block(session, 0, 100_000)]

    async def test_what_waits_for_the_disk_is_bounded(self, tmp_path: Path) -> None:
        """What no longer fits in memory is dropped, oldest first, as a Gap for every reader."""
        limit = 1 << 20
        async with opened(tmp_path, tail_seconds=TINY_TAIL, max_uncommitted=limit) as log:
            session = await begin(log)
            log._storage._writer._connection.execute("PRAGMA query_only=1")
            for first in range(0, 2_000_000, 1000):
                log.append([Block(1, first, 1000, bytes(1000))])
                if first % 50_000 == 0:
                    await log.commit()
                await log.backpressure()
            await log.commit()
            assert log._uncommitted <= limit
            assert log._feed.tail is not None
            assert log._feed.tail.next_sequence == 2_000_000
            log._storage._writer._connection.execute("PRAGMA query_only=0")
            before = await there(await log.samples(StartPosition(1, 0), max_latency=0))
            await log.commit()
            after = await there(await log.samples(StartPosition(1, 0), max_latency=0))
        dropped, kept = joined(before)
        assert joined(after) == [dropped, kept]
        assert isinstance(kept, Block)
        assert dropped == gap(session, 0, kept.first_sequence, GapCause.RETENTION)
        assert kept.next_sequence == 2_000_000


class TestMemory:
    async def test_the_tail_keeps_the_newest_and_what_is_not_written(self, tmp_path: Path) -> None:
        """In memory are the newest tail_seconds, a quarter more at most, and all that waits."""
        async with opened(tmp_path, tail_seconds=10.0) as log:
            session = await begin(log)
            tail = log._feed.tail
            assert tail is not None
            for first in range(0, 100_000, 50):
                log.append([block(session, first, 50), window(session, first + 49)])
                if first % 5000 == 0:
                    await log.commit()
                    assert min(first, 1000) <= tail.frame_count <= 1250 + 50
                    assert tail.window_count <= 1300 // 50
            assert tail.frame_count >= 4950

    async def test_backpressure_waits_for_the_writer(self, tmp_path: Path) -> None:
        """A source that waits never has much more than the limit waiting for the disk."""
        limit = 100_000
        async with opened(tmp_path, max_uncommitted=limit, commit_interval=0.001) as log:
            session = await begin(log)
            for first in range(0, 5_000_000, 20_000):
                log.append([Block(1, first, 20_000, bytes(20_000))])
                assert log._uncommitted <= limit + 20_300
                await log.backpressure()
            await log.commit()
            assert rows(tmp_path, "SELECT sum(frame_count) FROM frames") == [(5_000_000,)]
            assert session.session_id == 1


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=10)


class TestJoin:
    @given(lengths=LENGTHS, limit=st.integers(1, 40), data=st.data())
    def test_joining_changes_no_frame(
        self, lengths: list[int], limit: int, data: st.DataObject
    ) -> None:
        """Blocks cut anywhere and joined again have the same counts, lead-off runs and lateness."""
        session = Session(session_id=1, log_id="", grid=None, channels=(None,))  # type: ignore[arg-type]
        items, first = [], 0
        for length in lengths:
            off, late = data.draw(st.booleans()), data.draw(st.integers(0, length))
            items.append(block(session, first, length, off=off, late=late))
            first += length
        at = data.draw(st.integers(0, first))
        pieces = [
            cut(item, lower, upper)
            for item in items
            for lower, upper in ((0, at), (at, first))
            if max(lower, item.first_sequence) < min(upper, item.next_sequence)
        ]
        again = join(pieces, limit)
        assert all(item.frame_count <= limit for item in again)
        assert join(again, first) == join(items, first)
        assert len(join(items, first)) == 1
