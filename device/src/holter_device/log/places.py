"""Where a stream starts, and how it ends."""

from __future__ import annotations

import dataclasses
import enum


@dataclasses.dataclass(frozen=True, slots=True)
class StartLive:
    """At the frames that arrive from now on."""


@dataclasses.dataclass(frozen=True, slots=True)
class StartEarliest:
    """At the first frame that the log still keeps."""


@dataclasses.dataclass(frozen=True, slots=True)
class StartPosition:
    """At a place that an earlier stream told, inclusive.

    Attributes:
        session_id: the session.
        sequence: the first sequence that is wanted.
        log_id: the log that is meant; "" for any.
    """

    session_id: int
    sequence: int
    log_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class StartTime:
    """At the first frame at or after a UTC time (ns since 1970), by the device's estimate."""

    utc_ns: int


Start = StartLive | StartEarliest | StartPosition | StartTime


class EndReason(enum.IntEnum):
    """Why streams end; the numbers are those of the wire."""

    STOPPING = 1
    SOURCE_ENDED = 2


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """The last item of a cursor.

    Attributes:
        session_id: the session that the cursor was in; 0 where it never came to one.
        next_sequence: where to start the next stream in order to miss nothing.
        reason: why it ends.
    """

    session_id: int
    next_sequence: int
    reason: EndReason


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """A place in the log: everything below it has been delivered."""

    session_id: int
    next_sequence: int
