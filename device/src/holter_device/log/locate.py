"""Finds the place in the log that a start means."""

from __future__ import annotations

from ..errors import LogNotFoundError, SequenceOutOfRangeError, SessionNotFoundError
from .cursor import Feed, Place
from .places import Start, StartEarliest, StartLive, StartPosition
from .schema import MAX_SEQUENCE


async def locate(feed: Feed, log_id: str, start: Start) -> Place:
    """Find where a cursor begins.

    Raises:
        LogNotFoundError, SessionNotFoundError: there is no such place.
        SequenceOutOfRangeError: the running session has not come that far.
    """
    if isinstance(start, StartLive):
        return _live(feed)
    if isinstance(start, StartEarliest):
        return await _earliest(feed)
    if isinstance(start, StartPosition):
        return await _position(feed, log_id, start)
    return await _time(feed, start.utc_ns)


def _live(feed: Feed) -> Place:
    if feed.tail is None:
        return Place(None, after=feed.last_session_id)
    return Place(feed.tail.session, feed.tail.next_sequence)


async def _earliest(feed: Feed) -> Place:
    earliest = await feed.pages.earliest()
    if earliest is not None:
        return await _stored(feed, *earliest)
    if feed.tail is not None:
        return Place(feed.tail.session, feed.tail.first_sequence)
    return Place(None, after=feed.last_session_id)


async def _position(feed: Feed, log_id: str, start: StartPosition) -> Place:
    if start.log_id not in ("", log_id):
        raise LogNotFoundError(
            f"this log is {log_id}, not {start.log_id}: the device has a new data directory",
            log_id=log_id,
            wanted=start.log_id,
        )
    tail = feed.tail
    if tail is None or tail.session.session_id != start.session_id:
        return await _stored(feed, start.session_id, max(0, start.sequence))
    if not 0 <= start.sequence <= tail.next_sequence:
        raise SequenceOutOfRangeError(
            f"session {start.session_id} has come to sequence {tail.next_sequence}, "
            f"not to {start.sequence}: start at that or before",
            session_id=start.session_id,
            next_sequence=tail.next_sequence,
            sequence=start.sequence,
        )
    return Place(tail.session, start.sequence)


async def _stored(feed: Feed, session_id: int, sequence: int) -> Place:
    """A place in a session that the file has."""
    stored = None
    if session_id <= feed.last_session_id:
        stored = await feed.pages.session(session_id)
    if stored is None:
        raise SessionNotFoundError(
            f"the log has no session {session_id}; its newest is {feed.last_session_id}",
            session_id=session_id,
            last_session_id=feed.last_session_id,
        )
    return Place(stored.session, min(sequence, MAX_SEQUENCE))


async def _time(feed: Feed, utc_ns: int) -> Place:
    """The first frame at or after a time; where none is yet, the live edge."""
    last, live = feed.last_session_id, _live(feed)
    stored = await feed.pages.session_at(utc_ns, last)
    if stored is None:
        return live
    session = stored.session
    sequence = session.grid.sequence_at(utc_ns - stored.utc.offset_ns)
    if live.session is not None and session.session_id == live.session.session_id:
        return Place(session, min(sequence, live.sequence))
    if sequence < stored.next_sequence:
        return Place(session, sequence)
    following = await feed.pages.next_session(session.session_id, last)
    return Place(following.session) if following else Place(None, after=session.session_id)
