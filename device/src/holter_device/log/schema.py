"""The log's file: its tables, and how one row is written and read.

A place is one integer, `session_id << 40 | sequence`, and that integer is the only key there is: a
second index would write half as much again to the card.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sqlite3
import struct
import uuid
from pathlib import Path
from typing import Any

from ..clock import UtcEstimate
from ..errors import DataDirectoryError
from ..grid import GapCause, Grid
from ..samples import (
    Block,
    Channel,
    Classification,
    Gap,
    LeadOff,
    LeadOffRun,
    SampleFormat,
    Session,
    UnclassifiableReason,
)
from .join import Frames

FILE_NAME = "holter.db"
SEQUENCE_BITS = 40
MAX_SEQUENCE = (1 << SEQUENCE_BITS) - 1

_APPLICATION_ID = 0x484C5452
_VERSION = 2
_JOURNAL_LIMIT = 16 << 20
_BUSY_SECONDS = 10.0
# The WAL and its index take so much at least before anything is written.
_STARTING_BYTES = 64 << 10

# kept_from: what is below it was dropped by retention, frames and windows alike.
# base_ns: how much time all the sessions before this one recorded.
# utc_*: the newest estimate of the wall clock; the one of the start is among the facts.
_TABLES = """
CREATE TABLE log (log_id TEXT NOT NULL);
CREATE TABLE sessions (
  session_id INTEGER PRIMARY KEY, start_ns INTEGER NOT NULL, rate_hz REAL NOT NULL,
  base_ns INTEGER NOT NULL, kept_from INTEGER NOT NULL DEFAULT 0,
  utc_offset_ns INTEGER NOT NULL, utc_uncertainty_ns INTEGER NOT NULL, facts TEXT NOT NULL);
CREATE TABLE frames (
  key INTEGER PRIMARY KEY, frame_count INTEGER NOT NULL, cause INTEGER NOT NULL,
  late_count INTEGER NOT NULL, lead_off BLOB, counts BLOB);
CREATE TABLE models (model_id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, labels TEXT NOT NULL);
CREATE TABLE windows (
  key INTEGER PRIMARY KEY, frame_count INTEGER NOT NULL, model_id INTEGER NOT NULL,
  reason INTEGER NOT NULL, inference_ns INTEGER NOT NULL, scores BLOB NOT NULL);
CREATE TABLE model_changes (key INTEGER PRIMARY KEY, sha256 TEXT NOT NULL);
"""
# Uncertainty of a wall clock that no time server holds, and of what follows from it.
UNKNOWN_NS = 2**63 - 1
_ENDS = ("sessions", "frames", "models", "windows", "model_changes")


@dataclasses.dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as the file has it: `next_sequence` is after the last frame that was written."""

    session: Session
    base_ns: int
    kept_from: int
    next_sequence: int
    utc: UtcEstimate

    @property
    def end_ns(self) -> int:
        """Monotonic time of the frame after the last one, in ns."""
        return self.session.grid.time_ns(self.next_sequence)

    @property
    def recorded_ns(self) -> int:
        """How much time the log has recorded up to the end of this session, in ns."""
        return self.base_ns + self.end_ns - self.session.grid.start_ns


def key_of(session_id: int, sequence: int) -> int:
    """A place as one integer."""
    return session_id << SEQUENCE_BITS | sequence


def place_of(key: int) -> tuple[int, int]:
    """The session and the sequence of a key."""
    return key >> SEQUENCE_BITS, key & MAX_SEQUENCE


def connect(directory: Path) -> sqlite3.Connection:
    """Open the file for one thread; transactions are begun and ended by hand."""
    path = directory / FILE_NAME
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_LIMIT}")
    return connection


def open_file(directory: Path) -> tuple[sqlite3.Connection, str]:
    """Open the file for writing, and make its tables where it is new.

    Returns:
        The connection and the identity of the log.

    Raises:
        DataDirectoryError: the file cannot be written, is damaged, or of a newer holterd.
    """
    path = directory / FILE_NAME
    connection: sqlite3.Connection | None = None
    try:
        connection = connect(directory)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        _make_or_check(connection, path)
        (log_id,) = connection.execute("SELECT log_id FROM log").fetchone()
        for table in _ENDS:
            for order in ("ASC", "DESC"):
                connection.execute(f"SELECT * FROM {table} ORDER BY 1 {order} LIMIT 1").fetchall()
        connection.execute("COMMIT")
    except (sqlite3.Error, TypeError) as error:
        if connection is not None:
            connection.close()
        raise file_error(path, error) from error
    except DataDirectoryError:
        if connection is not None:
            connection.close()
        raise
    return connection, log_id


def _make_or_check(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables == 0:
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute("INSERT INTO log VALUES (?)", (str(uuid.uuid4()),))
        connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={_VERSION}")
    elif application_id != _APPLICATION_ID:
        raise DataDirectoryError(
            f"{path} is no log of holterd: choose another directory with --data-dir", path=path
        )
    elif version > _VERSION:
        raise DataDirectoryError(
            f"{path} was written by a newer holterd (format {version}, this one reads "
            f"{_VERSION}): install that version, or choose another directory with --data-dir",
            path=path,
            version=version,
        )
    elif version == 1:
        _from_version_1(connection)


def _from_version_1(connection: sqlite3.Connection) -> None:
    """Lead-off runs had no channels and no reasons, and nobody asked who holds the wall clock."""
    connection.create_function("widen", 1, _widen, deterministic=True)
    connection.execute("UPDATE frames SET lead_off = widen(lead_off) WHERE lead_off IS NOT NULL")
    connection.execute("UPDATE sessions SET utc_uncertainty_ns = ?", (UNKNOWN_NS,))
    connection.execute(f"PRAGMA user_version={_VERSION}")


def _widen(lead_off: bytes) -> bytes:
    return b"".join(struct.pack("<4I", *run, 0, 0) for run in struct.iter_unpack("<2I", lead_off))


def file_error(path: Path, error: Exception) -> DataDirectoryError:
    """One sentence for what SQLite or the decoding of a row says of the file."""
    if _is_full(path.parent):  # SQLite says "disk I/O error" of some of what has no room
        return DataDirectoryError(
            f"the log {path} cannot be used, as its disk is full ({error}): make room on it, or "
            "choose another directory with --data-dir",
            path=path,
        )
    damaged = not isinstance(error, sqlite3.OperationalError)
    advice = (
        "it is damaged: move it away to begin a new log"
        if damaged
        else "check the disk and the permissions, or choose another directory with --data-dir"
    )
    return DataDirectoryError(f"the log {path} cannot be used ({error}): {advice}", path=path)


def _is_full(directory: Path) -> bool:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _STARTING_BYTES


def encode_facts(session: Session) -> str:
    """What is told of a session, apart from what has a column of its own."""
    return json.dumps(
        {
            "channels": [dataclasses.asdict(channel) for channel in session.channels],
            "sample_format": int(session.sample_format),
            "boot_id": session.boot_id,
            "utc": dataclasses.asdict(session.utc),
            "previous_session_id": session.previous_session_id,
            "previous_next_sequence": session.previous_next_sequence,
            "hole_ns": session.hole_ns,
            "hole_uncertainty_ns": session.hole_uncertainty_ns,
        }
    )


def decode_session(
    log_id: str, session_id: int, start_ns: int, rate_hz: float, facts_text: str
) -> Session:
    """A session from its columns."""
    facts: dict[str, Any] = json.loads(facts_text)
    facts["channels"] = tuple(Channel(**channel) for channel in facts["channels"])
    facts["sample_format"] = SampleFormat(facts["sample_format"])
    facts["utc"] = UtcEstimate(**facts["utc"])
    return Session(session_id=session_id, log_id=log_id, grid=Grid(start_ns, rate_hz), **facts)


def encode_frames(item: Frames) -> tuple[int, int, int, int, bytes | None, bytes | None]:
    """A row of `frames`."""
    key = key_of(item.session_id, item.first_sequence)
    if isinstance(item, Gap):
        return key, item.frame_count, int(item.cause), 0, None, None
    runs = [
        number
        for run in item.lead_off
        for number in (
            run.first_sequence - item.first_sequence,
            run.frame_count,
            run.channel_mask,
            run.reasons,
        )
    ]
    lead_off = struct.pack(f"<{len(runs)}I", *runs) if runs else None
    return key, item.frame_count, 0, item.late_count, lead_off, item.counts


def decode_frames(
    key: int,
    frame_count: int,
    cause: int,
    late_count: int,
    lead_off: bytes | None,
    counts: bytes,
) -> Frames:
    """A block or gap from a row of `frames`."""
    session_id, first = place_of(key)
    if cause:
        return Gap(session_id, first, frame_count, GapCause(cause))
    runs = (
        tuple(
            LeadOffRun(first + start, n, mask, LeadOff(reasons))
            for start, n, mask, reasons in struct.iter_unpack("<4I", lead_off)
        )
        if lead_off
        else ()
    )
    return Block(session_id, first, frame_count, counts, runs, late_count)


def encode_window(
    item: Classification | Gap, model_id: int
) -> tuple[int, int, int, int, int, bytes]:
    """A row of `windows`. A gap of windows has the key of its last sequence, and no model."""
    if isinstance(item, Gap):
        key = key_of(item.session_id, item.next_sequence - 1)
        return key, item.frame_count, model_id, int(item.cause), 0, b""
    return (
        key_of(item.session_id, item.last_sequence),
        item.last_sequence - item.first_sequence + 1,
        model_id,
        int(item.reason or 0),
        item.inference_ns,
        struct.pack(f"<{len(item.scores)}d", *item.scores),
    )


@functools.lru_cache(maxsize=64)
def _labels(text: str) -> tuple[str, ...]:
    """A model's labels; a page of windows has the same ones thousands of times."""
    return tuple(json.loads(text))


def decode_window(
    key: int,
    frame_count: int,
    sha256: str | None,
    labels: str,
    reason: int,
    inference_ns: int,
    scores: bytes,
) -> Classification | Gap:
    """A classification from a row of `windows` and its model's; without a model a gap."""
    session_id, last = place_of(key)
    if sha256 is None:
        return Gap(session_id, last - frame_count + 1, frame_count, GapCause(reason))
    return Classification(
        session_id=session_id,
        first_sequence=last - frame_count + 1,
        last_sequence=last,
        model_sha256=sha256,
        labels=_labels(labels),
        scores=struct.unpack(f"<{len(scores) // 8}d", scores),
        reason=UnclassifiableReason(reason) if reason else None,
        inference_ns=inference_ns,
    )
