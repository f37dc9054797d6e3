"""From a stream to captures: the arrays while they fill, and how far a stretch of time goes."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import numpy as np

from holter_host import types
from holter_host.capture import Capture
from holter_host.enums import SampleFormat
from holter_host.errors import BadInputError
from holter_host.streams import SampleStream

MAX_FRAMES: Final = 2**28

Progress = Callable[[int, int], None]


async def read_captures(
    stream: SampleStream, seconds: float, progress: Progress | None = None
) -> AsyncGenerator[Capture, None]:
    """The next `seconds` of a stream, one capture for each session that has frames in them.

    Raises:
        DeviceError: as SampleStream.
        BadInputError: that is no length for a capture.
    """
    assembly: _Assembly | None = None
    span = Span(seconds)
    async for event in stream:
        if isinstance(event, types.SessionStarted):
            if assembly is not None and assembly.filled:
                yield assembly.capture()
            assembly = None
            span.enter(event)
            if span.is_over:
                return
            assembly = _Assembly(event.session, span.seconds)
        elif assembly is not None:
            span.add(event)
            assembly.add(event)
            if progress is not None:
                progress(assembly.filled, assembly.wanted)
            if assembly.filled == assembly.wanted:
                break
    if assembly is not None and assembly.filled:
        yield assembly.capture()


class Span:
    """A stretch of the device's time from the first frame that comes, over sessions.

    Attributes:
        seconds: what is left of it where the session begins, or, in the first, where it does.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._session: types.Session | None = None
        self._first: int | None = None
        self._next = 0

    @property
    def is_over(self) -> bool:
        """Whether there is no frame left in it."""
        if self._session is None or self._first is None:
            return False
        return self.seconds * self._session.rate_hz - (self._next - self._first) < 0.5

    def enter(self, started: types.SessionStarted) -> None:
        """Go on in the next session."""
        old, self._session = self._session, started.session
        if old is None or self._first is None:
            return
        # The device's own count: a power cut may have taken frames that were sent.
        frames = started.previous_next_sequence - self._first
        self.seconds -= max(0.0, frames / old.rate_hz + started.hole_nanos / 1e9)
        self._first = self._next = 0

    def add(self, event: types.SampleBlock | types.Gap) -> None:
        """Note frames that came."""
        if self._first is None:
            self._first = event.first_sequence
        self._next = event.next_sequence


class _Assembly:
    """The arrays of a capture while they fill."""

    def __init__(self, session: types.Session, seconds: float) -> None:
        self.wanted = frame_count(seconds, session.rate_hz)
        self.filled = 0
        self._session = session
        self._first = -1
        wide = session.sample_format == SampleFormat.S16LE
        shape = (self.wanted, len(session.channels))
        self._counts: Any = np.zeros(shape, dtype=np.int16 if wide else np.uint8)
        self._valid = np.zeros(self.wanted, dtype=np.bool_)
        self._lead_off_runs: list[types.LeadOffRun] = []
        self._gaps: list[types.Gap] = []

    def add(self, event: types.SampleBlock | types.Gap) -> None:
        """Put the frames of the event in their places; what is past the end is left out."""
        if self._first < 0:
            self._first = event.first_sequence
        start = event.first_sequence - self._first
        stop = min(event.next_sequence - self._first, self.wanted)
        if isinstance(event, types.Gap):
            part = dataclasses.replace(event, frame_count=stop - start)
            self._gaps.append(part)
        else:
            self._counts[start:stop] = event.counts[: stop - start]
            self._valid[start:stop] = True
            for run in event.lead_off_runs:
                self._add_run(run, self._first + stop)
        self.filled = stop

    def _add_run(self, run: types.LeadOffRun, end: int) -> None:
        """Add a run up to `end`, or lengthen the one that a block's end has cut."""
        stop = min(run.next_sequence, end)
        if stop <= run.first_sequence:
            return
        runs = self._lead_off_runs
        last = runs[-1] if runs else None
        if (
            last is not None
            and last.next_sequence == run.first_sequence
            and (last.channel_indexes, last.reasons) == (run.channel_indexes, run.reasons)
        ):
            run = runs.pop()
        runs.append(dataclasses.replace(run, frame_count=stop - run.first_sequence))

    def capture(self) -> Capture:
        """What came so far."""
        return Capture(
            self._session,
            self._first,
            self._counts[: self.filled],
            self._valid[: self.filled],
            tuple(self._lead_off_runs),
            tuple(self._gaps),
        )


def frame_count(seconds: float, rate_hz: float) -> int:
    """How many frames a capture of `seconds` has.

    Raises:
        BadInputError: that is none, or more than 2**28.
    """
    frames = seconds * rate_hz
    if not 0.5 <= frames <= MAX_FRAMES:
        raise BadInputError(
            f"A capture of {seconds:g} s at {rate_hz:g} Hz is not 1 to {MAX_FRAMES} frames."
        )
    return round(frames)
