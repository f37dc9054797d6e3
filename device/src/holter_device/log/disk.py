"""The log of a data directory: one thread that writes its file, and a few that read it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from ..clock import UtcEstimate
from ..grid import Grid
from ..samples import Channel, ModelChange, SampleFormat, Session
from .directory import DirectoryLock
from .pending import Batch, Result
from .reader import (
    FramePage,
    Readers,
    WindowPage,
    load_changes,
    load_earliest,
    load_frames,
    load_next_session,
    load_session,
    load_session_at,
    load_windows,
)
from .recording import Usage
from .recovery import Unfinished, load_unfinished
from .reserve import Reserve
from .schema import StoredSession
from .writer import Writer

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DiskStorage:
    """A Storage in one directory, which is locked; made by `open`."""

    def __init__(
        self,
        directory: Path,
        lock: DirectoryLock,
        reserve: Reserve,
        writer: Writer,
        thread: ThreadPoolExecutor,
    ) -> None:
        self.log_id = writer.log_id
        self.last = writer.last
        self._lock = lock
        self._reserve = reserve
        self._writer = writer
        self._thread = thread
        self._readers = Readers(directory)

    @classmethod
    async def open(cls, directory: Path, retention_ns: float, retention_bytes: int) -> Self:
        """Open the file of a data directory; both are made where they are missing.

        Raises:
            AlreadyRunningError: another process has the directory.
            DataDirectoryError: it cannot be written, is damaged, or of a newer holterd.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="log-writer")
        loop = asyncio.get_running_loop()
        kept = (retention_ns, retention_bytes)
        try:
            opened = await loop.run_in_executor(thread, _open, directory, *kept)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(directory, *opened, thread)

    @property
    def usage(self) -> Usage:
        """What the file holds, as Storage.usage."""
        return self._writer.usage

    @property
    def row_frames(self) -> int:
        """Frames of the longest row of the running session."""
        return self._writer.row_frames

    async def begin(
        self,
        grid: Grid,
        channels: tuple[Channel, ...],
        sample_format: SampleFormat,
        boot_id: str,
        utc: UtcEstimate,
    ) -> Session:
        """Write down the next session, as Storage.begin."""
        begin = self._writer.begin
        return await self._write(
            lambda: self._reserve.spend(begin, grid, channels, sample_format, boot_id, utc)
        )

    async def commit(self, batch: Batch, utc: UtcEstimate) -> None:
        """Write a batch and drop what is too old, as Storage.commit."""
        await self._write(self._commit, batch, utc)

    async def append_windows(self, windows: Sequence[Result]) -> None:
        """Write windows of a finished session, as Storage.append_windows."""
        await self._write(lambda: self._reserve.spend(self._writer.append_windows, windows))

    async def unfinished(self) -> Unfinished | None:
        """What an earlier run left, as Storage.unfinished."""
        if self.last is None:
            return None
        return await self._readers.read(load_unfinished, self.last)

    async def close(self) -> None:
        """Close the file, and let another process have the directory."""
        await asyncio.to_thread(self._readers.close)
        await self._write(self._writer.close)
        self._thread.shutdown(wait=False)
        self._lock.release()

    async def session(self, session_id: int) -> StoredSession | None:
        """One session, as Pages.session."""
        return await self._readers.read(load_session, session_id)

    async def next_session(self, after: int, upto: int) -> StoredSession | None:
        """The session after one, as Pages.next_session."""
        return await self._readers.read(load_next_session, after, upto)

    async def session_at(self, utc_ns: int, upto: int) -> StoredSession | None:
        """The session of a time, as Pages.session_at."""
        return await self._readers.read(load_session_at, utc_ns, upto)

    async def earliest(self) -> tuple[int, int] | None:
        """The first frame, as Pages.earliest."""
        return await self._readers.read(load_earliest)

    async def frames(self, session_id: int, sequence: int, page_bytes: int) -> FramePage:
        """A page of frames, as Pages.frames."""
        return await self._readers.read(load_frames, session_id, sequence, page_bytes)

    def frames_ahead(self, session_id: int, sequence: int, page_bytes: int) -> Awaitable[FramePage]:
        """A page of frames that is being read, as Pages.frames_ahead."""
        started = self._readers.start(load_frames, session_id, sequence, page_bytes)
        return _Started(self._readers, started)

    async def windows(self, session_id: int, sequence: int, upto: int) -> WindowPage:
        """A page of windows, as Pages.windows."""
        return await self._readers.read(load_windows, session_id, sequence, upto)

    async def changes(self, session_id: int) -> Sequence[ModelChange]:
        """The session's model changes, as Pages.changes."""
        return await self._readers.read(load_changes, session_id)

    def _commit(self, batch: Batch, utc: UtcEstimate) -> None:
        self._writer.commit(batch, utc)
        self._reserve.hold()  # where the disk was too full for it

    async def _write(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run one of the writer's methods in the writer's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))


class _Started(Awaitable[FramePage]):
    """A page that is being read; nothing is said where nobody awaits it."""

    def __init__(self, readers: Readers, started: Future[FramePage]) -> None:
        self._readers = readers
        self._started = started

    def __await__(self) -> Generator[Any, Any, FramePage]:
        return self._readers.result(self._started).__await__()


def _open(
    directory: Path, retention_ns: float, retention_bytes: int
) -> tuple[DirectoryLock, Reserve, Writer]:
    lock = DirectoryLock(directory)
    try:
        reserve = Reserve(directory)
        writer = reserve.spend(Writer, directory, retention_ns, retention_bytes)
        reserve.hold()
        return lock, reserve, writer
    except BaseException:
        lock.release()
        raise
