"""Lead-off, as it is seen in the signal and as the comparators' lines tell it."""

from __future__ import annotations

import dataclasses
import itertools
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holter.leadoff import untrusted
from holter_device.grid import GapCause, Grid
from holter_device.leadoff import Edge, Line
from holter_device.leads import LeadOffDetector
from holter_device.log.join import join
from holter_device.samples import Block, Channel, Gap, LeadOff, LeadOffRun, SampleFormat, Session
from holter_device.testing import ScriptedLines

RATE_HZ = 10.0
LEAST, SETTLE = 2, 10
SECOND_NS = 10**9
LINES = (
    Line("A0", "LO+", 17),
    Line("A0", "LO-", 27),
    Line("A1", "LO+", 22),
)
FLAGS = {"LO+": LeadOff.LO_PLUS, "LO-": LeadOff.LO_MINUS}
RAILS = ((0, 255), (3, 250))
CHANNELS = (Channel("A0"), Channel("A1"))

Tile = Block | Gap


@dataclasses.dataclass
class Story:
    """What happened to two channels.

    Attributes:
        counts: shape (frames, 2).
        missing: whether a frame is in a gap, shape (frames,).
        edges: of the lines, in order of time.
    """

    counts: np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    missing: np.ndarray[tuple[int], np.dtype[np.bool_]]
    edges: list[Edge]

    def tiles(self, cuts: list[int]) -> list[Tile]:
        """The frames in tiles that are cut at `cuts`, and where a gap begins or ends."""
        count = len(self.counts)
        changes = np.flatnonzero(np.diff(self.missing)) + 1
        inner = {cut for cut in (*cuts, *changes.tolist()) if 0 < cut < count}
        return [
            Gap(1, first, end - first, GapCause.LATE)
            if self.missing[first]
            else Block(1, first, end - first, self.counts[first:end].tobytes())
            for first, end in itertools.pairwise([0, *sorted(inner), count])
        ]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Channels at a rail or not, frames missing, lines that change."""
    levels = st.sampled_from([0, 2, 3, 128, 250, 255])
    columns = []
    for _ in CHANNELS:
        runs = draw(st.lists(st.tuples(levels, st.integers(1, 15)), min_size=1, max_size=8))
        columns.append([value for value, count in runs for _ in range(count)])
    count = min(map(len, columns))
    counts = np.array([column[:count] for column in columns], np.uint8).T.copy()
    missing = np.zeros(count, np.bool_)
    for first, length in draw(st.lists(st.tuples(st.integers(0, count), st.integers(1, 12)))):
        missing[first : first + length] = True
    edge = st.builds(
        Edge,
        st.integers(-SECOND_NS, count * SECOND_NS // 10),
        st.sampled_from(LINES),
        st.booleans(),
    )
    edges = sorted(draw(st.lists(edge, max_size=8)), key=lambda edge: edge.time_ns)
    return Story(counts, missing, edges)


def by_definition(story: Story) -> list[list[LeadOff]]:
    """Why each frame of each channel is marked, frame by frame."""
    whys = []
    for index, channel in enumerate(CHANNELS):
        low, high = RAILS[index]
        stay, last_off, column = 0, -SETTLE - 1, []
        for sequence, count in enumerate(story.counts[:, index].tolist()):
            if story.missing[sequence]:
                stay = stay if stay > LEAST else 0
            else:
                stay = stay + 1 if count <= low or count >= high else 0
            why = LeadOff.RAILED if stay > LEAST else LeadOff.NONE
            for line in LINES:
                told = [
                    edge.off
                    for edge in story.edges
                    if edge.line is line and edge.time_ns <= sequence * SECOND_NS // 10
                ]
                if line.channel == channel.name and told and told[-1]:
                    why |= FLAGS[line.electrode]
            if why:
                last_off = sequence
            elif sequence <= last_off + SETTLE:
                why = LeadOff.SETTLING
            column.append(LeadOff.NONE if story.missing[sequence] else why)
        whys.append(column)
    return whys


def expected_runs(story: Story) -> list[tuple[int, int, int, LeadOff]]:
    """The definition's runs: channels and reasons, and where either changes."""
    first, second = by_definition(story)
    runs: list[tuple[int, int, int, LeadOff]] = []
    for sequence, (a, b) in enumerate(zip(first, second, strict=True)):
        mask, why = bool(a) | bool(b) << 1, a | b
        if not mask:
            continue
        if runs and sum(runs[-1][:2]) == sequence and runs[-1][2:] == (mask, why):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1, mask, why)
        else:
            runs.append((sequence, 1, mask, why))
    return runs


def make_session(channels: tuple[Channel, ...] = CHANNELS) -> Session:
    """Ten frames a second: over 2 frames at a rail are off, 10 frames settle."""
    return Session(session_id=1, log_id="", grid=Grid(0, RATE_HZ), channels=channels)


def runs_of(tiles: list[Tile]) -> list[tuple[int, int, int, LeadOff]]:
    """The runs of all blocks, joined where they go on."""
    return [
        dataclasses.astuple(run)
        for tile in join(tiles, 1 << 20)
        if isinstance(tile, Block)
        for run in tile.lead_off
    ]


# Even cuts make many tiles in which nothing changes, and changes at their edges.
CUTS = st.one_of(
    st.lists(st.integers(1, 120), max_size=10),
    st.integers(1, 6).map(lambda length: list(range(length, 120, length))),
)


@given(story=stories(), cuts=CUTS, seed=st.integers(0, 9))
def test_marks_are_those_of_the_definition(story: Story, cuts: list[int], seed: int) -> None:
    """However the frames are cut into tiles, and these into lists, the marks are the same.

    RAILED begins after LEAST frames at a rail and outlasts a gap; LO+ and LO- begin and end with
    the first frame at or after their edge; SETTLING follows any of them for SETTLE frames. Each
    channel has its own, and runs are split exactly where channels or reasons change.
    """
    detector = LeadOffDetector(make_session(), RAILS, ScriptedLines(story.edges))
    tiles, marked = story.tiles(cuts), list[Tile]()
    chance = random.Random(seed)
    rest = list(tiles)
    while rest:
        count = chance.randint(1, len(rest))
        marked += detector.mark(rest[:count])
        rest = rest[count:]
    plain = [
        dataclasses.replace(tile, lead_off=()) if isinstance(tile, Block) else tile
        for tile in marked
    ]
    assert plain == tiles
    for tile in marked:
        for run in tile.lead_off if isinstance(tile, Block) else ():
            assert tile.first_sequence <= run.first_sequence < run.next_sequence
            assert run.next_sequence <= tile.next_sequence
    assert runs_of(marked) == expected_runs(story)


def test_an_input_at_a_rail_marks_its_own_channel_only() -> None:
    """A channel that is tied to a rail leaves the others unmarked."""
    counts = np.full((30, 2), 128, np.uint8)
    counts[:, 1] = 255
    (block,) = LeadOffDetector(make_session(), RAILS).mark([Block(1, 0, 30, counts.tobytes())])
    assert isinstance(block, Block)
    assert block.lead_off == (LeadOffRun(LEAST, 30 - LEAST, 0b10, LeadOff.RAILED),)


def test_a_gap_ends_a_run_at_the_rail() -> None:
    """Frames at a rail before and after a gap are not one run."""
    detector = LeadOffDetector(make_session((Channel("A0"),)), ((0, 255),))
    tiles = [Block(1, 0, 2, b"\xff\xff"), Gap(1, 2, 3, GapCause.LATE), Block(1, 5, 1, b"\xff")]
    assert detector.mark(tiles) == tiles


def test_changes_between_tiles_are_at_their_frames() -> None:
    """What changes exactly where a tile of frames or a gap begins is told from there."""
    quiet, railed = bytes([128, 128]) * 4, bytes([255, 128]) * 4
    line = LINES[2]
    edges = [Edge(-1, line, off=True), Edge(20 * SECOND_NS // 10, line, off=False)]
    detector = LeadOffDetector(make_session(), RAILS, ScriptedLines(edges))
    counts = [railed, railed, railed, quiet, quiet, None, quiet, quiet]
    tiles: list[Tile] = [
        Gap(1, 4 * index, 4, GapCause.LATE) if data is None else Block(1, 4 * index, 4, data)
        for index, data in enumerate(counts)
    ]
    assert runs_of([marked for tile in tiles for marked in detector.mark([tile])]) == [
        (0, LEAST, 0b10, LeadOff.LO_PLUS),
        (LEAST, 12 - LEAST, 0b11, LeadOff.LO_PLUS | LeadOff.RAILED),
        (12, 8, 0b11, LeadOff.LO_PLUS | LeadOff.SETTLING),
        (24, SETTLE - 4, 0b10, LeadOff.SETTLING),
    ]


def test_a_quiet_tile_ends_a_stay_at_the_rail() -> None:
    """Frames at a rail before and after a tile without any are not one run."""
    detector = LeadOffDetector(make_session((Channel("A0"),)), ((0, 255),))
    tiles: list[Tile] = [
        Block(1, 0, 3, b"\x80\x80\xff"),
        Block(1, 3, 1, b"\x80"),
        Block(1, 4, 2, b"\xff\xff"),
    ]
    assert [marked for tile in tiles for marked in detector.mark([tile])] == tiles


def test_an_electrode_that_came_on_in_a_gap_settles_from_then() -> None:
    """Edges within a gap of any length are kept, and settling ends at its own frame."""
    line = LINES[0]
    edges = [Edge(-1, line, off=True), Edge(10**9 * SECOND_NS // 10, line, off=False)]
    detector = LeadOffDetector(make_session(), RAILS, ScriptedLines(edges))
    end = 10**9 + 5
    frames = bytes([128, 128]) * 20
    tiles = [Block(1, 0, 1, frames[:2]), Gap(1, 1, end - 1, GapCause.SAMPLER_RESTARTED)]
    first, _, last = detector.mark([*tiles, Block(1, end, 20, frames)])
    assert isinstance(first, Block)
    assert isinstance(last, Block)
    assert first.lead_off == (LeadOffRun(0, 1, 0b01, LeadOff.LO_PLUS),)
    assert last.lead_off == (LeadOffRun(end, SETTLE - 5, 0b01, LeadOff.SETTLING),)


def test_rails_of_wide_counts_may_be_within_their_range() -> None:
    """A converter of 16 bits reaches its rails where its driver says."""
    session = dataclasses.replace(make_session((Channel("A0"),)), sample_format=SampleFormat.S16LE)
    counts = np.array([0, 20_000, 26_399, 26_400, 32_767, 26_400, 0], "<i2")
    detector = LeadOffDetector(session, ((-5, 26_400),))
    (block,) = detector.mark([Block(1, 0, len(counts), counts.tobytes())])
    assert isinstance(block, Block)
    assert block.lead_off == (
        LeadOffRun(5, 1, 1, LeadOff.RAILED),
        LeadOffRun(6, 1, 1, LeadOff.SETTLING),
    )


@given(
    st.lists(st.tuples(st.sampled_from([0, 3, 128, 255]), st.integers(1, 15)), max_size=12),
    st.lists(st.integers(1, 100), max_size=4),
)
def test_a_whole_recording_is_untrusted_where_its_frames_are(
    runs: list[tuple[int, int]], cuts: list[int]
) -> None:
    """What `holter.leadoff` says of all frames at once is what the detector says tile by tile."""
    counts = np.repeat([value for value, _ in runs], [count for _, count in runs]).astype(np.uint8)
    both = np.stack([counts, counts], axis=1)
    for low, high in set(RAILS):
        detector = LeadOffDetector(make_session(), [(low, high)] * 2)
        marked = np.zeros(len(counts), bool)
        story = Story(both, np.zeros(len(counts), bool), [])
        for tile in detector.mark(story.tiles(cuts)) if len(counts) else []:
            assert isinstance(tile, Block)
            for run in tile.lead_off:
                marked[run.first_sequence : run.next_sequence] = True
        assert untrusted(counts, RATE_HZ, low, high).tolist() == marked.tolist()
