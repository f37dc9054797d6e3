"""What the Log promises of sessions, starts, the live edge and the end."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from holter_device.clock import UtcEstimate
from holter_device.errors import (
    LogNotFoundError,
    SequenceOutOfRangeError,
    SessionNotFoundError,
)
from holter_device.grid import GapCause
from holter_device.log import (
    End,
    EndReason,
    Position,
    StartEarliest,
    StartLive,
    StartPosition,
    StartTime,
)
from holter_device.log.schema import UNKNOWN_NS
from holter_device.samples import Block, Gap, LeadOffRun, SampleFormat, Session
from support.logs import RATE_HZ, begin, block, drain, gap, joined, opened, take, there

TINY_TAIL = 0.05  # seconds, so 5 frames: what is committed is read from the file
SECOND_NS = 1_000_000_000


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where a log is: laws that need no disk hold for one in memory too."""
    return tmp_path if request.param == "disk" else None


class TestSessions:
    async def test_the_next_session_tells_of_the_one_before(self, tmp_path: Path) -> None:
        """A session tells the number and the end of the one before it, and an exact hole."""
        async with opened(tmp_path) as log:
            first = await begin(log)
            log.append([block(first, 0, 150)])
        async with opened(tmp_path) as log:
            second = await begin(log, start_ns=4 * SECOND_NS)
        assert (first.session_id, first.previous_session_id) == (1, 0)
        assert (second.session_id, second.previous_session_id) == (2, 1)
        assert second.previous_next_sequence == 150
        assert (second.hole_ns, second.hole_uncertainty_ns) == (2_500_000_000, 0)

    async def test_a_hole_across_boots_is_measured_by_utc(self, tmp_path: Path) -> None:
        """The hole between two boots is by the newest UTC of each, with both uncertainties."""
        stepped = UtcEstimate(130 * SECOND_NS, 3, synchronized=True)
        async with opened(tmp_path, utc=stepped) as log:
            utc = UtcEstimate(100 * SECOND_NS, 9, synchronized=True)
            first = await begin(log, boot_id="one", utc=utc)
            log.append([block(first, 0, 200)])
        async with opened(tmp_path) as log:
            utc = UtcEstimate(400 * SECOND_NS, 4, synchronized=True)
            second = await begin(log, start_ns=SECOND_NS, boot_id="two", utc=utc)
        assert (second.hole_ns, second.hole_uncertainty_ns) == (269 * SECOND_NS, 7)

    @pytest.mark.parametrize(
        ("offset_ns", "uncertainty_ns"), [(-SECOND_NS // 2, 1000), (0, SECOND_NS // 2)]
    )
    async def test_a_hole_is_as_sure_as_the_clock_was_at_its_end(
        self, tmp_path: Path, offset_ns: int, uncertainty_ns: int
    ) -> None:
        """A small step counts, where the clock is known better; so does a clock that got worse."""
        ends = UtcEstimate(100 * SECOND_NS + offset_ns, uncertainty_ns, synchronized=True)
        async with opened(tmp_path, utc=ends) as log:
            utc = UtcEstimate(100 * SECOND_NS, 1000, synchronized=True)
            first = await begin(log, boot_id="one", utc=utc)
            log.append([block(first, 0, 200)])
        async with opened(tmp_path) as log:
            utc = UtcEstimate(400 * SECOND_NS, 1000, synchronized=True)
            second = await begin(log, start_ns=SECOND_NS, boot_id="two", utc=utc)
        assert second.hole_ns == 299 * SECOND_NS - offset_ns
        assert second.hole_uncertainty_ns == uncertainty_ns + 1000

    @pytest.mark.parametrize("held", [(False, True), (True, False), (False, False)])
    async def test_a_clock_that_nobody_holds_measures_no_hole(
        self, tmp_path: Path, held: tuple[bool, bool]
    ) -> None:
        """Across boots the hole's uncertainty is unknown unless both clocks were synchronized.

        What counts is whether the clock was when the session last was written down.
        """
        ends = UtcEstimate(100 * SECOND_NS, 9, held[0])
        begins = UtcEstimate(400 * SECOND_NS, 4, held[1])
        async with opened(tmp_path, utc=ends) as log:
            utc = dataclasses.replace(ends, synchronized=not held[0])
            log.append([block(await begin(log, boot_id="one", utc=utc), 0, 200)])
        async with opened(tmp_path) as log:
            second = await begin(log, start_ns=SECOND_NS, boot_id="two", utc=begins)
        assert (second.hole_ns, second.hole_uncertainty_ns) == (299 * SECOND_NS, UNKNOWN_NS)

    async def test_a_hole_is_never_negative(self, place: Path | None) -> None:
        """Where clocks say that a session began before the last one ended, the doubt says so."""
        async with opened(place) as log:
            first = await begin(log, start_ns=SECOND_NS)
            log.append([block(first, 0, 200)])
            second = await begin(log, start_ns=0)
        assert (second.hole_ns, second.hole_uncertainty_ns) == (0, 3 * SECOND_NS)

    async def test_sessions_are_told_as_they_were_begun(self, tmp_path: Path) -> None:
        """What a reader is told of a session after a restart is what begin_session returned."""
        async with opened(tmp_path) as log:
            await begin(log)
            utc = UtcEstimate(12, 34)
            second = await begin(log, rate_hz=360 / 7, channels=4, boot_id="other", utc=utc)
        async with opened(tmp_path) as log:
            assert await there(await log.samples(StartPosition(2, 0))) == [second]

    async def test_the_log_keeps_its_identity(self, tmp_path: Path) -> None:
        """A directory's log has one log_id for ever, another directory's has another."""
        async with opened(tmp_path / "a") as log:
            first = log.log_id
        async with opened(tmp_path / "a") as log:
            assert log.log_id == first
        async with opened(tmp_path / "b") as log:
            assert log.log_id != first

    async def test_a_finished_session_is_followed_by_the_next(self, tmp_path: Path) -> None:
        """A cursor goes from a session's last frame to the next session's first."""
        async with opened(tmp_path) as log:
            first = await begin(log)
            log.append([block(first, 0, 10)])
            second = await begin(log, start_ns=SECOND_NS, rate_hz=50, channels=2)
            log.append([block(second, 0, 7)])
            cursor = await log.samples(StartPosition(1, 4, log.log_id))
            log.finish(EndReason.SOURCE_ENDED)
            assert await drain(cursor) == [
                first,
                block(first, 4, 6),
                second,
                block(second, 0, 7),
                End(2, 7, EndReason.SOURCE_ENDED),
            ]

    async def test_nothing_is_appended_between_sessions(self, place: Path | None) -> None:
        """What arrives while a session begins, or after the end, is refused."""
        async with opened(place) as log:
            with pytest.raises(RuntimeError, match="no session is running"):
                log.append([Block(1, 0, 1, b"x")])
            session = await begin(log)
            beginning = asyncio.create_task(begin(log))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="no session is running"):
                log.append([block(session, 0, 1)])
            await beginning
            log.finish(EndReason.STOPPING)
            with pytest.raises(RuntimeError, match="no session is running"):
                log.append([block(session, 0, 1)])


class TestStarts:
    async def test_live_gives_what_arrives_from_now_on(self, place: Path | None) -> None:
        """A live cursor begins with the first frame that arrives after it was made."""
        async with opened(place) as log:
            session = await begin(log)
            log.append([block(session, 0, 10)])
            cursor = await log.samples(StartLive(), max_latency=0)
            log.append([block(session, 10, 5)])
            items = await take(cursor, lambda items: len(items) == 2)
        assert items == [session, block(session, 10, 5)]

    async def test_live_before_the_first_session_waits_for_it(self, place: Path | None) -> None:
        """A live cursor that is made before a session begins has all of that session."""
        async with opened(place) as log:
            cursor = await log.samples(StartLive(), max_latency=0)
            assert await cursor.next(timeout=0) == []
            reading = asyncio.create_task(take(cursor, lambda items: len(items) == 2))
            await asyncio.sleep(0)
            session = await begin(log)
            log.append([block(session, 0, 3)])
            assert await reading == [session, block(session, 0, 3)]

    async def test_earliest_gives_all(self, tmp_path: Path) -> None:
        """The earliest start has every frame of every session."""
        async with opened(tmp_path) as log:
            first = await begin(log)
            log.append([block(first, 0, 10)])
        async with opened(tmp_path) as log:
            second = await begin(log)
            log.append([block(second, 0, 10)])
            items = await there(await log.samples(StartEarliest(), max_latency=0))
        assert items == [first, block(first, 0, 10), second, block(second, 0, 10)]

    async def test_a_position_past_the_end_of_a_finished_session_goes_on(
        self, place: Path | None
    ) -> None:
        """Past a finished session's last frame the stream goes on with the next session."""
        async with opened(place) as log:
            first = await begin(log)
            log.append([block(first, 0, 10)])
            second = await begin(log)
            log.append([block(second, 0, 2)])
            for sequence in (10, 11, 1 << 50, (1 << 63) - 1):
                cursor = await log.samples(StartPosition(1, sequence), max_latency=0)
                assert await there(cursor) == [first, second, block(second, 0, 2)]

    async def test_a_position_past_the_end_of_the_running_session_is_refused(
        self, place: Path | None
    ) -> None:
        """The running session can be joined at its next frame, not later."""
        async with opened(place) as log:
            session = await begin(log)
            log.append([block(session, 0, 10)])
            await log.samples(StartPosition(1, 10))
            for sequence in (11, 1 << 50, -1):
                with pytest.raises(SequenceOutOfRangeError, match="come to sequence 10"):
                    await log.samples(StartPosition(1, sequence))

    async def test_an_unknown_session_is_refused(self, place: Path | None) -> None:
        """A session that the log does not have is an error that says so."""
        async with opened(place) as log:
            await begin(log)
            for session_id in (0, 2, -1, 1 << 40, (1 << 63) - 1):
                with pytest.raises(SessionNotFoundError, match="no session"):
                    await log.samples(StartPosition(session_id, 0))

    async def test_another_log_is_refused(self, place: Path | None) -> None:
        """A position that names another log is an error that tells both."""
        async with opened(place) as log:
            await begin(log)
            with pytest.raises(LogNotFoundError) as caught:
                await log.classifications(StartPosition(1, 0, "other"))
            assert caught.value.facts == {"log_id": log.log_id, "wanted": "other"}

    async def test_a_time_is_mapped_by_utc(self, place: Path | None) -> None:
        """A start by time begins at the first frame at or after it, in a hole with the next."""
        base = 1_700_000_000 * SECOND_NS
        utc = UtcEstimate(base, 0)
        async with opened(place, utc=utc) as log:
            first = await begin(log, start_ns=SECOND_NS, utc=utc)
            log.append([block(first, 0, 100)])
            second = await begin(log, start_ns=10 * SECOND_NS, utc=utc)
            log.append([block(second, 0, 100)])

            async def at(seconds: float) -> tuple[int, int]:
                start = StartTime(base + round(seconds * SECOND_NS))
                cursor = await log.samples(start, max_latency=0)
                return cursor.position.session_id, cursor.position.next_sequence

            assert await at(0) == (1, 0)
            assert await at(1.5) == (1, 50)
            assert await at(1.501) == (1, 51)
            assert await at(5) == (2, 0)
            assert await at(10.2) == (2, 20)
            assert await at(99) == (2, 100)


class TestLiveEdge:
    async def test_max_latency_gathers_frames(self, place: Path | None) -> None:
        """At the live edge a block is of max_latency's frames, joined from what arrived."""
        async with opened(place) as log:
            session = await begin(log)
            cursor = await log.samples(StartLive(), max_latency=10 / RATE_HZ)
            assert await cursor.next() == [session]
            reading = asyncio.create_task(cursor.next())
            for first in range(0, 9, 3):
                log.append([block(session, first, 3, late=1)])
                await asyncio.sleep(0)
                assert not reading.done()
            log.append([block(session, 9, 3, late=1)])
            assert await reading == [block(session, 0, 12, late=4)]
            assert cursor.position == Position(1, 12)

    async def test_a_few_frames_do_not_wait_for_more_than_max_latency(
        self, place: Path | None
    ) -> None:
        """Frames that are followed by none are delivered all the same."""
        async with opened(place) as log:
            session = await begin(log)
            cursor = await log.samples(StartLive(), max_latency=0.2)
            log.append([block(session, 0, 3)])
            items = await take(cursor, lambda items: len(items) == 2)
        assert items == [session, block(session, 0, 3)]

    async def test_a_simulated_clock_gathers_by_real_time(self, place: Path | None) -> None:
        """Where time is simulated, what arrives during max_latency of real time is joined."""
        async with opened(place, real_time=False) as log:
            session = await begin(log)
            cursor = await log.samples(StartLive(), max_latency=0.05)
            assert await cursor.next() == [session]
            reading = asyncio.create_task(cursor.next())
            await asyncio.sleep(0)
            for first in range(0, 5000, 50):
                log.append([block(session, first, 50)])
                await asyncio.sleep(0)
            assert await reading == [block(session, 0, 5000)]

    async def test_a_timeout_gives_nothing_and_loses_nothing(self, place: Path | None) -> None:
        """After a timeout the next call has what the timed-out one would have had."""
        async with opened(place) as log:
            session = await begin(log)
            cursor = await log.samples(StartLive(), max_latency=10)
            assert await cursor.next() == [session]
            assert await cursor.next(timeout=0.001) == []
            log.append([block(session, 0, 3)])
            assert await cursor.next(timeout=0.001) == []
            log.append([block(session, 3, 997)])
            assert await cursor.next() == [block(session, 0, 1000)]

    async def test_a_cancelled_reader_loses_nothing(self, place: Path | None) -> None:
        """A call that is cancelled takes nothing, and leaves nobody waiting."""
        async with opened(place) as log:
            session = await begin(log)
            cursor = await log.samples(StartLive(), max_latency=0)
            reading = asyncio.create_task(cursor.next())
            assert await reading == [session]
            reading = asyncio.create_task(cursor.next())
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
            assert log._feed.frames.waiting_count == 0
            log.append([block(session, 0, 3)])
            assert await cursor.next() == [block(session, 0, 3)]

    async def test_many_readers_are_all_woken(self, tmp_path: Path) -> None:
        """Each of a hundred readers with latencies of their own gets every frame once."""
        async with opened(tmp_path, commit_interval=0.001, tail_seconds=TINY_TAIL) as log:
            session = await begin(log)
            cursors = [
                await log.samples(StartLive(), max_latency=index / RATE_HZ) for index in range(100)
            ]
            readers = [asyncio.create_task(drain(cursor)) for cursor in cursors]
            for first in range(0, 3000, 3):
                log.append([block(session, first, 3)])
                await asyncio.sleep(0)
            log.finish(EndReason.STOPPING)
            for items in await asyncio.gather(*readers):
                assert items[0] == session
                assert items[-1] == End(1, 3000, EndReason.STOPPING)
                blocks = [item for item in items if isinstance(item, Block)]
                assert b"".join(item.counts for item in blocks) == block(session, 0, 3000).counts


class TestBlocks:
    async def test_backfill_is_joined_to_64_kib(self, tmp_path: Path) -> None:
        """Stored rows come joined, up to 64 KiB of counts a block, and split at gaps."""
        async with opened(tmp_path, tail_seconds=TINY_TAIL) as log:
            session = await begin(log, channels=2, sample_format=SampleFormat.S16LE)
            log.append([block(session, first, 50) for first in range(0, 40_000, 50)])
            log.append([gap(session, 40_000, 5), gap(session, 40_005, 5)])
            log.append([gap(session, 40_010, 1, GapCause.BUS_ERROR), block(session, 40_011, 9)])
            await log.commit()
            items = await there(await log.samples(StartEarliest(), max_latency=0))
        blocks = [item for item in items if isinstance(item, Block)]
        assert max(len(item.counts) for item in blocks) <= 1 << 16
        assert len(blocks) <= 5
        assert [item for item in items if isinstance(item, Gap)] == [
            gap(session, 40_000, 10),
            gap(session, 40_010, 1, GapCause.BUS_ERROR),
        ]
        counts = b"".join(item.counts for item in blocks)
        assert counts == block(session, 0, 40_000).counts + block(session, 40_011, 9).counts

    @pytest.mark.parametrize("tail_seconds", [TINY_TAIL, 100.0])
    async def test_a_cursor_may_begin_inside_a_block(
        self, tmp_path: Path, tail_seconds: float
    ) -> None:
        """A block, its lead-off runs and a gap are cut where the cursor begins."""
        async with opened(tmp_path, tail_seconds=tail_seconds) as log:
            session = await begin(log)
            log.append([block(session, 0, 10, off=True), gap(session, 10, 10)])
            log.append([block(session, 20, 10)])
            await log.commit()
            items = await there(await log.samples(StartPosition(1, 7), max_latency=0))
            assert items[1:] == [
                Block(1, 7, 3, block(session, 7, 3).counts, (LeadOffRun(7, 3),)),
                gap(session, 10, 10),
                block(session, 20, 10),
            ]
            items = await there(await log.samples(StartPosition(1, 15), max_latency=0))
            assert items[1:] == [gap(session, 15, 5), block(session, 20, 10)]

    async def test_what_does_not_follow_is_refused_whole(self, place: Path | None) -> None:
        """An item that does not follow on what is there is an error, and nothing is added."""
        async with opened(place) as log:
            session = await begin(log)
            log.append([block(session, 0, 10)])
            with pytest.raises(ValueError, match="frame 15 comes next, not 16"):
                log.append([block(session, 10, 5), block(session, 16, 5)])
            with pytest.raises(ValueError, match="of 2 bytes should have 5"):
                log.append([Block(1, 10, 5, b"zz")])
            items = await there(await log.samples(StartEarliest(), max_latency=0))
        assert items == [session, block(session, 0, 10)]


class TestEnd:
    async def test_everything_is_delivered_before_the_end(self, tmp_path: Path) -> None:
        """Readers at any place get all that is left, then the End, then no more."""
        async with opened(tmp_path, tail_seconds=TINY_TAIL) as log:
            session = await begin(log)
            slow = await log.samples(StartEarliest(), max_latency=10)
            live = await log.samples(StartLive(), max_latency=10)
            reading = asyncio.create_task(drain(live))
            for first in range(0, 100, 10):
                log.append([block(session, first, 10)])
            await log.commit()
            log.append([block(session, 100, 1)])
            log.finish(EndReason.SOURCE_ENDED)
            for items in (await reading, await drain(slow)):
                assert items[0] == session
                assert items[-1] == End(1, 101, EndReason.SOURCE_ENDED)
                assert joined(items) == [block(session, 0, 101)]
            with pytest.raises(RuntimeError, match="End"):
                await slow.next()

    async def test_a_log_without_a_session_ends(self, place: Path | None) -> None:
        """A cursor that waits for the first session gets the End at once."""
        async with opened(place) as log:
            cursors = [await log.samples(StartLive()), await log.classifications(StartEarliest())]
            readers = [asyncio.create_task(drain(cursor)) for cursor in cursors]
            await asyncio.sleep(0)
            log.finish(EndReason.STOPPING)
            for reading in readers:
                assert await reading == [End(0, 0, EndReason.STOPPING)]

    async def test_close_ends_cursors_too(self, place: Path | None) -> None:
        """A reader that waits when the log is closed gets the End."""
        async with opened(place) as log:
            session = await begin(log)
            reading = asyncio.create_task(drain(await log.samples(StartLive())))
            await asyncio.sleep(0)
        assert await reading == [session, End(1, 0, EndReason.STOPPING)]
        assert isinstance(session, Session)
