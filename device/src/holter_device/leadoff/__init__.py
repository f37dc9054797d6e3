"""The lines of the front ends' lead-off comparators, where they are wired to GPIOs.

The AD8232 drives LO+ (LO-) high while its positive (negative) electrode is off (data sheet, "Leads
Off Detection"). Nothing heavy is imported here, and gpiod only when lines are named.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from ..errors import ConfigError, LeadOffLinesError

ELECTRODES = ("LO+", "LO-")


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line: "A0:LO+:17" is the LO+ of the front end at A0, wired to line 17 of the chip.

    Attributes:
        channel: name of the channel.
        electrode: "LO+" or "LO-".
        number: the line's number on the GPIO chip; on a Raspberry Pi its GPIO (BCM) number.
    """

    channel: str
    electrode: str
    number: int

    def __str__(self) -> str:
        return f"{self.channel}:{self.electrode}:{self.number}"


@dataclasses.dataclass(frozen=True, slots=True)
class Edge:
    """A line said at this time (CLOCK_MONOTONIC, ns) that its electrode is off, or on again."""

    time_ns: int
    line: Line
    off: bool


class LeadOffLines(Protocol):
    """The lines, watched from when they are opened. One thread uses them."""

    def read(self, until_ns: int) -> Sequence[Edge]:
        """The edges up to a time that no call gave before, in order of time. It does not wait.

        The first ones are the levels that the lines had when they were opened, one for each line.
        An edge may tell what is known already. After an error, which the log tells, the lines keep
        the level that they had.
        """

    def close(self) -> None:
        """Let go of the lines. Safe to repeat."""


def parse_lines(texts: Iterable[str]) -> tuple[Line, ...]:
    """The lines that a setting names.

    Raises:
        ConfigError: an entry is none, or a line or an electrode is named twice.
    """
    lines: list[Line] = []
    for text in texts:
        match = re.fullmatch(r"(.+):(LO[+-]):(\d{1,4})", text)
        if match is None:
            raise _error(
                f"has {text!r}; an entry is CHANNEL:LO+:LINE or CHANNEL:LO-:LINE, e.g. A0:LO+:17"
            )
        line = Line(match[1], match[2], int(match[3]))
        if any(line.number == other.number for other in lines):
            raise _error(f"names line {line.number} twice")
        if any((line.channel, line.electrode) == (o.channel, o.electrode) for o in lines):
            raise _error(f"names {line.channel}:{line.electrode} twice")
        lines.append(line)
    return tuple(lines)


def open_lines(chip: str, lines: Sequence[Line], channels: Sequence[str]) -> LeadOffLines | None:
    """Watch the lines; None where there are none.

    Args:
        chip: path of the GPIO chip, or its name in /dev.
        lines: what is wired.
        channels: names of the session's channels.

    Raises:
        ConfigError: a line belongs to no channel.
        LeadOffLinesError: the lines cannot be used; the sentence says why and what to do.
    """
    for line in lines:
        if line.channel not in channels:
            raise _error(f"has {str(line)!r}, but the channels are {', '.join(channels)}")
    if not lines:
        return None
    try:
        from .gpio import GpioLines
    except ModuleNotFoundError as error:
        if error.name not in ("gpiod", "gpiod.line"):  # version 1 has no gpiod.line
            raise
        raise LeadOffLinesError(
            "lead_off_lines need gpiod 2, which is not installed: pip install 'holter-device[gpio]'"
        ) from error
    return GpioLines(chip, lines)


def _error(text: str) -> ConfigError:
    return ConfigError(f"lead_off_lines {text}", key="lead_off_lines")
