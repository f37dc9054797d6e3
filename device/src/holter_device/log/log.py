"""The log of one data directory: what is appended, kept, and read by any number of cursors."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import sqlite3
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Self, TypeVar

from ..clock import Clock, UtcEstimate
from ..errors import DataDirectoryError
from ..grid import Grid
from ..samples import Channel, Classification, ModelChange, SampleFormat, Session
from .cursor import Feed
from .disk import DiskStorage
from .locate import locate
from .memory import MemoryStorage
from .pending import Batch, Item
from .places import EndReason, Start
from .recording import Recording
from .recovery import Unfinished
from .result_cursor import ClassificationCursor
from .retention import HOUR_NS
from .sample_cursor import SampleCursor
from .schema import key_of
from .storage import Storage
from .tail import Tail
from .wakeups import Wakeups

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# So much waits for the next commit at most, and so much is written in one transaction.
_COMMIT_BYTES = 1 << 20
_TRANSACTION_BYTES = 1 << 20
_NO_END = 1 << 63


class Log:
    """One append-only log of blocks, gaps, classifications and model changes; made by `open`.

    All methods are for one event loop. The newest minutes of the running session are in memory,
    all that retention keeps is in the storage, and a cursor reads where its place is.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        commit_interval: float,
        real_time: bool = True,
        tail_seconds: float = 120.0,
        max_uncommitted: int = 16 << 20,
    ) -> None:
        self.log_id = storage.log_id
        self._storage = storage
        last = storage.last.session.session_id if storage.last else 0
        self._feed = Feed(storage, real_time, last_session_id=last)
        self._clock = clock
        self._commit_interval = commit_interval
        self._tail_seconds = tail_seconds
        self._max_uncommitted = max_uncommitted
        self._pending = Batch()
        self._uncommitted = 0
        self._write_seconds = 0.0
        self._committed = Wakeups()
        self._commit_lock = asyncio.Lock()
        self._hurry = asyncio.Event()
        self._recording = storage.usage.told(Recording())
        self._closing = False
        self._beginning = False
        self._committing = asyncio.create_task(self._commit_now_and_then())

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        retention_hours: float,
        commit_interval: float,
        clock: Clock,
        retention_bytes: int = 0,
        real_time: bool = True,
        tail_seconds: float = 120.0,
        max_uncommitted: int = 16 << 20,
    ) -> Self:
        """Open the log of a data directory, which is made where it is missing.

        Args:
            directory: the data directory; no other process may have it open.
            retention_hours: how many hours of recording are kept; an hour more may be.
            commit_interval: real seconds between two writes: what a power cut may lose.
            clock: tells UTC as it is seen now.
            retention_bytes: the size on the disk above which the oldest is dropped, or less where
                the disk has no room for so much; 0 for no limit.
            real_time: whether the device's clock runs in real time; it decides how a cursor counts
                its max_latency.
            tail_seconds: how much of the running session is kept in memory, at least.
            max_uncommitted: bytes that may wait for the disk; while it refuses to be written the
                oldest of more are dropped, as a Gap.

        Raises:
            AlreadyRunningError: another process has the directory.
            DataDirectoryError: it cannot be written, is damaged, or of a newer holterd.
        """
        kept = (retention_hours * HOUR_NS, retention_bytes)
        return cls(
            await DiskStorage.open(directory, *kept),
            clock,
            commit_interval=commit_interval,
            real_time=real_time,
            tail_seconds=tail_seconds,
            max_uncommitted=max_uncommitted,
        )

    @classmethod
    async def open_in_memory(
        cls,
        clock: Clock,
        *,
        commit_interval: float = 10.0,
        real_time: bool = True,
        tail_seconds: float = 120.0,
    ) -> Self:
        """Open a log that is gone with its process, and keeps no more than its tail; as `open`."""
        return cls(
            MemoryStorage(),
            clock,
            commit_interval=commit_interval,
            real_time=real_time,
            tail_seconds=tail_seconds,
        )

    @property
    def recording(self) -> Recording:
        """How the log does on its disk, as of the last commit; asking reads nothing."""
        return self._recording

    @property
    def watched(self) -> bool:
        """Whether anybody waits for what is appended next."""
        return self._feed.frames.waiting_count + self._feed.results.waiting_count > 0

    async def begin_session(
        self,
        *,
        grid: Grid,
        channels: tuple[Channel, ...],
        sample_format: SampleFormat,
        boot_id: str,
        utc: UtcEstimate,
    ) -> Session:
        """Begin the next session, which ends the running one; it is durable before this returns.

        Nothing can be appended meanwhile.

        Raises:
            DataDirectoryError: it could not be written; the running session goes on.
        """
        self._beginning = True
        try:
            await self.commit()
            if self._pending.size:
                raise DataDirectoryError("the log cannot be written: no session can begin")
            session = await self._timed(
                self._storage.begin(grid, channels, sample_format, boot_id, utc)
            )
        finally:
            self._beginning = False
        begun = Recording(stopped=self._recording.stopped, error=self._recording.error)
        self._recording = self._storage.usage.told(begun)
        self._feed.tail = Tail(session, max(1, math.ceil(grid.rate_hz * self._tail_seconds)))
        self._feed.last_session_id = session.session_id
        self._feed.frames.reach(key_of(session.session_id, 0))
        self._feed.results.reach(self._feed.results.level + 1)
        return session

    def append(self, items: Sequence[Item]) -> None:
        """Add to the running session; readers have it at once, the file with the next commit.

        Frames follow on frames and windows on windows. A ModelChange stands in for those before it
        with the same or a later swap_sequence.

        Raises:
            ValueError: an item does not follow on what is there; none was added.
            RuntimeError: no session is running.
        """
        tail = self._feed.tail
        if tail is None or self._beginning or self._feed.end is not None:
            raise RuntimeError("no session is running")
        tail.append(items, asyncio.get_running_loop().time())
        before = self._pending.size
        self._pending.add(items)
        self._uncommitted += self._pending.size - before
        self._feed.frames.reach(key_of(tail.session.session_id, tail.next_sequence))
        if any(isinstance(item, (Classification, ModelChange)) for item in items):
            self._feed.results.reach(self._feed.results.level + 1)
        if self._uncommitted >= _COMMIT_BYTES and not self._recording.stopped:
            self._hurry.set()

    async def backpressure(self) -> None:
        """Wait while much more has been appended than written."""
        while self._uncommitted > self._max_uncommitted:
            self._hurry.set()
            await self._committed.wait(self._committed.level + 1)

    async def samples(self, start: Start, *, max_latency: float = 0.1) -> SampleCursor:
        """Make a cursor on frames.

        Args:
            start: where it begins.
            max_latency: seconds that a frame may wait at the live edge for others.

        Raises:
            LogNotFoundError, SessionNotFoundError: there is no such place.
            SequenceOutOfRangeError: the running session has not come that far.
        """
        return SampleCursor(self._feed, await locate(self._feed, self.log_id, start), max_latency)

    async def classifications(self, start: Start) -> ClassificationCursor:
        """Make a cursor on windows; errors as `samples`."""
        return ClassificationCursor(self._feed, await locate(self._feed, self.log_id, start))

    def finish(self, reason: EndReason) -> None:
        """Let every cursor end when it has delivered what there is. Nothing may be appended."""
        if self._feed.end is None:
            self._feed.end = reason
            self._feed.frames.reach(_NO_END)
            self._feed.results.reach(_NO_END)

    async def unfinished(self) -> Unfinished | None:
        """What an earlier run left; to be asked before the first session. None in a new log.

        Raises:
            DataDirectoryError: the file cannot be read.
        """
        return await self._storage.unfinished()

    async def append_finished(self, windows: Sequence[Classification]) -> None:
        """Add windows to the session that `unfinished` told; durable before this returns.

        Raises:
            DataDirectoryError: they could not be written, or are there already; none was added.
        """
        await self._timed(self._storage.append_windows(list(windows)))
        self._feed.results.reach(self._feed.results.level + 1)

    async def commit(self) -> None:
        """Write what was appended up to now. Does not raise where the disk refuses: see the log."""
        await asyncio.shield(asyncio.ensure_future(self._commit()))

    async def close(self) -> None:
        """Write what was appended, and let go of the directory. Cursors end as by `finish`."""
        if self._closing:
            return
        self._closing = True
        self.finish(EndReason.STOPPING)
        self._hurry.set()
        await self._committing
        await self.commit()
        await self._storage.close()

    async def _timed(self, writing: Awaitable[_T]) -> _T:
        """Write, and take note of how long it took."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            return await writing
        finally:
            self._write_seconds = loop.time() - begun

    async def _commit_now_and_then(self) -> None:
        """Commit so often that the file has what is appended within a commit_interval.

        So a commit begins earlier by as long as the disk took for the one before it; a disk that
        takes very long has a pause all the same.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while not self._closing:
            due = begun + self._commit_interval - self._write_seconds
            pause = loop.time() + self._commit_interval / 4
            timer = loop.call_at(max(due, pause), self._hurry.set)
            await self._hurry.wait()
            timer.cancel()
            self._hurry.clear()
            begun = loop.time()
            await self._commit()

    async def _commit(self) -> None:
        """Write what waits, in transactions of a bounded size, until the disk refuses one."""
        async with self._commit_lock:
            waiting, self._pending = self._pending, Batch()
            while waiting.size:
                batch = waiting.take(_TRANSACTION_BYTES)
                try:
                    await self._timed(self._storage.commit(batch, self._clock.utc()))
                except Exception as error:  # whatever it is, live streams must go on
                    self._refused(batch.followed_by(waiting), error)
                    return
                self._settled(batch)

    def _settled(self, batch: Batch) -> None:
        """Let go of what the file has now."""
        if self._recording.stopped:
            _log.info("the disk takes the log again")
        durable = batch.frames[-1].next_sequence if batch.frames else 0
        self._recording = dataclasses.replace(
            self._storage.usage.told(self._recording),
            stopped=False,
            error="",
            durable_sequence=max(durable, self._recording.durable_sequence),
        )
        self._uncommitted -= batch.size
        self._committed.reach(self._committed.level + 1)
        if self._feed.tail is not None:
            self._feed.tail.settle(batch)

    def _refused(self, batch: Batch, error: Exception) -> None:
        """Keep what could not be written, as far as there is room, for the next commit."""
        text = (
            f"the disk refuses the log ({error}): what is sampled is streamed from memory and will "
            "be lost to who asks for it later; make room on the disk, or check it"
        )
        if not self._recording.stopped:
            _log.error(text, exc_info=None if isinstance(error, sqlite3.Error) else error)
        tail = self._feed.tail
        if tail is None:
            return
        row_frames = self._storage.row_frames
        dropped = self._pending.put_back(batch, row_frames, self._max_uncommitted)
        tail.drop(dropped)
        tail.condense(row_frames)
        lost = self._recording.lost_frame_count + dropped.lost_frame_count
        self._recording = dataclasses.replace(
            self._recording, stopped=True, error=text, lost_frame_count=lost
        )
        self._uncommitted = self._pending.size
        self._committed.reach(self._committed.level + 1)
