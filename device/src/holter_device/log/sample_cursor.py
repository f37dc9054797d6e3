"""Streams frames: each frame of the grid once, in order, in a Block or a Gap."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Sequence

from ..grid import GapCause
from ..samples import Gap, Session
from .cursor import MESSAGE_BYTES, PAGE_BYTES, Cursor, CursorItem, Feed, Place
from .join import Frames, cut, join
from .reader import FramePage
from .schema import MAX_SEQUENCE, key_of
from .tail import Tail

# A reader that waits for many frames looks this often (s) whether a few are stuck.
_LULL = 1.0


class SampleCursor(Cursor):
    """A cursor on frames; its items are Session, Block, Gap and End.

    At the live edge a frame waits at most `max_latency` for others to share its block: that many
    seconds of the grid, or of real time where the device's clock does not run in real time. Blocks
    are joined up to 64 KiB of counts.
    """

    def __init__(self, feed: Feed, place: Place, max_latency: float) -> None:
        super().__init__(feed, place)
        self._max_latency = max_latency
        self._max_frames = 1
        self._wanted = 1
        self._ahead: tuple[tuple[int, int], Awaitable[FramePage]] | None = None

    async def _enter(self, session: Session, sequence: int) -> list[CursorItem]:
        self._max_frames = max(1, MESSAGE_BYTES // session.frame_size)
        self._wanted = self._max_frames
        if self._feed.real_time:
            frames = math.ceil(self._max_latency * session.grid.rate_hz - 1e-6)
            self._wanted = min(self._max_frames, max(1, frames))
        return await super()._enter(session, sequence)

    def _in_memory(self, tail: Tail) -> bool:
        return self._sequence >= tail.first_sequence

    def _from_memory(self, tail: Tail) -> list[CursorItem]:
        if not self._is_due(tail):
            return []
        return self._deliver(tail.joined(self._sequence, PAGE_BYTES, self._max_frames))

    def _is_due(self, tail: Tail) -> bool:
        available = tail.next_sequence - self._sequence
        if available >= self._wanted or self._feed.end is not None:
            return True
        return available > 0 and asyncio.get_running_loop().time() >= self._due(tail)

    def _due(self, tail: Tail) -> float:
        return tail.arrival(self._sequence) + self._max_latency

    def _deliver(self, items: Sequence[Frames]) -> list[CursorItem]:
        if items:
            self._sequence = items[-1].next_sequence
        return list(items)

    async def _from_file(self, tail: Tail | None) -> list[CursorItem]:
        first, session_id = self._sequence, self._session_id
        page = await self._page(session_id, first)
        # What neither the file nor the tail has was dropped.
        kept_from = max(page.kept_from, tail.first_sequence if tail else 0)
        if page.frames:
            kept_from = page.frames[0].first_sequence
        if kept_from > first:
            gap = Gap(session_id, first, kept_from - first, GapCause.RETENTION)
            return self._deliver(join([gap, *page.frames], self._max_frames))
        if page.frames:
            page.frames[0] = cut(page.frames[0], first, MAX_SEQUENCE)
        return self._deliver(join(page.frames, self._max_frames))

    async def _page(self, session_id: int, first: int) -> FramePage:
        """A page of the file; the one after it is read while this one is on its way to the reader.

        A page that was read ahead and has nothing is read again: it may be older than what is told
        of the tail.
        """
        pages = self._feed.pages
        ahead, self._ahead = self._ahead, None
        page = FramePage([])
        if ahead is not None and ahead[0] == (session_id, first):
            page = await ahead[1]
        if not page.frames:
            page = await pages.frames(session_id, first, PAGE_BYTES)
        if page.full:
            following = (session_id, page.frames[-1].next_sequence)
            self._ahead = following, pages.frames_ahead(*following, PAGE_BYTES)
        return page

    async def _wait(self, deadline: float, seen: int) -> None:
        await self._feed.frames.wait(*self._target(deadline))

    def _target(self, deadline: float) -> tuple[int, float]:
        """The key of `Feed.frames` that is waited for, and until when."""
        tail = self._running()
        if tail is None:
            return self._next_session_key(), deadline
        if tail.next_sequence > self._sequence:
            target, until = self._sequence + self._wanted, self._due(tail)
        elif self._feed.real_time:
            lull = asyncio.get_running_loop().time() + self._max_latency + _LULL
            target, until = self._sequence + self._wanted, lull
        else:
            target, until = self._sequence + 1, deadline
        return key_of(self._session_id, target), min(until, deadline)
