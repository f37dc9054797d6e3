"""How the log does on its disk: what it holds, what is safe, and whether the disk takes more."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

from .places import Position
from .schema import place_of

_THREAD_IO = Path("/proc/thread-self/io")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """How the log does; it is kept ready, so that asking costs nothing.

    Attributes:
        stopped: the alarm: the disk refuses what is appended, and streams go on from memory.
        error: why, as a sentence; "" where it takes it.
        size_bytes: what the log holds on the disk: the pages in use, and the WAL.
        size_limit_bytes: above it the oldest is dropped; 0 where only its age counts. Below what
            was asked for where the disk has no room for so much.
        earliest: session and sequence of the first frame that is kept; None where there is none.
        durable_sequence: frames of the running session below it survive a power cut.
        lost_frame_count: frames of the running session that were dropped before the disk took them.
        written_bytes: bytes that the log's thread gave to write() since the start, the file's pages
            and the WAL's alike; 0 where the kernel does not count them.
    """

    stopped: bool = False
    error: str = ""
    size_bytes: int = 0
    size_limit_bytes: int = 0
    earliest: Position | None = None
    durable_sequence: int = 0
    lost_frame_count: int = 0
    written_bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What the file holds after a commit; the attributes are those of Recording."""

    size_bytes: int
    size_limit_bytes: int
    earliest: Position | None
    written_bytes: int

    def told(self, recording: Recording) -> Recording:
        """A recording with these."""
        return dataclasses.replace(
            recording,
            size_bytes=self.size_bytes,
            size_limit_bytes=self.size_limit_bytes,
            earliest=self.earliest,
            written_bytes=self.written_bytes,
        )


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file's pages that are in use; those that are free are used before it grows."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def wal_bytes(path: Path) -> int:
    """Size of the file's WAL; 0 where it has none."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def load_usage(connection: sqlite3.Connection, path: Path, size_limit_bytes: int) -> Usage:
    """What the file holds; for the thread that writes it."""
    (key,) = connection.execute("SELECT min(key) FROM frames").fetchone()
    return Usage(
        size_bytes=used_bytes(connection) + wal_bytes(path),
        size_limit_bytes=size_limit_bytes,
        earliest=None if key is None else Position(*place_of(key)),
        written_bytes=_written_bytes(),
    )


def _written_bytes() -> int:
    """What this thread gave to write() since it began."""
    try:
        lines = _THREAD_IO.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("wchar:")), 0)
