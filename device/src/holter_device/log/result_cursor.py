"""Streams what the models said: each window once, in order, and which model it belongs to."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..grid import GapCause
from ..samples import Classification, Gap, ModelChange, Session
from .cursor import Cursor, CursorItem, Feed, Place
from .join import cut
from .pending import window_bounds
from .schema import MAX_SEQUENCE
from .tail import Tail


class ClassificationCursor(Cursor):
    """A cursor on windows; its items are Session, ModelChange, Classification, Gap and End.

    A cursor at n has the windows with last_sequence >= n. After a Session comes the ModelChange
    that is in force at n, if there is one; every later one comes before the first window that it
    governs, and at the live edge as soon as it is known, so perhaps before the last windows of the
    model before it. A Gap tells the last_sequences of windows that were dropped.
    """

    def __init__(self, feed: Feed, place: Place) -> None:
        super().__init__(feed, place)
        self._scan = 0
        self._changes: list[tuple[int, ModelChange]] = []
        self._told = 0

    async def _enter(self, session: Session, sequence: int) -> list[CursorItem]:
        changes = await self._load_changes(session.session_id)
        items = await super()._enter(session, sequence)
        self._changes, self._scan, self._told = changes, sequence, 0
        in_force = [pair for pair in changes if pair[1].swap_sequence <= sequence]
        for number, change in in_force[-1:]:
            self._told = number
            items.append(change)
        return items

    async def _load_changes(self, session_id: int) -> list[tuple[int, ModelChange]]:
        """The session's changes; of the running one the list that goes on growing."""
        tail = self._feed.tail
        if tail is not None and tail.session.session_id == session_id:
            return tail.changes
        changes = await self._feed.pages.changes(session_id)
        return list(enumerate(changes, 1))

    def _in_memory(self, tail: Tail) -> bool:
        return self._scan >= tail.windows_from

    def _from_memory(self, tail: Tail) -> list[CursorItem]:
        return self._deliver(tail.windows(self._scan), math.inf)

    async def _from_file(self, tail: Tail | None) -> list[CursorItem]:
        upto = tail.windows_from if tail else MAX_SEQUENCE
        scan, session_id = self._scan, self._session_id
        page = await self._feed.pages.windows(session_id, scan, upto)
        items: list[CursorItem] = []
        kept_from = min(page.kept_from, upto)
        if kept_from > scan:
            items.append(Gap(session_id, scan, kept_from - scan, GapCause.RETENTION))
            self._scan = self._sequence = kept_from
        if tail is None:
            return items + self._deliver(page.windows, math.inf if page.complete else 0)
        items += self._deliver(page.windows, upto if page.complete else 0)
        if page.complete:
            self._scan = upto
        return items or self._from_memory(tail)

    def _deliver(self, windows: Iterable[Classification | Gap], below: float) -> list[CursorItem]:
        """Take windows, and among them the changes up to the last one and those under `below`."""
        items: list[CursorItem] = []
        for window in windows:
            end = window_bounds(window)[1] + 1
            items += self._take_changes(end)
            items.append(cut(window, self._scan, end) if isinstance(window, Gap) else window)
            self._scan = self._sequence = end
        return items + self._take_changes(below)

    def _take_changes(self, below: float) -> list[ModelChange]:
        """The changes that were not told yet and begin under `below`."""
        untold = [(number, change) for number, change in self._changes if number > self._told]
        taken = [(number, change) for number, change in untold if change.swap_sequence < below]
        if taken:
            self._told = taken[-1][0]
        return [change for _, change in taken]

    async def _wait(self, deadline: float, seen: int) -> None:
        await self._feed.results.wait(seen + 1, deadline)
