"""A reader's place in the log, moving on from session to session: from memory or from the file."""

from __future__ import annotations

import abc
import asyncio
import dataclasses
import math

from ..samples import Block, Classification, Gap, ModelChange, Session
from .places import End, EndReason, Position
from .schema import key_of
from .storage import Pages
from .tail import Tail
from .wakeups import Wakeups

MESSAGE_BYTES = 64 << 10
PAGE_BYTES = 4 * MESSAGE_BYTES

CursorItem = Session | Block | Gap | Classification | ModelChange | End


@dataclasses.dataclass(slots=True)
class Feed:
    """What a log and its cursors share, on the event loop.

    Attributes:
        pages: what is not in the tail.
        real_time: whether the device's clock runs as fast as the event loop's.
        last_session_id: the newest session that cursors may see; 0 before the first.
        tail: the running session; None before this run of holterd began one.
        end: why nothing more will come; None while something may.
        frames: its level is the key of the frame that comes next.
        results: its level counts windows, model changes, sessions and the end as they come.
    """

    pages: Pages
    real_time: bool
    last_session_id: int = 0
    tail: Tail | None = None
    end: EndReason | None = None
    frames: Wakeups = dataclasses.field(default_factory=Wakeups)
    results: Wakeups = dataclasses.field(default_factory=Wakeups)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a cursor begins: in `session`, or, where that is None, in the one after `after`."""

    session: Session | None
    sequence: int = 0
    after: int = 0


class Cursor(abc.ABC):
    """A reader of one stream: a Session, then what belongs to it, then the next Session."""

    def __init__(self, feed: Feed, place: Place) -> None:
        self._feed = feed
        self._session_id = place.session.session_id if place.session else place.after
        self._sequence = place.sequence
        self._first = place.session
        self._over = False

    @property
    def position(self) -> Position:
        """Where the cursor is: everything below it has been delivered."""
        return Position(self._session_id, self._sequence)

    async def next(self, *, timeout: float | None = None) -> list[CursorItem]:
        """Wait for the next items.

        A call that is cancelled loses nothing: the one after it delivers the same.

        Args:
            timeout: how long to wait, in real seconds; None for as long as it takes.

        Returns:
            One item or more, in order, with at most PAGE_BYTES of counts; none where the time was
            over. An End is the last item that there is.

        Raises:
            DataDirectoryError: the file cannot be read.
            RuntimeError: the End was delivered before.
        """
        if self._over:
            raise RuntimeError("the cursor has delivered its End")
        loop = asyncio.get_running_loop()
        deadline = math.inf if timeout is None else loop.time() + timeout
        while True:
            seen = self._feed.results.level
            items = await self._poll()
            if items or loop.time() >= deadline:
                return items
            await self._wait(deadline, seen)

    async def _poll(self) -> list[CursorItem]:
        """Take what is there; [] where there is nothing yet."""
        if self._first is not None:
            return await self._enter(self._first, self._sequence)
        tail = self._running()
        if tail is not None and self._in_memory(tail):
            return self._from_memory(tail) or self._end(self._feed.end)
        if items := await self._from_file(tail):
            return items
        if tail is None:
            return await self._go_on()
        return self._end(self._feed.end) if self._running() is tail else []

    def _running(self) -> Tail | None:
        """The tail, where this cursor's session is the running one."""
        tail = self._feed.tail
        return tail if tail and tail.session.session_id == self._session_id else None

    async def _go_on(self) -> list[CursorItem]:
        """Leave a session that is over, or wait for the first one."""
        end, last = self._feed.end, self._feed.last_session_id
        stored = await self._feed.pages.next_session(self._session_id, last)
        return self._end(end) if stored is None else await self._enter(stored.session, 0)

    async def _enter(self, session: Session, sequence: int) -> list[CursorItem]:
        """Begin with a session at `sequence`."""
        self._first = None
        self._session_id, self._sequence = session.session_id, sequence
        return [session]

    def _end(self, reason: EndReason | None) -> list[CursorItem]:
        if reason is None:
            return []
        self._over = True
        return [End(self._session_id, self._sequence, reason)]

    def _next_session_key(self) -> int:
        return key_of(self._session_id + 1, 0)

    @abc.abstractmethod
    def _in_memory(self, tail: Tail) -> bool:
        """Whether the place is in the tail."""

    @abc.abstractmethod
    def _from_memory(self, tail: Tail) -> list[CursorItem]:
        """Take what is due from the tail; everything where the log has an end."""

    @abc.abstractmethod
    async def _from_file(self, tail: Tail | None) -> list[CursorItem]:
        """Take a page of the session from the file; [] where there is no more."""

    @abc.abstractmethod
    async def _wait(self, deadline: float, seen: int) -> None:
        """Return when there may be something to take, or at the deadline.

        Args:
            deadline: by the event loop's clock; may be infinite.
            seen: the level of `results` when nothing was there.
        """
