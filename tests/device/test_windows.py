"""Which windows there are, and what is in them."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holter.spec import ModelSpec
from holter_device.grid import GapCause, Grid
from holter_device.samples import (
    Block,
    Channel,
    Gap,
    LeadOffRun,
    SampleFormat,
    Session,
    UnclassifiableReason,
)
from holter_device.windows import Window, WindowCutter, max_window_frames, window_ends

RATE_HZ = 1.0
FRAMES = 400


def make_session(channel_count: int = 2) -> Session:
    """A session of few frames a second, so that the cutter's history is short."""
    channels = tuple(Channel(f"A{index}") for index in range(channel_count))
    return Session(session_id=1, log_id="log", grid=Grid(0, RATE_HZ), channels=channels)


def make_spec(window: int, hop: int, channels: tuple[str, ...] = ()) -> ModelSpec:
    """A model that takes counts."""
    count = max(1, len(channels))
    return ModelSpec(
        name="test",
        rate_hz=RATE_HZ,
        window=window,
        hop=hop,
        channels=channels,
        unit="counts",
        labels=("N", "V"),
        input="x",
        output="y",
        input_shape=(1, window, count),
    )


@st.composite
def tilings(draw: st.DrawFn) -> list[Block | Gap]:
    """Tiles that cover frames 0 to FRAMES - 1, with gaps and lead-off runs among them."""
    cuts = draw(st.lists(st.integers(1, FRAMES - 1), max_size=20, unique=True))
    edges = [0, *sorted(cuts), FRAMES]
    counts = np.arange(2 * FRAMES).reshape(FRAMES, 2) % 251
    tiles: list[Block | Gap] = []
    for first, end in itertools.pairwise(edges):
        kind = draw(st.sampled_from(["block", "block", "gap", "off"]))
        if kind == "gap":
            tiles.append(Gap(1, first, end - first, GapCause.LATE))
            continue
        runs: tuple[LeadOffRun, ...] = ()
        if kind == "off":
            start = draw(st.integers(first, end - 1))
            middle = draw(st.integers(start + 1, end))
            masks = st.integers(0, 0b11)
            runs = (LeadOffRun(start, middle - start, draw(masks)),)
            if middle < end:
                runs += (LeadOffRun(middle, draw(st.integers(1, end - middle)), draw(masks)),)
        data = counts[first:end].astype(np.uint8).tobytes()
        tiles.append(Block(1, first, end - first, data, runs))
    return tiles


def expected_windows(
    tiles: list[Block | Gap], spec: ModelSpec, first: int, end: int, columns: list[int]
) -> list[Window]:
    """The windows that end in first <= e < end, by the definition alone."""
    counts = (np.arange(2 * FRAMES).reshape(FRAMES, 2) % 251).astype(np.uint8)
    gap = np.zeros(FRAMES, dtype=bool)
    off = np.zeros((FRAMES, 2), dtype=bool)
    for tile in tiles:
        if isinstance(tile, Gap):
            gap[tile.first_sequence : tile.next_sequence] = True
        else:
            for run in tile.lead_off:
                channels = [c for c in (0, 1) if run.channel_mask in (0, 3, 1 << c)]
                off[run.first_sequence : run.next_sequence, channels] = True
    windows = []
    for last in range(first, end):
        start = last + 1 - spec.window
        if start < 0 or start % spec.hop:
            continue
        frames = slice(start, last + 1)
        reason = None
        if gap[frames].any():
            reason = UnclassifiableReason.GAP
        elif off[frames][:, columns].any():
            reason = UnclassifiableReason.LEADS_OFF
        data = b"" if reason else counts[frames][:, columns].tobytes()
        windows.append(Window(start, last, data, reason))
    return windows


@given(
    tiles=tilings(),
    window=st.integers(1, max_window_frames(RATE_HZ)),
    data=st.data(),
)
def test_windows_are_the_computable_set(
    tiles: list[Block | Gap], window: int, data: st.DataObject
) -> None:
    """However the frames are cut into tiles, the windows are those of the definition.

    An electrode that is off spoils those windows only whose model takes its channel.
    """
    columns = data.draw(st.sampled_from([[0], [1], [1, 0]]))
    names = tuple(f"A{column}" for column in columns)
    spec = make_spec(window, data.draw(st.integers(1, window)), names)
    cutter = WindowCutter(make_session())
    cutter.select(spec)
    windows = [window for tile in tiles for window in cutter.cut(tile)]
    assert windows == expected_windows(tiles, spec, 0, FRAMES, columns)


@given(tiles=tilings(), data=st.data())
def test_a_swap_divides_windows_at_one_sequence(
    tiles: list[Block | Gap], data: st.DataObject
) -> None:
    """Windows that end before the swap are the old model's, from it on the new one's."""
    sizes = st.integers(1, max_window_frames(RATE_HZ))
    old_window, new_window = data.draw(sizes), data.draw(sizes)
    old = make_spec(old_window, data.draw(st.integers(1, old_window)), ("A0",))
    new = make_spec(new_window, data.draw(st.integers(1, new_window)), ("A1",))
    swap_at = data.draw(st.integers(0, len(tiles)))
    cutter = WindowCutter(make_session())
    cutter.select(old)
    before = [window for tile in tiles[:swap_at] for window in cutter.cut(tile)]
    swap_sequence = cutter.next_sequence
    cutter.select(new)
    after = [window for tile in tiles[swap_at:] for window in cutter.cut(tile)]
    assert before == expected_windows(tiles, old, 0, swap_sequence, [0])
    assert after == expected_windows(tiles, new, swap_sequence, FRAMES, [1])


@given(
    window=st.integers(1, 50),
    hop=st.integers(1, 50),
    first=st.integers(0, 200),
    count=st.integers(0, 200),
)
def test_window_ends_follow_the_definition(window: int, hop: int, first: int, count: int) -> None:
    """The ends are exactly the frames e with e + 1 >= window and (e + 1 - window) mod hop = 0."""
    hop = min(hop, window)
    by_definition = [
        e for e in range(first, first + count) if e + 1 >= window and (e + 1 - window) % hop == 0
    ]
    assert list(window_ends(window, hop, first, first + count)) == by_definition


def test_no_model_has_no_windows() -> None:
    """Without a model frames pass and no window is cut."""
    cutter = WindowCutter(make_session(1))
    assert list(cutter.cut(Gap(1, 0, 100_000, GapCause.OVERRUN))) == []
    assert cutter.next_sequence == 100_000


def test_wide_counts_are_cut_as_they_are() -> None:
    """Two-byte counts keep their bytes."""
    session = Session(
        session_id=1,
        log_id="log",
        grid=Grid(0, RATE_HZ),
        channels=(Channel("A0"),),
        sample_format=SampleFormat.S16LE,
    )
    cutter = WindowCutter(session)
    cutter.select(make_spec(2, 2))
    counts = np.array([-5, 300], dtype="<i2").tobytes()
    assert list(cutter.cut(Block(1, 0, 2, counts))) == [Window(0, 1, counts, None)]
