"""The LO+ line of a real front end, by a real GPIO chip.

Run it where the line is: `HOLTER_LEAD_OFF_CHIP=gpiochip0 HOLTER_LEAD_OFF_LINE=17 pytest -m hardware
-s tests/hardware`. Take the electrode of the line off when it asks, and put it back on; or, without
a front end, pull the GPIO up to 3.3 V and down to ground.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from holter_device.leadoff import LeadOffLines, Line, open_lines

PATIENCE_SECONDS = 60.0

pytestmark = pytest.mark.hardware


@pytest.fixture
def lines() -> Iterator[LeadOffLines]:
    """The line that the environment names."""
    if "HOLTER_LEAD_OFF_LINE" not in os.environ:
        pytest.skip("set HOLTER_LEAD_OFF_LINE (and HOLTER_LEAD_OFF_CHIP) to where LO+ is wired")
    chip = os.environ.get("HOLTER_LEAD_OFF_CHIP", "gpiochip0")
    line = Line("A0", "LO+", int(os.environ["HOLTER_LEAD_OFF_LINE"]))
    opened = open_lines(chip, [line], ["A0"])
    assert opened is not None
    yield opened
    opened.close()


@pytest.mark.timeout(3 * PATIENCE_SECONDS)
def test_an_electrode_goes_off_and_comes_on(lines: LeadOffLines) -> None:
    """Both edges come, stamped with CLOCK_MONOTONIC, between the question and the answer."""
    (level,) = lines.read(time.monotonic_ns())
    for off in (True, False) if not level.off else (False, True):
        begin_ns = time.monotonic_ns()
        print(f"now {'take the electrode off' if off else 'put the electrode on'}", flush=True)
        while not (edges := lines.read(time.monotonic_ns())):
            assert time.monotonic_ns() - begin_ns < PATIENCE_SECONDS * 1e9, "no edge came"
        assert edges[0].off is off
        assert begin_ns < edges[0].time_ns <= time.monotonic_ns()
        settled_ns = time.monotonic_ns() + 500_000_000
        while time.monotonic_ns() < settled_ns:
            edges = [*edges, *lines.read(time.monotonic_ns())]
        assert edges[-1].off is off
        times = [edge.time_ns for edge in edges]
        assert times == sorted(times)
