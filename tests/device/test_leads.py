"""Lead-off as it is seen in the signal."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holter_device.grid import GapCause, Grid
from holter_device.leads import RailDetector
from holter_device.samples import Block, Channel, Gap, Session

RATE_HZ = 10.0
LEAST, SETTLE = 2, 10


def make_session() -> Session:
    """Ten frames a second: 2 frames at a rail are off, 10 frames settle."""
    return Session(session_id=1, log_id="", grid=Grid(0, RATE_HZ), channels=(Channel("A0"),))


def flags_of(values: list[int], cuts: list[int]) -> list[bool]:
    """The frames that the detector marks, of values that come in blocks cut at `cuts`."""
    detector = RailDetector(make_session())
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(values)}), len(values)]
    flags = np.zeros(len(values), dtype=bool)
    for first, end in itertools.pairwise(edges):
        block = Block(1, first, end - first, bytes(values[first:end]))
        (marked,) = detector.mark([block])
        assert isinstance(marked, Block)
        for run in marked.lead_off:
            assert first <= run.first_sequence < run.next_sequence <= end
            flags[run.first_sequence : run.next_sequence] = True
    return flags.tolist()


def by_definition(values: list[int]) -> list[bool]:
    """Off from the LEAST-th frame at a rail until SETTLE frames after the last one."""
    flags, run, until = [], 0, 0
    for index, value in enumerate(values):
        run = run + 1 if value in (0, 255) else 0
        if run > LEAST:
            until = index + 1 + SETTLE
        flags.append(index < until)
    return flags


@given(
    runs=st.lists(st.tuples(st.sampled_from([0, 128, 255]), st.integers(1, 15)), max_size=12),
    cuts=st.lists(st.integers(1, 150), max_size=10),
)
def test_marks_do_not_depend_on_blocks(runs: list[tuple[int, int]], cuts: list[int]) -> None:
    """However the frames are cut into blocks, the marked ones are those of the definition."""
    values = [value for value, count in runs for _ in range(count)] or [128]
    assert flags_of(values, cuts) == by_definition(values)


def test_a_gap_ends_a_run_at_the_rail() -> None:
    """Frames at a rail before and after a gap are not one run."""
    detector = RailDetector(make_session())
    tiles = [Block(1, 0, 2, b"\xff\xff"), Gap(1, 2, 3, GapCause.LATE), Block(1, 5, 1, b"\xff")]
    assert detector.mark(tiles) == tiles
