"""The sampler's end of the pipe: frames are gathered, and written without ever waiting too long.

In real time a full pipe costs frames, which are counted and become an OVERRUN in their place. A
source that has no time of its own waits for its reader instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
from collections import Counter

from ..grid import GapCause
from ..lateness import Lateness
from . import FRAME
from .sampler_frames import (
    BUS,
    BUS_ERROR,
    BUS_HEADER,
    DATA,
    DATA_HEADER,
    MAX_COUNTS,
    MISSING,
    MISSING_HEADER,
    QUALITY,
)

PIPE_BYTES = 2**20


class ParentGoneError(Exception):
    """Error raised when nobody is at the other end any more."""


class Outbox:
    """What was sampled and is not yet written, in the order of its frames.

    Args:
        output: the pipe to the parent; it becomes non-blocking.
        control: the pipe from the parent, whose end means that the parent is gone.
        frame_size: bytes of one frame.
        flush_ticks: ticks after which what was gathered is written.
        waits: whether a full pipe is waited for.
    """

    def __init__(
        self, output: int, control: int, *, frame_size: int, flush_ticks: int, waits: bool
    ) -> None:
        self._output = output
        self._control = control
        self._flush_ticks = flush_ticks
        self._max_frames = MAX_COUNTS // frame_size
        self._frame_size = frame_size
        self._waits = waits
        self._ticks = 0
        self._first = 0
        self._late_count = 0
        self._counts = bytearray()
        self._missing: tuple[int, int, int] | None = None
        self._overrun: tuple[int, int] | None = None
        self._failed_sequence = 0
        self._retry_count = 0
        self._bus_errors: Counter[int] = Counter()
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        with contextlib.suppress(OSError):  # more than /proc/sys/fs/pipe-max-size
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(output, False)

    def frame(self, sequence: int, counts: bytes, *, late: bool = False) -> None:
        """Gather one frame."""
        self._write_missing()
        if not self._counts:
            self._first = sequence
        self._counts += counts
        self._late_count += late
        if len(self._counts) >= self._max_frames * self._frame_size:
            self._write_data()
        self._tick()

    def block(self, sequence: int, counts: bytes) -> None:
        """Write many frames at once: at most MAX_COUNTS bytes."""
        self._first, self._counts = sequence, bytearray(counts)
        self.flush()

    def missing(self, sequence: int, frame_count: int, cause: GapCause) -> None:
        """Gather frames that could not be read."""
        self._write_data()
        last = self._missing
        if last and last[2] == cause:
            self._missing = (last[0], last[1] + frame_count, cause)
        else:
            self._write_missing()
            self._missing = (sequence, frame_count, cause)
        self._tick(frame_count)

    def bus_error(self, sequence: int, errno: int) -> None:
        """Count a read that failed. It is told before its frame, as `retry` is."""
        self._failed_sequence = sequence
        self._bus_errors[errno] += 1

    def retry(self) -> None:
        """Count a read that is tried again."""
        self._retry_count += 1

    def quality(self, lateness: Lateness) -> None:
        """Write and empty a histogram; where the pipe is full it goes on counting instead.

        What was gathered goes before it, so that it is told of the frames that were told.
        """
        self.flush()
        data = lateness.take()
        if not self._write(QUALITY, data):
            lateness.merge(data)

    def flush(self) -> None:
        """Write everything that was gathered.

        Raises:
            ParentGoneError: nobody reads it any more.
        """
        self._ticks = 0
        self._write_bus()
        self._write_data()
        self._write_missing()
        if self._poll.poll(0):
            raise ParentGoneError

    def end(self, kind: int) -> None:
        """Write everything, then a last frame, for which even a full pipe is waited for."""
        self._waits = True
        self._write_overrun()
        self.flush()
        self._write(kind, b"")

    def _tick(self, count: int = 1) -> None:
        self._ticks += count
        if self._ticks >= self._flush_ticks:
            self.flush()

    def _write_data(self) -> None:
        if not self._counts:
            return
        frame_count = len(self._counts) // self._frame_size
        header = DATA_HEADER.pack(self._first, self._late_count)
        self._write_or_count(DATA, header + bytes(self._counts), self._first, frame_count)
        self._counts.clear()
        self._late_count = 0

    def _write_missing(self) -> None:
        if self._missing is None:
            return
        missing, self._missing = self._missing, None
        self._write_or_count(MISSING, MISSING_HEADER.pack(*missing), *missing[:2])

    def _write_bus(self) -> None:
        """Write the counts of the bus; where the pipe is full they go on counting instead."""
        if not self._bus_errors:  # nothing is retried that did not fail
            return
        header = BUS_HEADER.pack(self._failed_sequence, self._retry_count)
        errors = b"".join(BUS_ERROR.pack(*item) for item in self._bus_errors.items())
        if self._write(BUS, header + errors):
            self._bus_errors.clear()
            self._retry_count = 0

    def _write_or_count(self, kind: int, payload: bytes, first: int, frame_count: int) -> None:
        """Write frames of the grid; where the pipe is full, count them as overrun."""
        self._write_bus()
        if self._write_overrun() and self._write(kind, payload):
            return
        start, count = self._overrun or (first, 0)
        self._overrun = (start, count + frame_count)

    def _write_overrun(self) -> bool:
        if self._overrun is not None:
            header = MISSING_HEADER.pack(*self._overrun, GapCause.OVERRUN)
            if not self._write(MISSING, header):
                return False
            self._overrun = None
        return True

    def _write(self, kind: int, payload: bytes) -> bool:
        """Write one frame whole, or say that the pipe is full."""
        while True:
            try:
                os.write(self._output, FRAME.pack(len(payload), kind) + payload)
                return True
            except BlockingIOError:
                if not self._waits:
                    return False
                self._wait_for_room()
            except BrokenPipeError as error:
                raise ParentGoneError from error

    def _wait_for_room(self) -> None:
        poll = select.poll()
        poll.register(self._output, select.POLLOUT)
        poll.register(self._control, select.POLLIN)
        if any(fd == self._control for fd, _ in poll.poll()):
            raise ParentGoneError
