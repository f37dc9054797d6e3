"""What a log in memory has of its own: what its tail forgets is gone, and said to be."""

from __future__ import annotations

import asyncio

from holter_device.grid import GapCause
from holter_device.log import End, EndReason, StartEarliest, StartLive, StartPosition
from holter_device.samples import Gap, ModelChange
from support.logs import begin, block, drain, opened, there, window

TINY_TAIL = 0.05  # seconds, so 5 frames


async def test_what_the_tail_forgot_is_a_gap() -> None:
    """A reader of frames and one of windows that come late are told what they missed, exactly."""
    async with opened(None, tail_seconds=TINY_TAIL) as log:
        session = await begin(log)
        for first in range(0, 100, 2):
            log.append([block(session, first, 2), window(session, first + 1)])
        await log.commit()
        frames = await there(await log.samples(StartPosition(1, 10), max_latency=0))
        kept_from = frames[2].first_sequence
        assert 90 <= kept_from <= 95
        assert frames[1] == Gap(1, 10, kept_from - 10, GapCause.RETENTION)
        assert frames[2:] == [block(session, kept_from, 100 - kept_from)]
        windows = await there(await log.classifications(StartPosition(1, 10)))
        assert windows[1] == Gap(1, 10, windows[2].last_sequence - 1 - 10, GapCause.RETENTION)
        ends = [item.last_sequence for item in windows[2:]]
        assert ends == list(range(ends[0], 100, 2))
        assert ends[0] <= kept_from + 1


async def test_nothing_is_kept_of_a_session_that_is_over() -> None:
    """Of a session before the running one the log tells where it ended, its models, and a gap."""
    async with opened(None) as log:
        first = await begin(log)
        log.append([block(first, 0, 10), ModelChange(1, 4, "a"), ModelChange(1, 2, "b")])
        second = await begin(log, start_ns=10**9)
        log.append([block(second, 0, 3)])
        assert (second.previous_session_id, second.previous_next_sequence) == (1, 10)
        frames = await log.samples(StartPosition(1, 4))
        windows = await log.classifications(StartPosition(1, 4))
        log.finish(EndReason.STOPPING)
        gap = Gap(1, 4, 6, GapCause.RETENTION)
        end = End(2, 3, EndReason.STOPPING)
        assert await drain(frames) == [first, gap, second, block(second, 0, 3), end]
        told = await drain(windows)
        assert told[:4] == [first, ModelChange(1, 2, "b"), gap, second]


async def test_each_log_is_another_one() -> None:
    """Two logs in memory have two identities, and each begins with session 1."""
    async with opened(None) as one, opened(None) as other:
        assert one.log_id != other.log_id
        assert await one.unfinished() is None
        assert (await begin(one)).session_id == (await begin(other)).session_id == 1


async def test_it_knows_whether_it_is_watched() -> None:
    """A log is watched while a reader waits for frames or windows, and at no other time."""
    async with opened(None) as log:
        session = await begin(log)
        assert not log.watched
        for cursor in (await log.samples(StartLive()), await log.classifications(StartEarliest())):
            await cursor.next()
            reading = asyncio.create_task(cursor.next())
            await asyncio.sleep(0)
            assert log.watched
            reading.cancel()
            await asyncio.wait([reading])
            assert not log.watched
        log.append([block(session, 0, 1)])
