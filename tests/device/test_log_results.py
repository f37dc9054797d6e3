"""What the Log promises of windows and model changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holter_device.errors import DataDirectoryError
from holter_device.log import (
    CursorItem,
    End,
    EndReason,
    Position,
    StartEarliest,
    StartLive,
    StartPosition,
)
from holter_device.samples import Classification, ModelChange, UnclassifiableReason
from support.logs import begin, block, drain, opened, take, there, window

TINY_TAIL = 0.05
BOTH_TAILS = pytest.mark.parametrize("tail_seconds", [TINY_TAIL, 100.0], ids=["file", "memory"])


@BOTH_TAILS
async def test_windows_are_read_as_they_were_written(tmp_path: Path, tail_seconds: float) -> None:
    """Labels, scores, reasons and times are the same from memory, from the file and later."""
    async with opened(tmp_path, tail_seconds=tail_seconds) as log:
        session = await begin(log)
        unclassifiable = Classification(
            session_id=1,
            first_sequence=0,
            last_sequence=12,
            model_sha256="b",
            reason=UnclassifiableReason.LEADS_OFF,
        )
        windows = [window(session, 9), window(session, 10), unclassifiable, window(session, 13)]
        log.append([block(session, 0, 1000), *windows])
        await log.commit()
        assert await there(await log.classifications(StartEarliest())) == [session, *windows]
    async with opened(tmp_path) as log:
        assert await there(await log.classifications(StartEarliest())) == [session, *windows]


@BOTH_TAILS
async def test_a_cursor_at_n_has_the_windows_that_end_at_n_or_later(
    tmp_path: Path, tail_seconds: float
) -> None:
    """A position yields windows with last_sequence >= n, and its End tells the last one + 1."""
    async with opened(tmp_path, tail_seconds=tail_seconds) as log:
        session = await begin(log)
        windows = [window(session, last) for last in range(9, 1000, 10)]
        log.append([block(session, 0, 1000), *windows])
        await log.commit()
        log.finish(EndReason.STOPPING)
        end = End(1, 1000, EndReason.STOPPING)
        for sequence, first in ((0, 0), (9, 0), (10, 1), (499, 49), (500, 50), (999, 99)):
            cursor = await log.classifications(StartPosition(1, sequence))
            assert await drain(cursor) == [session, *windows[first:], end]
        cursor = await log.classifications(StartPosition(1, 1000))
        assert await drain(cursor) == [session, end]


async def test_without_a_window_the_end_is_where_the_cursor_began(tmp_path: Path) -> None:
    """With no window since the start, the End tells the start."""
    async with opened(tmp_path) as log:
        session = await begin(log)
        log.append([block(session, 0, 100), window(session, 9)])
        cursor = await log.classifications(StartPosition(1, 42))
        log.finish(EndReason.STOPPING)
        assert await drain(cursor) == [session, End(1, 42, EndReason.STOPPING)]


class TestModelChanges:
    @BOTH_TAILS
    async def test_a_stream_begins_with_the_model_in_force(
        self, tmp_path: Path, tail_seconds: float
    ) -> None:
        """After its Session a stream tells the newest change at or before its start alone."""
        async with opened(tmp_path, tail_seconds=tail_seconds) as log:
            session = await begin(log)
            none, a, b = (ModelChange(1, at, name) for at, name in ((0, ""), (20, "a"), (40, "b")))
            first, second = window(session, 29, model="a"), window(session, 49, model="b")
            log.append([none, block(session, 0, 30), a, first, block(session, 30, 30), b, second])
            await log.commit()

            async def read(sequence: int) -> list[CursorItem]:
                cursor = await log.classifications(StartPosition(1, sequence))
                return (await there(cursor))[1:]

            assert await read(0) == [none, a, first, b, second]
            assert await read(19) == [none, a, first, b, second]
            assert await read(20) == [a, first, b, second]
            assert await read(39) == [a, b, second]
            assert await read(40) == [b, second]
            assert await read(60) == [b]
            await begin(log)
            assert (await read(39))[:3] == [a, b, second]

    async def test_a_change_is_told_at_once_at_the_live_edge(self, tmp_path: Path) -> None:
        """A live reader knows of a change as soon as it is fixed, before any window it governs."""
        async with opened(tmp_path) as log:
            session = await begin(log)
            cursor = await log.classifications(StartLive())
            assert await cursor.next() == [session]
            change = ModelChange(1, 500, "b")
            log.append([change])
            assert await cursor.next() == [change]
            early = window(session, 400, model="a")
            log.append([block(session, 0, 600), early])
            assert await cursor.next() == [early]
            late = window(session, 500, model="b")
            log.append([late])
            assert await cursor.next() == [late]

    @BOTH_TAILS
    async def test_a_change_stands_in_for_later_ones(
        self, tmp_path: Path, tail_seconds: float
    ) -> None:
        """A change takes back those that were appended before it with the same or a later place."""
        async with opened(tmp_path, tail_seconds=tail_seconds) as log:
            session = await begin(log)
            a, b, again = ModelChange(1, 0, "a"), ModelChange(1, 50, "b"), ModelChange(1, 40, "a")
            live = await log.classifications(StartLive())
            log.append([a, b])
            assert await there(live) == [session, a, b]
            log.append([ModelChange(1, 40, "c")])
            log.append([again])
            assert await there(live) == [again]
            await log.commit()
            earliest = await log.classifications(StartEarliest())
            assert await there(earliest) == [session, a, again]
        async with opened(tmp_path) as log:
            cursor = await log.classifications(StartPosition(1, 0))
            assert await there(cursor) == [session, a, again]

    async def test_windows_come_in_order(self, tmp_path: Path) -> None:
        """A window that ends before one that was appended is refused."""
        async with opened(tmp_path) as log:
            session = await begin(log)
            log.append([window(session, 20)])
            for last in (20, 19):
                with pytest.raises(ValueError, match=f"window {last} comes after 20"):
                    log.append([window(session, last)])


class TestRecovery:
    async def test_a_new_log_has_nothing_unfinished(self, tmp_path: Path) -> None:
        """A new log has no session that an earlier run left."""
        async with opened(tmp_path) as log:
            assert await log.unfinished() is None

    async def test_windows_that_were_never_committed_are_appended(self, tmp_path: Path) -> None:
        """The next run learns how far the last one came, and adds what it owed, durably."""
        async with opened(tmp_path) as log:
            session = await begin(log)
            changes = (ModelChange(1, 0, ""), ModelChange(1, 5, "a"))
            written = window(session, 9)
            log.append([*changes, block(session, 0, 100), written])
        owed = [
            Classification(
                session_id=1,
                first_sequence=last - 9,
                last_sequence=last,
                model_sha256="a",
                reason=UnclassifiableReason.RESTARTED,
            )
            for last in range(19, 100, 10)
        ]
        async with opened(tmp_path) as log:
            left = await log.unfinished()
            assert left is not None
            assert (left.session, left.next_sequence) == (session, 100)
            assert (left.last_window, left.changes) == (9, changes)
            cursor = await log.classifications(StartPosition(1, 10))
            assert await there(cursor) == [session, changes[1]]
            reading = asyncio.create_task(take(cursor, lambda items: len(items) == len(owed)))
            await asyncio.sleep(0)
            await log.append_finished(owed)
            assert await reading == owed
            assert cursor.position == Position(1, 100)
            with pytest.raises(DataDirectoryError):
                await log.append_finished(owed)
        async with opened(tmp_path) as log:
            left = await log.unfinished()
            assert left is not None
            assert left.last_window == 99
            cursor = await log.classifications(StartPosition(1, 0))
            assert await there(cursor) == [session, changes[0], changes[1], written, *owed]
