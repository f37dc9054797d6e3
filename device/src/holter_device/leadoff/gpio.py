"""Lead-off lines on a GPIO chip of the kernel, by gpiod 2; the one module that imports it.

The kernel stamps each edge with CLOCK_MONOTONIC when it has been stable for the debounce period,
and keeps a bounded queue of them, of which it drops the oldest. Edges are numbered by line, so that
dropped ones are noticed. Lines are pulled up: one that is not connected counts as off.
"""

from __future__ import annotations

import datetime
import errno
import logging
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import gpiod
from gpiod.line import Bias, Clock, Direction, Value
from gpiod.line import Edge as Edges

from ..errors import LeadOffLinesError
from . import Edge, Line

# Shorter than a frame at every rate that is usual, longer than a spark.
DEBOUNCE_NS = 1_000_000
# What the kernel queues for a request at most: 16 for each of 64 lines.
QUEUE_EVENTS = 1024

_log = logging.getLogger(__name__)


class GpioLines:
    """LeadOffLines on a GPIO chip.

    Args:
        chip: its path, or its name in /dev.
        lines: the lines that are wired.

    Raises:
        LeadOffLinesError: they cannot be used.
    """

    def __init__(self, chip: str, lines: Sequence[Line]) -> None:
        self._path = Path("/dev") / chip
        self._lines = {line.number: line for line in lines}
        self._seen = dict.fromkeys(self._lines, 0)
        self._failed = False
        self._last_ns = 0
        try:
            self._request = _request(self._path, list(self._lines))
            self._edges = deque(self._levels())
        except (OSError, ValueError) as error:
            raise _error(self._path, self._lines, error) from error

    def read(self, until_ns: int) -> list[Edge]:
        """Empty the kernel's queue, and give what came up to the time."""
        if not self._failed:
            try:
                self._take()
            except OSError as error:
                self._failed = True
                _log.error(
                    "the lead-off lines of %s can no longer be read (%s): they keep the level that "
                    "they had, until holterd is started again",
                    self._path,
                    error,
                )
        edges = []
        while self._edges and self._edges[0].time_ns <= until_ns:
            edges.append(self._edges.popleft())
        return edges

    def close(self) -> None:
        """Let go of the lines."""
        if self._request:  # gpiod 2.2 does not release twice
            self._request.release()

    def _take(self) -> None:
        """Empty the kernel's queue."""
        dropped = 0
        while self._request.wait_edge_events(0):
            for event in self._request.read_edge_events():
                dropped += self._add(event)
        if dropped:
            _log.warning(
                "%d edges of the lead-off lines were dropped: they change more often than they can "
                "be followed; check their wiring",
                dropped,
            )
            self._edges.extend(self._levels())

    def _add(self, event: gpiod.EdgeEvent) -> int:
        """Queue an edge. Returns how many of its line were dropped before it."""
        line = self._lines[event.line_offset]
        dropped = event.line_seqno - self._seen[line.number] - 1
        self._seen[line.number] = event.line_seqno
        if dropped:
            # What it did meanwhile is unknown, so it counts as off since the edge before.
            self._edges.append(Edge(self._last_ns, line, off=True))
        off = event.event_type is gpiod.EdgeEvent.Type.RISING_EDGE
        self._last_ns = max(self._last_ns, event.timestamp_ns - DEBOUNCE_NS)
        self._edges.append(Edge(self._last_ns, line, off))
        return dropped

    def _levels(self) -> list[Edge]:
        """The levels of all lines now."""
        values = self._request.get_values(list(self._lines))
        self._last_ns = max(self._last_ns, time.monotonic_ns())
        levels = zip(self._lines.values(), values, strict=True)
        return [Edge(self._last_ns, line, value is Value.ACTIVE) for line, value in levels]


def _request(path: Path, numbers: Sequence[int]) -> gpiod.LineRequest:
    settings = gpiod.LineSettings(
        direction=Direction.INPUT,
        edge_detection=Edges.BOTH,
        bias=Bias.PULL_UP,
        debounce_period=datetime.timedelta(microseconds=DEBOUNCE_NS // 1000),
        event_clock=Clock.MONOTONIC,
    )
    return gpiod.request_lines(
        str(path),
        consumer="holterd",
        config={tuple(numbers): settings},
        event_buffer_size=QUEUE_EVENTS,
    )


def _error(path: Path, lines: dict[int, Line], error: Exception) -> LeadOffLinesError:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOENT, errno.ENODEV, errno.ENOTTY):
        there = ", ".join(sorted(str(found) for found in Path("/dev").glob("gpiochip*")))
        text = f"there is no GPIO chip {path}; there is {there or 'none'}: set lead_off_chip"
    elif number in (errno.EACCES, errno.EPERM):
        text = f"this user may not open {path}: add it to the group gpio, and log in again"
    elif number == errno.EBUSY:
        names = ", ".join(map(str, lines.values()))
        text = f"one of the lines {names} of {path} is in use by another program: see gpioinfo"
    elif isinstance(error, ValueError):
        text = f"{path} has no line {max(lines)} ({error}): see gpioinfo"
    else:
        text = f"the lead-off lines of {path} cannot be used: {error}"
    return LeadOffLinesError(text, chip=path, errno=number or "")
