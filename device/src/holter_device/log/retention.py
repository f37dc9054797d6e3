"""Drops what is older, or larger, than the log keeps: the oldest first, a little with each commit.

Age is recorded time: how much the log has recorded since. While the device is off nothing ages, so
a device that lay in a drawer still has its newest hours, and no wrong wall clock can drop anything.
Size is what the file has in use, and room for its WAL.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sqlite3
from pathlib import Path

from .reader import load_session
from .recording import used_bytes, wal_bytes
from .schema import MAX_SEQUENCE, StoredSession, key_of, place_of

HOUR_NS = 3600 * 1_000_000_000
STEP_ROWS = 1000
STEP_BYTES = 4 << 20
_STEP_SESSIONS = 16
# Retention shorter than a few hours is dropped by quarters of itself, not by the hour.
_QUANTA = 4
# By size it is dropped in such parts of the limit, lest each commit touch the oldest page too.
_SIZE_QUANTA = 256
# What the log leaves free of a disk that is smaller than its limit.
_SPARE_BYTES = 16 << 20
_WAL_BYTES = 5 << 20
_WAL_SHARE = 4
# What a row takes beside its counts.
_ROW_OVERHEAD = 24


@dataclasses.dataclass(slots=True)
class _Budget:
    """What may still be dropped in a transaction."""

    rows: int
    size: int


class Retention:
    """Drops by the hour, between retention_ns and an hour more is kept; and by size.

    Attributes:
        row_ns: time that a row may cover, so that dropping whole rows is exact enough.
        limit_bytes: the size above which the oldest is dropped; 0 where there is none.
    """

    def __init__(self, path: Path, retention_ns: float, limit_bytes: int) -> None:
        self._path = path
        self._retention_ns = retention_ns
        self._quantum_ns = min(HOUR_NS, retention_ns / _QUANTA)
        self._cut_ns = -math.inf
        self.row_ns = self._quantum_ns / _QUANTA
        self._asked_bytes = limit_bytes
        self._room_bytes = 0
        self.limit_bytes = limit_bytes

    def look(self, connection: sqlite3.Connection) -> None:
        """Look how much room the disk has; below the limit that was asked for it is the limit.

        It is the most room that there was since the start, and what was kept then at least: a disk
        that others fill, or filled before, makes the log no smaller.
        """
        if not self._asked_bytes:
            return
        if not self._room_bytes:
            used = used_bytes(connection)
            self._room_bytes = used + min(_WAL_BYTES, -(-used // (_WAL_SHARE - 1)))
        disk = os.statvfs(self._path)
        room = used_bytes(connection) + wal_bytes(self._path) + disk.f_bavail * disk.f_frsize
        self._room_bytes = max(self._room_bytes, room - min(_SPARE_BYTES, room // 8))
        self.limit_bytes = min(self._asked_bytes, self._room_bytes)

    @property
    def wal_bytes(self) -> int:
        """How large the WAL may become, within the limit."""
        share = self.limit_bytes // _WAL_SHARE
        return min(_WAL_BYTES, share) if self.limit_bytes else _WAL_BYTES

    def step(
        self, connection: sqlite3.Connection, recorded_ns: int, newest: int, rows: int
    ) -> None:
        """Drop a bounded number of rows of each table, inside the caller's transaction.

        Args:
            connection: the file.
            recorded_ns: how much time the log has recorded in all, in ns.
            newest: key of the first frame that the transaction writes; it is kept.
            rows: as many small rows as the transaction's bytes would be, so that it keeps pace.
        """
        if recorded_ns - self._retention_ns >= self._cut_ns + self._quantum_ns:
            self._cut_ns = recorded_ns - self._retention_ns
        rows = max(rows, STEP_ROWS)
        budget = _Budget(rows, max(STEP_BYTES, rows << 10))
        self._drop_old(connection, budget)
        if self.limit_bytes:
            self._drop_large(connection, newest, budget)
        _drop_windows(connection, rows)

    def _drop_old(self, connection: sqlite3.Connection, budget: _Budget) -> None:
        for _ in range(_STEP_SESSIONS):
            oldest = _oldest_session(connection)
            if oldest is None or self._cut_ns <= oldest.base_ns:
                return
            grid = oldest.session.grid
            cut = grid.sequence_at(grid.start_ns + math.floor(self._cut_ns - oldest.base_ns))
            if not _drop_frames(connection, oldest, min(cut, MAX_SEQUENCE), budget):
                return

    def _drop_large(self, connection: sqlite3.Connection, newest: int, budget: _Budget) -> None:
        """Drop rows until the size is within the limit by a part of it."""
        limit = self.limit_bytes - self.wal_bytes
        if used_bytes(connection) <= limit:
            return
        limit -= limit // _SIZE_QUANTA
        while (excess := used_bytes(connection) - limit) > 0:
            oldest = _oldest_session(connection)
            if oldest is None:
                return
            session_id, sequence = place_of(newest)
            end = sequence if oldest.session.session_id == session_id else MAX_SEQUENCE
            part = _Budget(budget.rows, min(budget.size, excess))
            before = dataclasses.replace(part)
            if not _drop_frames(connection, oldest, end, part):
                return
            budget.rows -= before.rows - part.rows
            budget.size -= before.size - part.size


def _drop_frames(
    connection: sqlite3.Connection, oldest: StoredSession, end: int, budget: _Budget
) -> bool:
    """Drop whole rows of a session that end at or before `end`; tells whether there were any."""
    base = key_of(oldest.session.session_id, 0)
    rows = connection.execute(
        "SELECT key, frame_count, ifnull(length(counts), 0) FROM frames"
        " WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
        (base, base + end, max(0, budget.rows)),
    )
    last = None
    for key, frame_count, size in rows:
        if budget.size <= 0 or key + frame_count > base + end:
            break
        last = key, key + frame_count
        budget.rows -= 1
        budget.size -= size + _ROW_OVERHEAD
    rows.close()
    if last is None:
        return False
    connection.execute("DELETE FROM frames WHERE key BETWEEN ? AND ?", (base, last[0]))
    connection.execute(
        "UPDATE sessions SET kept_from = ? WHERE session_id = ?",
        (last[1] - base, oldest.session.session_id),
    )
    return True


def _oldest_session(connection: sqlite3.Connection) -> StoredSession | None:
    (key,) = connection.execute("SELECT min(key) FROM frames").fetchone()
    return None if key is None else load_session(connection, place_of(key)[0])


def _drop_windows(connection: sqlite3.Connection, budget: int) -> None:
    """Drop windows that end before the first frame that is kept; readers see none of them."""
    (oldest,) = connection.execute("SELECT min(key) FROM frames").fetchone()
    if oldest is None:
        return
    row = connection.execute(
        "SELECT key FROM windows WHERE key < ? ORDER BY key LIMIT 1 OFFSET ?", (oldest, budget)
    ).fetchone()
    connection.execute("DELETE FROM windows WHERE key < ?", (row[0] if row else oldest,))
