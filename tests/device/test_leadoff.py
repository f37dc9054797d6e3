"""The lines of lead-off comparators: at the protocol, and by gpiod on a simulated chip.

This machine's kernel has no GPIOs, so the chip is simulated below gpiod, at the kernel's own
interface: open, ioctl, poll and read. What a real kernel does beyond it is for tests/hardware.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holter_device.errors import ConfigError, LeadOffLinesError
from holter_device.leadoff import Edge, LeadOffLines, Line, open_lines, parse_lines
from holter_device.testing import GpioChipServer, ScriptedLines, build_shim
from support.gpio_reader import GpioReader, gpio_process

PLUS, MINUS = Line("A0", "LO+", 17), Line("A0", "LO-", 27)
LINES = (PLUS, MINUS)
SECOND_NS = 10**9
DEBOUNCE_NS = 1_000_000


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim of the GPIO chip."""
    return build_shim(tmp_path_factory.mktemp("shim"), "gpio_shim")


@pytest.fixture
def chip(tmp_path: Path) -> Iterator[GpioChipServer]:
    """A chip."""
    with GpioChipServer(tmp_path / "chip") as server:
        yield server


@contextlib.contextmanager
def opened(chip: GpioChipServer, shim: Path) -> Iterator[tuple[GpioReader, subprocess.Popen[str]]]:
    """The lines by gpiod, and the process that has them."""
    environment = {**os.environ, **chip.environment(shim)}
    with gpio_process(environment, "gpiochip0", LINES) as process:
        yield GpioReader(process, LINES), process


def drive(chip: GpioChipServer, edges: list[Edge]) -> None:
    """Have the chip tell these edges, each when it has been stable for the debounce period."""
    for edge in edges:
        chip.drive(edge.line.number, high=edge.off, time_ns=edge.time_ns + DEBOUNCE_NS)


@pytest.fixture(params=["scripted", "gpiod"])
def story(
    request: pytest.FixtureRequest, chip: GpioChipServer, shim: Path
) -> Iterator[tuple[LeadOffLines, list[Edge]]]:
    """Lines of which LO- is off when they are opened, and the edges that come then."""
    later_ns = time.monotonic_ns() + 1000 * SECOND_NS
    edges = [
        Edge(later_ns, PLUS, off=True),
        Edge(later_ns + SECOND_NS, MINUS, off=False),
        Edge(later_ns + 2 * SECOND_NS, PLUS, off=False),
        Edge(later_ns + 3 * SECOND_NS, PLUS, off=True),
    ]
    if request.param == "scripted":
        levels = [Edge(0, PLUS, off=False), Edge(0, MINUS, off=True)]
        yield ScriptedLines([*levels, *edges]), edges
        return
    chip.drive(MINUS.number, high=True)
    with opened(chip, shim) as (reader, _):
        drive(chip, edges)
        yield reader, edges


def test_each_edge_comes_once_in_its_time(story: tuple[LeadOffLines, list[Edge]]) -> None:
    """First come the levels at the start; then each edge once, in order, none before its time."""
    lines, edges = story
    levels = lines.read(edges[0].time_ns - 1)
    assert [(edge.line, edge.off) for edge in levels] == [(PLUS, False), (MINUS, True)]
    assert lines.read(edges[0].time_ns - 1) == []
    assert lines.read(edges[0].time_ns) == edges[:1]
    assert lines.read(edges[2].time_ns) == edges[1:3]
    assert lines.read(edges[3].time_ns + SECOND_NS) == edges[3:]
    assert lines.read(edges[3].time_ns + SECOND_NS) == []
    lines.close()


def test_dropped_edges_count_as_off(chip: GpioChipServer, shim: Path) -> None:
    """Where the kernel dropped edges the electrode counts as off; then the levels are read again.

    Whatever was missed, what is told last is the level that the line has.
    """
    with opened(chip, shim) as (lines, process):
        now_ns = time.monotonic_ns() + 1000 * SECOND_NS
        drive(chip, [Edge(now_ns, MINUS, off=True)])
        for high in (True, False, True):
            chip.drive(PLUS.number, high=high, dropped=True)
        drive(chip, [Edge(now_ns + 5, PLUS, off=False)])
        edges = lines.read(now_ns + SECOND_NS)
        assert edges[2:5] == [
            Edge(now_ns, MINUS, off=True),
            Edge(now_ns, PLUS, off=True),
            Edge(now_ns + 5, PLUS, off=False),
        ]
        assert {edge.line: edge.off for edge in edges[5:]} == {PLUS: False, MINUS: True}
        lines.close()
        assert process.stderr is not None
        assert "3 edges of the lead-off lines were dropped" in process.stderr.read()


def test_a_chip_that_goes_away_leaves_the_levels(chip: GpioChipServer, shim: Path) -> None:
    """When the lines can no longer be read the log says so once, and no edge comes any more."""
    with opened(chip, shim) as (lines, process):
        until_ns = time.monotonic_ns() + SECOND_NS
        assert len(lines.read(until_ns)) == 2
        chip.hang_up()
        assert lines.read(until_ns) == []
        assert lines.read(until_ns) == []
        lines.close()
        assert process.stderr is not None
        assert process.stderr.read().count("can no longer be read") == 1


@pytest.mark.parametrize(
    ("fault", "number", "words"),
    [
        ("open_errno", errno.EACCES, "group gpio"),
        ("request_errno", errno.EBUSY, "in use by another program"),
        ("request_errno", errno.EIO, "Input/output error"),
        ("reads_errno", errno.EIO, "Input/output error"),
    ],
)
def test_lines_that_cannot_be_had_are_one_error(
    chip: GpioChipServer, shim: Path, fault: str, number: int, words: str
) -> None:
    """What the kernel refuses is a LeadOffLinesError that says what to do."""
    setattr(chip, fault, number)
    with pytest.raises(LeadOffLinesError, match=words), opened(chip, shim):
        pass


def test_a_line_that_the_chip_has_not_is_named(tmp_path: Path, shim: Path) -> None:
    """A number past the chip's lines is an error that says it."""
    with (
        GpioChipServer(tmp_path / "small", line_count=20) as chip,
        pytest.raises(LeadOffLinesError, match="has no line 27"),
        opened(chip, shim),
    ):
        pass


@pytest.mark.parametrize("name", ["gpiochip999", "/dev/null"])
def test_no_such_chip_is_one_error(name: str) -> None:
    """A chip that is not there, or is no chip, is named; asked of this machine's own kernel."""
    pytest.importorskip("gpiod", reason="make sync installs gpiod")
    with pytest.raises(LeadOffLinesError, match=r"there is no GPIO chip /dev/\w+; .*lead_off_chip"):
        open_lines(name, LINES, ["A0"])


def test_gpiod_is_needed_for_lines_only(tmp_path: Path) -> None:
    """Without gpiod, or with its version 1, lines are refused with what to install."""
    tmp_path.joinpath("gpiod.py").write_text("version = 1\n")
    code = (
        "from holter_device.leadoff import open_lines, parse_lines\n"
        "assert open_lines('gpiochip0', (), ['A0']) is None\n"
        "open_lines('gpiochip0', parse_lines(['A0:LO+:17']), ['A0'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "LeadOffLinesError: lead_off_lines need gpiod 2" in done.stderr
    assert "pip install 'holter-device[gpio]'" in done.stderr


def test_lines_are_named_as_they_are_wired() -> None:
    """An entry is channel, electrode and line, and is shown as it was given."""
    texts = ("A0:LO+:17", "A0:LO-:27", "V1:x:LO+:0")
    lines = parse_lines(texts)
    assert lines == (*LINES, Line("V1:x", "LO+", 0))
    assert tuple(map(str, lines)) == texts


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (("A0:LO:17",), "has 'A0:LO:17'; an entry is"),
        (("A0:LO+:GPIO17",), "an entry is"),
        ((":LO+:17",), "an entry is"),
        (("",), "an entry is"),
        (("A0:LO+:17", "A1:LO+:17"), "names line 17 twice"),
        (("A0:LO+:17", "A0:LO+:27"), "names A0:LO\\+ twice"),
    ],
)
def test_a_bad_entry_is_named(texts: tuple[str, ...], words: str) -> None:
    """What is no entry, or said twice, is a ConfigError that quotes it."""
    with pytest.raises(ConfigError, match=f"lead_off_lines {words}|{words}"):
        parse_lines(texts)


def test_a_line_of_no_channel_is_refused() -> None:
    """A line belongs to a channel that is sampled."""
    with pytest.raises(ConfigError, match="has 'A0:LO\\+:17', but the channels are A1, A2"):
        open_lines("gpiochip0", LINES, ["A1", "A2"])
