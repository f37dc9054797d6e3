"""The Log: one append-only log of samples, gaps and classifications, and cursors on it.

    log = await Log.open(directory, retention_hours=168, commit_interval=1, clock=clock)
    session = await log.begin_session(grid=..., channels=..., ...)
    log.append([Block(...), Gap(...)])

    cursor = await log.samples(StartEarliest())
    while True:
        for item in await cursor.next(timeout=1.0):
            ...

A live stream, a backfill and a slow reader are one mechanism, a cursor: it reads the newest minutes
from memory and everything before them from the file, page by page.
"""

from .cursor import Cursor, CursorItem
from .log import Log
from .places import (
    End,
    EndReason,
    Position,
    Start,
    StartEarliest,
    StartLive,
    StartPosition,
    StartTime,
)
from .recording import Recording
from .recovery import Unfinished
from .result_cursor import ClassificationCursor
from .sample_cursor import SampleCursor

__all__ = [
    "ClassificationCursor",
    "Cursor",
    "CursorItem",
    "End",
    "EndReason",
    "Log",
    "Position",
    "Recording",
    "SampleCursor",
    "Start",
    "StartEarliest",
    "StartLive",
    "StartPosition",
    "StartTime",
    "Unfinished",
]
