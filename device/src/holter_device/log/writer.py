"""Writes the log's file: one thread, one transaction a commit."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..clock import UtcEstimate
from ..grid import Grid
from ..samples import Block, Channel, Classification, Gap, ModelChange, SampleFormat, Session
from .pending import Batch, Result
from .places import Position
from .reader import load_last_session
from .recording import Usage, load_usage
from .recovery import check_end
from .retention import Retention
from .rows import Plan, plan_rows, row_frames
from .schema import (
    FILE_NAME,
    MAX_SEQUENCE,
    StoredSession,
    encode_facts,
    encode_frames,
    encode_window,
    file_error,
    key_of,
    open_file,
)
from .sessions import following_session, uncertainty_ns

# Half of the WAL's room is for what it has when it is next written back, half for one commit.
_WAL_PARTS = 2
_PAGE_BYTES = 4096
# A second of frames; older logs have only such rows.
_SMALL_ROW_BYTES = 64
_UTC_MOVED_NS = 1_000_000_000


class Writer:
    """The one that writes. All of its methods block; they are called one at a time."""

    def __init__(self, directory: Path, retention_ns: float, retention_bytes: int) -> None:
        """Open the file.

        Args:
            directory: where it is.
            retention_ns: how much recorded time is kept.
            retention_bytes: the size above which the oldest is dropped; 0 for no limit.

        Raises:
            DataDirectoryError: as `schema.open_file`.
        """
        self._path = directory / FILE_NAME
        self._connection, self.log_id = open_file(directory)
        self._retention = Retention(self._path, retention_ns, retention_bytes)
        self._unfilled: list[Block] = []
        self._stored: StoredSession | None = None
        self._models: dict[tuple[str, str], int] = {}
        try:
            # What is deleted need not be overwritten on the card, whatever SQLite was built with.
            self._connection.execute("PRAGMA secure_delete=OFF")
            self.usage = self._load_usage()
            pages = self._retention.wal_bytes // _WAL_PARTS // _PAGE_BYTES
            self._connection.execute(f"PRAGMA wal_autocheckpoint={max(1, pages)}")
            self.last = load_last_session(self._connection)
            if self.last is not None:
                check_end(self._connection, self.last)
            rows = self._connection.execute("SELECT sha256, labels, model_id FROM models")
            self._models.update({(row[0], row[1]): row[2] for row in rows})
        except (sqlite3.Error, ValueError, TypeError, KeyError, OSError) as error:
            self._connection.close()
            raise file_error(self._path, error) from error

    def begin(
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
        try:
            with self._transaction():
                last = load_last_session(self._connection)
                session = following_session(
                    last, self.log_id, grid, channels, sample_format, boot_id, utc
                )
                base_ns = last.recorded_ns if last else 0
                self._insert_session(session, base_ns)
                usage = self._load_usage()
        except sqlite3.Error as error:
            raise file_error(self._path, error) from error
        self._stored = StoredSession(session, base_ns, 0, 0, utc)
        self._unfilled, self.usage = [], usage
        return session

    @property
    def row_frames(self) -> int:
        """Frames of the longest row of the running session."""
        if self._stored is None:
            raise RuntimeError("no session was begun")
        return row_frames(self._stored.session, self._retention.row_ns)

    def commit(self, batch: Batch, utc: UtcEstimate) -> None:
        """Write what the running session brought since the last time, and drop what is too old.

        Args:
            batch: what is written.
            utc: the wall clock now.

        Raises:
            sqlite3.Error: nothing of it was written; the same batch may be brought again.
        """
        stored = self._stored
        if stored is None:
            raise RuntimeError("no session was begun")
        session = stored.session
        first = stored.next_sequence
        end = batch.frames[-1].next_sequence if batch.frames else first
        plan = plan_rows(self._unfilled, batch.frames, self.row_frames)
        moved = _moved(stored.utc, utc)
        recorded_ns = stored.base_ns + session.grid.time_ns(end) - session.grid.start_ns
        with self._transaction():
            self._write_rows(session.session_id, plan)
            self._insert_results(batch.results)
            if moved:
                self._connection.execute(
                    "UPDATE sessions SET utc_offset_ns = ?, utc_uncertainty_ns = ?"
                    " WHERE session_id = ?",
                    (utc.offset_ns, uncertainty_ns(utc), session.session_id),
                )
            newest = key_of(session.session_id, first)
            rows = max(2 * len(batch.results), batch.size // _SMALL_ROW_BYTES)
            self._retention.step(self._connection, recorded_ns, newest, rows)
            usage = self._load_usage()
        # From here on nothing may fail: what the file has must not be brought again.
        self._stored = StoredSession(session, stored.base_ns, 0, end, utc if moved else stored.utc)
        self._unfilled, self.usage = _kept(plan.unfilled, usage.earliest), usage

    def _write_rows(self, session_id: int, plan: Plan) -> None:
        for first, end in plan.replaced:
            keys = (key_of(session_id, first), key_of(session_id, end))
            self._connection.execute("DELETE FROM frames WHERE key >= ? AND key < ?", keys)
        rows = [encode_frames(item) for item in plan.written]
        self._connection.executemany("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _load_usage(self) -> Usage:
        self._retention.look(self._connection)
        return load_usage(self._connection, self._path, self._retention.limit_bytes)

    def append_windows(self, windows: Sequence[Result]) -> None:
        """Write windows of a finished session.

        Raises:
            DataDirectoryError: they could not be written.
        """
        try:
            with self._transaction():
                self._insert_results(windows)
        except sqlite3.Error as error:
            raise file_error(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        models = dict(self._models)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._models = models
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _insert_session(self, session: Session, base_ns: int) -> None:
        self._connection.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, 0, ?, ?, ?)",
            (
                session.session_id,
                session.grid.start_ns,
                session.grid.rate_hz,
                base_ns,
                session.utc.offset_ns,
                uncertainty_ns(session.utc),
                encode_facts(session),
            ),
        )

    def _insert_results(self, results: Iterable[Result]) -> None:
        for item in results:
            if isinstance(item, ModelChange):
                key = key_of(item.session_id, item.swap_sequence)
                end = key_of(item.session_id, MAX_SEQUENCE)
                self._connection.execute(
                    "DELETE FROM model_changes WHERE key BETWEEN ? AND ?", (key, end)
                )
                self._connection.execute(
                    "INSERT INTO model_changes VALUES (?, ?)", (key, item.model_sha256)
                )
            else:
                model_id = 0 if isinstance(item, Gap) else self._model_id(item)
                self._connection.execute(
                    "INSERT INTO windows VALUES (?, ?, ?, ?, ?, ?)", encode_window(item, model_id)
                )

    def _model_id(self, item: Classification) -> int:
        model = (item.model_sha256, json.dumps(item.labels))
        if model not in self._models:
            self._models[model] = len(self._models) + 1
            self._connection.execute(
                "INSERT INTO models VALUES (?, ?, ?)", (self._models[model], *model)
            )
        return self._models[model]


def _kept(rows: list[Block], earliest: Position | None) -> list[Block]:
    """Those of the newest rows that retention has not dropped."""
    if earliest is None:
        return []
    kept_from = (earliest.session_id, earliest.next_sequence)
    return [row for row in rows if (row.session_id, row.first_sequence) >= kept_from]


def _moved(before: UtcEstimate, now: UtcEstimate) -> bool:
    """Whether what was written of the wall clock no longer holds.

    It was stepped by more than both estimates allow, a time server took hold of it or lost it, or
    it is twice as well known, or half. (Any change would be a page more for each commit.)
    """
    allowed_ns = min(_UTC_MOVED_NS, before.uncertainty_ns + now.uncertainty_ns)
    if abs(now.offset_ns - before.offset_ns) > allowed_ns:
        return True
    if now.synchronized != before.synchronized:
        return True
    less, more = sorted((before.uncertainty_ns, now.uncertainty_ns))
    return now.synchronized and more > 2 * less
