"""A log without a disk: it knows its sessions and model changes, and keeps no frame."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence

from ..clock import UtcEstimate
from ..grid import Grid
from ..samples import Channel, ModelChange, SampleFormat, Session
from .pending import Batch, Result
from .reader import FramePage, WindowPage
from .recording import Usage
from .schema import StoredSession
from .sessions import following_session

# Frames of the longest block that the tail is condensed to where a log is held up.
_ROW_FRAMES = 4096


class MemoryStorage:
    """A Storage that keeps no frames and no windows: those that the tail forgets are dropped."""

    last: StoredSession | None = None

    def __init__(self) -> None:
        self.log_id = str(uuid.uuid4())
        self.usage = Usage(0, 0, None, 0)
        self.row_frames = _ROW_FRAMES
        self._sessions: list[StoredSession] = []
        self._changes: dict[int, list[ModelChange]] = {}

    async def begin(
        self,
        grid: Grid,
        channels: tuple[Channel, ...],
        sample_format: SampleFormat,
        boot_id: str,
        utc: UtcEstimate,
    ) -> Session:
        """Begin the next session; of the one before nothing is kept from here on."""
        last = self._sessions[-1] if self._sessions else None
        if last is not None:
            self._sessions[-1] = dataclasses.replace(last, kept_from=last.next_sequence)
        session = following_session(last, self.log_id, grid, channels, sample_format, boot_id, utc)
        base_ns = last.recorded_ns if last else 0
        self._sessions.append(StoredSession(session, base_ns, 0, 0, utc))
        return session

    async def commit(self, batch: Batch, utc: UtcEstimate) -> None:
        """Take note of how far the session has come, and of its models."""
        stored = self._sessions[-1]
        end = batch.frames[-1].next_sequence if batch.frames else stored.next_sequence
        self._sessions[-1] = dataclasses.replace(stored, next_sequence=end, utc=utc)
        for item in batch.results:
            if isinstance(item, ModelChange):
                changes = self._changes.setdefault(item.session_id, [])
                while changes and changes[-1].swap_sequence >= item.swap_sequence:
                    changes.pop()
                changes.append(item)

    async def append_windows(self, windows: Sequence[Result]) -> None:
        """Windows of a session that is over are not kept."""

    async def unfinished(self) -> None:
        """There is no earlier run."""

    async def close(self) -> None:
        """Nothing is held."""

    async def session(self, session_id: int) -> StoredSession | None:
        """One session, as Pages.session."""
        return next((s for s in self._sessions if s.session.session_id == session_id), None)

    async def next_session(self, after: int, upto: int) -> StoredSession | None:
        """The session after one, as Pages.next_session."""
        return next((s for s in self._sessions if after < s.session.session_id <= upto), None)

    async def session_at(self, utc_ns: int, upto: int) -> StoredSession | None:
        """The session of a time, as Pages.session_at."""
        begun = [s for s in self._upto(upto) if s.session.grid.start_ns + s.utc.offset_ns <= utc_ns]
        return begun[-1] if begun else await self.next_session(0, upto)

    async def earliest(self) -> None:
        """No frame is kept."""

    async def frames(self, session_id: int, sequence: int, page_bytes: int) -> FramePage:
        """No frames, and of a session that is over where they would end."""
        stored = await self.session(session_id)
        return FramePage([], stored.kept_from if stored else 0)

    async def frames_ahead(self, session_id: int, sequence: int, page_bytes: int) -> FramePage:
        """As `frames`."""
        return await self.frames(session_id, sequence, page_bytes)

    async def windows(self, session_id: int, sequence: int, upto: int) -> WindowPage:
        """No windows: all before `upto`, or before the session's end, are dropped."""
        if not self._sessions or session_id != self._sessions[-1].session.session_id:
            ended = await self.session(session_id)
            upto = ended.next_sequence if ended else 0
        return WindowPage(upto, [], complete=True)

    async def changes(self, session_id: int) -> Sequence[ModelChange]:
        """The session's model changes, as Pages.changes."""
        return self._changes.get(session_id, [])

    def _upto(self, session_id: int) -> list[StoredSession]:
        return [s for s in self._sessions if s.session.session_id <= session_id]
