"""Reads the log's file a page at a time, off the event loop; each page is its own transaction."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ..clock import UtcEstimate
from ..errors import DataDirectoryError
from ..samples import Classification, Gap, ModelChange
from .join import Frames
from .schema import (
    FILE_NAME,
    MAX_SEQUENCE,
    UNKNOWN_NS,
    StoredSession,
    connect,
    decode_frames,
    decode_session,
    decode_window,
    file_error,
    key_of,
    place_of,
)

MAX_PAGE_ROWS = 4096
_READERS = 2
_P = ParamSpec("_P")
_T = TypeVar("_T")

_SESSION = (
    "SELECT log_id, session_id, start_ns, rate_hz, facts, base_ns, kept_from,"
    " utc_offset_ns, utc_uncertainty_ns FROM sessions, log "
)


@dataclasses.dataclass(frozen=True, slots=True)
class FramePage:
    """Blocks and gaps of one session in order.

    Attributes:
        frames: what is there.
        kept_from: the session's first kept frame; told where `frames` is empty.
        full: whether the page ends because it is full: there is more.
    """

    frames: list[Frames]
    kept_from: int = 0
    full: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class WindowPage:
    """Windows of one session in order; `complete` where the page reached what was asked for."""

    kept_from: int
    windows: list[Classification | Gap]
    complete: bool


def load_session(connection: sqlite3.Connection, session_id: int) -> StoredSession | None:
    """One session; None where the log has none of that number."""
    return _load(connection, "WHERE session_id = ?", session_id)


def load_next_session(
    connection: sqlite3.Connection, after: int, upto: int
) -> StoredSession | None:
    """The first session above `after`, up to and with `upto`; None where there is none."""
    where = "WHERE session_id > ? AND session_id <= ? ORDER BY session_id LIMIT 1"
    return _load(connection, where, after, upto)


def load_last_session(connection: sqlite3.Connection) -> StoredSession | None:
    """The newest session; None in a new log."""
    return _load(connection, "ORDER BY session_id DESC LIMIT 1")


def load_session_at(connection: sqlite3.Connection, utc_ns: int, upto: int) -> StoredSession | None:
    """The newest session up to `upto` that began at or before a UTC time, else the first one."""
    where = (
        "WHERE start_ns + utc_offset_ns <= ? AND session_id <= ? ORDER BY session_id DESC LIMIT 1"
    )
    stored = _load(connection, where, utc_ns, upto)
    return stored or load_next_session(connection, 0, upto)


def load_earliest(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """The session and sequence of the first frame that the file keeps; None where it has none."""
    (key,) = connection.execute("SELECT min(key) FROM frames").fetchone()
    return None if key is None else place_of(key)


def load_frames(
    connection: sqlite3.Connection, session_id: int, sequence: int, page_bytes: int
) -> FramePage:
    """The blocks and gaps of a session that cover `sequence` and go on from there.

    The first may begin before `sequence`, or after it where retention dropped frames.
    """
    base, start = key_of(session_id, 0), key_of(session_id, min(sequence, MAX_SEQUENCE))
    ends = connection.execute(
        "SELECT key, length(counts) FROM frames"
        " WHERE key >= ifnull((SELECT max(key) FROM frames WHERE key BETWEEN ? AND ?), ?)"
        " AND key <= ? ORDER BY key LIMIT ?",
        (base, start, start, base | MAX_SEQUENCE, MAX_PAGE_ROWS),
    )
    # Python steps to the row after the one that it gives, and so would read a row of counts in
    # vain: which rows are wanted is looked up first, without their counts.
    first, last, full = _fitting(ends, page_bytes)
    ends.close()
    rows = connection.execute(
        "SELECT key, frame_count, cause, late_count, lead_off, counts FROM frames"
        " WHERE key BETWEEN ? AND ? ORDER BY key",
        (first, last),
    )
    items = [decode_frames(*row) for row in rows]
    if items and items[0].next_sequence <= sequence:
        del items[0]
    if items:
        return FramePage(items, full=full)
    stored = load_session(connection, session_id)
    return FramePage([], stored.kept_from if stored else 0)


def _fitting(rows: Iterable[tuple[int, int | None]], page_bytes: int) -> tuple[int, int, bool]:
    """The first and the last key of the rows that fit a page, and whether there are more.

    The first two always fit, for the first may end before what is asked for.
    """
    first, last, size = 0, -1, 0
    for number, (key, length) in enumerate(rows):
        size += length or 0
        if size > page_bytes and number > 1:
            return first, last, True
        first, last = first or key, key
    return first, last, False


def load_windows(
    connection: sqlite3.Connection, session_id: int, sequence: int, upto: int
) -> WindowPage:
    """The windows of a session with sequence <= last_sequence < upto, as many as fit a page."""
    stored = load_session(connection, session_id)
    kept_from = stored.kept_from if stored else 0
    start = key_of(session_id, min(max(sequence, kept_from), MAX_SEQUENCE))
    rows = connection.execute(
        "SELECT key, frame_count, sha256, labels, reason, inference_ns, scores"
        " FROM windows LEFT JOIN models USING (model_id) WHERE key >= ? AND key < ?"
        " ORDER BY key LIMIT ?",
        (start, key_of(session_id, 0) + min(upto, MAX_SEQUENCE), MAX_PAGE_ROWS),
    ).fetchall()
    windows = [decode_window(*row) for row in rows]
    return WindowPage(kept_from, windows, len(rows) < MAX_PAGE_ROWS)


def load_last_window(connection: sqlite3.Connection, session_id: int) -> int | None:
    """The last_sequence of the session's newest window; None where it has none."""
    base = key_of(session_id, 0)
    (key,) = connection.execute(
        "SELECT max(key) FROM windows WHERE key BETWEEN ? AND ?", (base, base | MAX_SEQUENCE)
    ).fetchone()
    return None if key is None else place_of(key)[1]


def load_changes(connection: sqlite3.Connection, session_id: int) -> list[ModelChange]:
    """All the session's model changes, in order; retention never drops them."""
    base = key_of(session_id, 0)
    rows = connection.execute(
        "SELECT key, sha256 FROM model_changes WHERE key BETWEEN ? AND ? ORDER BY key",
        (base, base | MAX_SEQUENCE),
    )
    return [ModelChange(*place_of(key), sha256) for key, sha256 in rows]


def _load(connection: sqlite3.Connection, where: str, *values: int) -> StoredSession | None:
    row = connection.execute(_SESSION + where, values).fetchone()
    if row is None:
        return None
    log_id, session_id, start_ns, rate_hz, facts, base_ns, kept_from, offset, uncertainty = row
    base = key_of(session_id, 0)
    last = connection.execute(
        "SELECT key, frame_count FROM frames WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1",
        (base, base | MAX_SEQUENCE),
    ).fetchone()
    end = place_of(last[0])[1] + last[1] if last else 0
    return StoredSession(
        session=decode_session(log_id, session_id, start_ns, rate_hz, facts),
        base_ns=base_ns,
        kept_from=kept_from,
        next_sequence=max(end, kept_from),
        utc=UtcEstimate(offset, uncertainty, uncertainty != UNKNOWN_NS),
    )


class Readers:
    """Worker threads with a connection each, for any number of cursors."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="log-reader")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    async def read(
        self,
        load: Callable[Concatenate[sqlite3.Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run one of this module's `load_` functions in a thread, as one transaction.

        Raises:
            DataDirectoryError: the file cannot be read, or the log is closed.
        """

        return await self.result(self.start(load, *args, **kwargs))

    def start(
        self,
        load: Callable[Concatenate[sqlite3.Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Future[_T]:
        """Begin what `read` does, and do not wait; its `result` may be left alone.

        Raises:
            DataDirectoryError: the log is closed.
        """

        def transaction() -> _T:
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                return load(connection, *args, **kwargs)
            finally:
                connection.execute("ROLLBACK")

        try:
            return self._pool.submit(transaction)
        except RuntimeError as error:
            raise DataDirectoryError("the log is closed") from error

    async def result(self, started: Future[_T]) -> _T:
        """What was started.

        Raises:
            DataDirectoryError: the file cannot be read.
        """
        try:
            return await asyncio.wrap_future(started)
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise file_error(self._directory / FILE_NAME, error) from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = connect(self._directory)
            connection.execute("PRAGMA query_only=1")
            self._connections.append(connection)
            self._local.connection = connection
        return connection

    def close(self) -> None:
        """Wait for the pages that are being read, and close the file. Blocks."""
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()
