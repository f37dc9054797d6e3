"""What a reader had of a log, joined over all its streams, and checked event by event."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from holter_device.windows import window_ends
from holter_host import (
    Classification,
    Gap,
    LogPosition,
    ModelChanged,
    SampleBlock,
    Session,
    SessionStarted,
    UnclassifiableReason,
)


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


@dataclasses.dataclass
class WindowLedger:
    """Takes what streams of classifications yield, of a model of averages (see tflite_models).

    Attributes:
        window: frames of a window.
        hop: frames from one to the next.
        windows: those of each session, in the order in which they came.
    """

    window: int
    hop: int
    windows: dict[int, list[Classification]] = dataclasses.field(default_factory=dict)

    def add(self, event: SessionStarted | ModelChanged | Classification | Gap) -> None:
        """Take the next event.

        Raises:
            AssertionError: windows were dropped.
        """
        assert not isinstance(event, Gap)
        if isinstance(event, Classification):
            self.windows.setdefault(event.session_id, []).append(event)

    def next_sequence(self, session_id: int) -> int:
        """Windows of a session that end before this have come."""
        windows = self.windows.get(session_id)
        return windows[-1].last_sequence + 1 if windows else 0

    def assert_each_once(self, part: Part) -> list[Classification]:
        """Every window of a session came once, in order, and says what is in its frames.

        Returns:
            Those that holterd died before it had classified them.
        """
        session_id = part.session.session_id
        windows = self.windows.get(session_id, [])
        ends = [window.last_sequence for window in windows]
        upto = self.next_sequence(session_id)
        assert ends == list(window_ends(self.window, self.hop, 0, upto))
        for window in windows:
            self._check(window, part)
        return [w for w in windows if w.unclassifiable_reason is UnclassifiableReason.RESTARTED]

    def _check(self, window: Classification, part: Part) -> None:
        first, end = window.first_sequence, window.last_sequence + 1
        assert end - first == self.window
        reason = window.unclassifiable_reason
        if reason is UnclassifiableReason.RESTARTED:
            return
        spoilt = any(gap.first_sequence < end and gap.next_sequence > first for gap in part.gaps)
        assert reason is (UnclassifiableReason.GAP if spoilt else UnclassifiableReason.UNSPECIFIED)
        if not spoilt:
            mean = float(np.frombuffer(part.bytes(first, end), np.uint8).mean())
            scores = [score.value for score in window.scores]
            assert np.allclose(scores, [mean, 2 * mean, 3 * mean], rtol=1e-5)
