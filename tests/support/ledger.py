"""What a reader had of a log, joined over all its streams, and checked event by event."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from holter_host import Gap, GapCause, LogPosition, SampleBlock, Session, SessionStarted


@dataclasses.dataclass
class Part:
    """One session, from the first frame that the reader had.

    Attributes:
        started: what said that it began.
        first_sequence: the first frame.
        counts: of every frame from there on, zeros where there are none.
        gaps: the frames that there are none of.
    """

    started: SessionStarted
    first_sequence: int
    counts: bytearray = dataclasses.field(default_factory=bytearray)
    gaps: list[Gap] = dataclasses.field(default_factory=list)

    @property
    def session(self) -> Session:
        """The session."""
        return self.started.session

    @property
    def frame_size(self) -> int:
        """Bytes of a frame of U8 counts."""
        return len(self.session.channels)

    @property
    def next_sequence(self) -> int:
        """The frame that comes next."""
        return self.first_sequence + len(self.counts) // self.frame_size

    @property
    def missing_count(self) -> int:
        """Frames in gaps."""
        return sum(gap.frame_count for gap in self.gaps)

    def causes(self) -> set[GapCause]:
        """Why frames are missing."""
        return {gap.cause for gap in self.gaps}

    def runs(self) -> Iterator[tuple[int, bytes]]:
        """The counts between gaps: the sequence of the first frame, and the bytes."""
        sequence = self.first_sequence
        for gap in [*self.gaps, None]:
            end = self.next_sequence if gap is None else gap.first_sequence
            if end > sequence:
                yield sequence, self.bytes(sequence, end)
            sequence = end if gap is None else gap.next_sequence

    def bytes(self, first: int, end: int) -> bytes:
        """The counts of the frames from `first` to before `end`."""
        start, stop = (
            (sequence - self.first_sequence) * self.frame_size for sequence in (first, end)
        )
        assert 0 <= start <= stop <= len(self.counts)
        return bytes(self.counts[start:stop])


class Ledger:
    """Takes what streams of samples yield, and asserts that it is every frame once, in order.

    Attributes:
        parts: what it has of each session, by its id.
        block_count: blocks so far.
    """

    def __init__(self) -> None:
        self.parts: dict[int, Part] = {}
        self.block_count = 0

    @property
    def newest(self) -> Part:
        """The session that is being read."""
        return next(reversed(self.parts.values()))

    @property
    def position(self) -> LogPosition:
        """Where a stream has to start to go on."""
        part = self.newest
        return LogPosition(part.session.session_id, part.next_sequence, part.session.log_id)

    def add(self, event: SessionStarted | SampleBlock | Gap) -> None:
        """Take the next event.

        Raises:
            AssertionError: it is not what comes next.
        """
        if isinstance(event, SessionStarted):
            self._begin(event)
            return
        session_id = event.session_id if isinstance(event, Gap) else event.session.session_id
        part = self.newest
        assert session_id == part.session.session_id
        if len(self.parts) == 1 and not part.counts:  # wherever the reader began
            part.first_sequence = event.first_sequence
        assert event.first_sequence == part.next_sequence, f"{part.next_sequence} comes next"
        assert event.frame_count > 0
        if isinstance(event, Gap):
            part.gaps.append(event)
            part.counts += bytes(event.frame_count * part.frame_size)
        else:
            self.block_count += 1
            part.counts += event.counts.tobytes()

    def _begin(self, started: SessionStarted) -> None:
        if not self.parts:
            self.parts[started.session.session_id] = Part(started, 0)
            return
        part = self.newest
        if started.session.session_id == part.session.session_id:  # a stream that goes on
            assert started == part.started
            return
        assert started.session.session_id == part.session.session_id + 1
        assert started.previous_session_id == part.session.session_id
        # All that the log kept of a session has come before the next one begins.
        assert started.previous_next_sequence <= part.next_sequence
        self.parts[started.session.session_id] = Part(started, 0)
