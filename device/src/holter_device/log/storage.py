"""Where a log is kept: what is written goes in, and pages of it come out.

`DiskStorage` is the file of a data directory. `MemoryStorage` keeps no frames at all: what the
log's tail has forgotten is gone, as if retention had dropped it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from ..clock import UtcEstimate
from ..grid import Grid
from ..samples import Channel, ModelChange, SampleFormat, Session
from .pending import Batch, Result
from .reader import FramePage, WindowPage
from .recording import Usage
from .recovery import Unfinished
from .schema import StoredSession


class Pages(Protocol):
    """What cursors read of a log that is not in its tail.

    Every call raises DataDirectoryError where the storage cannot be read, or is closed.
    """

    async def session(self, session_id: int) -> StoredSession | None:
        """One session; None where there is none of that number."""

    async def next_session(self, after: int, upto: int) -> StoredSession | None:
        """The first session above `after`, up to and with `upto`; None where there is none."""

    async def session_at(self, utc_ns: int, upto: int) -> StoredSession | None:
        """The newest session up to `upto` that began at or before a UTC time, else the first."""

    async def earliest(self) -> tuple[int, int] | None:
        """Session and sequence of the first frame that is kept; None where there is none."""

    async def frames(self, session_id: int, sequence: int, page_bytes: int) -> FramePage:
        """The blocks and gaps of a session that cover `sequence` and go on from there."""

    def frames_ahead(self, session_id: int, sequence: int, page_bytes: int) -> Awaitable[FramePage]:
        """Begin what `frames` does; what comes of it may be awaited, or left alone."""

    async def windows(self, session_id: int, sequence: int, upto: int) -> WindowPage:
        """The windows of a session with sequence <= last_sequence < upto, as many as fit."""

    async def changes(self, session_id: int) -> Sequence[ModelChange]:
        """All the session's model changes, in order."""


class Storage(Pages, Protocol):
    """The storage of one log; written by one caller at a time.

    Attributes:
        log_id: identity of the log.
        last: the newest session of an earlier run, as it was when the storage was opened.
    """

    log_id: str
    last: StoredSession | None

    @property
    def usage(self) -> Usage:
        """What it holds, as of the last write."""

    @property
    def row_frames(self) -> int:
        """Frames of the longest block that it writes of the running session."""

    async def begin(
        self,
        grid: Grid,
        channels: tuple[Channel, ...],
        sample_format: SampleFormat,
        boot_id: str,
        utc: UtcEstimate,
    ) -> Session:
        """Write down the next session, with what came before it.

        Raises:
            DataDirectoryError: it could not be written.
        """

    async def commit(self, batch: Batch, utc: UtcEstimate) -> None:
        """Write what the running session brought since the last time.

        Raises:
            Exception: of any kind; nothing was written, and the same batch may be brought again.
        """

    async def append_windows(self, windows: Sequence[Result]) -> None:
        """Write windows of a finished session.

        Raises:
            DataDirectoryError: they could not be written.
        """

    async def unfinished(self) -> Unfinished | None:
        """How far the newest session of an earlier run had come; None where there was none.

        Raises:
            DataDirectoryError: it cannot be read.
        """

    async def close(self) -> None:
        """Let go of it, once the pages that are being read have been."""
