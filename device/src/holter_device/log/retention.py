"""Drops what is older than the log keeps, a little with each commit.

Age is recorded time: how much the log has recorded since. While the device is off nothing ages, so
a device that lay in a drawer still has its newest hours, and no wrong wall clock can drop anything.
"""

from __future__ import annotations

import math
import sqlite3

from .reader import load_session
from .schema import MAX_SEQUENCE, StoredSession, key_of, place_of

HOUR_NS = 3600 * 1_000_000_000
STEP_ROWS = 1000
_STEP_SESSIONS = 16
# Retention shorter than a few hours is dropped by quarters of itself, not by the hour.
_QUANTA = 4


class Retention:
    """Drops by the hour: between retention_ns and an hour more is kept."""

    def __init__(self, retention_ns: float) -> None:
        self._retention_ns = retention_ns
        self._quantum_ns = min(HOUR_NS, retention_ns / _QUANTA)
        self._cut_ns = -math.inf

    def step(self, connection: sqlite3.Connection, recorded_ns: int, budget: int) -> None:
        """Drop up to `budget` rows of each table, or STEP_ROWS, inside the caller's transaction.

        Args:
            recorded_ns: how much time the log has recorded in all, in ns.
            budget: as many rows as the transaction writes, or more, so that it keeps pace.
        """
        if recorded_ns - self._retention_ns >= self._cut_ns + self._quantum_ns:
            self._cut_ns = recorded_ns - self._retention_ns
        budget = max(budget, STEP_ROWS)
        left = budget
        for _ in range(_STEP_SESSIONS):
            oldest = _oldest_session(connection)
            if oldest is None or left <= 0 or self._cut_ns <= oldest.base_ns:
                break
            dropped, done = self._drop_frames(connection, oldest, left)
            left -= dropped
            if done:
                break
        _drop_windows(connection, budget)

    def _drop_frames(
        self, connection: sqlite3.Connection, oldest: StoredSession, budget: int
    ) -> tuple[int, bool]:
        """Drop whole rows of the oldest session; tells how many, and whether it was all of them."""
        grid = oldest.session.grid
        cut = grid.sequence_at(grid.start_ns + math.floor(self._cut_ns - oldest.base_ns))
        base = key_of(oldest.session.session_id, 0)
        end = base + min(cut, MAX_SEQUENCE)
        rows = connection.execute(
            "SELECT key, frame_count FROM frames WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
            (base, end, budget),
        ).fetchall()
        if rows and sum(rows[-1]) > end:
            rows.pop()
        if not rows:
            return 0, True
        kept_from = place_of(rows[-1][0])[1] + rows[-1][1]
        connection.execute("DELETE FROM frames WHERE key BETWEEN ? AND ?", (base, rows[-1][0]))
        connection.execute(
            "UPDATE sessions SET kept_from = ? WHERE session_id = ?",
            (kept_from, oldest.session.session_id),
        )
        return len(rows), kept_from < oldest.next_sequence and len(rows) < budget


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
