"""What an earlier run left: is its end sound, and how far had it come."""

from __future__ import annotations

import dataclasses
import sqlite3

from ..samples import ModelChange, Session
from .reader import load_changes, load_last_window
from .schema import MAX_SEQUENCE, StoredSession, key_of, place_of

_CHECKED_ROWS = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Unfinished:
    """The newest session of an earlier run, as far as it was written down.

    Attributes:
        session: the session.
        next_sequence: after its last frame.
        last_window: last_sequence of its last window; None where it has none.
        changes: all its model changes, in order.
    """

    session: Session
    next_sequence: int
    last_window: int | None
    changes: tuple[ModelChange, ...]


def load_unfinished(connection: sqlite3.Connection, stored: StoredSession) -> Unfinished:
    """How far a session had come."""
    session_id = stored.session.session_id
    return Unfinished(
        session=stored.session,
        next_sequence=stored.next_sequence,
        last_window=load_last_window(connection, session_id),
        changes=tuple(load_changes(connection, session_id)),
    )


def check_end(connection: sqlite3.Connection, stored: StoredSession) -> None:
    """Check that the newest rows of a session follow on each other and are whole.

    Checking all rows would take minutes on a card; what a crash can harm is the end.

    Raises:
        ValueError: they do not, or are not.
    """
    base = key_of(stored.session.session_id, 0)
    rows = connection.execute(
        "SELECT key, frame_count, cause, length(counts) FROM frames"
        " WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT ?",
        (base, base | MAX_SEQUENCE, _CHECKED_ROWS),
    )
    end = None
    for key, frame_count, cause, size in rows:
        if end is not None and key + frame_count != end:
            raise ValueError(f"frames are missing at {place_of(key + frame_count)}")
        if not cause and size != frame_count * stored.session.frame_size:
            raise ValueError(f"counts are missing at {place_of(key)}")
        end = key
