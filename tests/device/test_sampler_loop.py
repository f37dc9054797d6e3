"""The sampler's loop and its outbox in this process: what is skipped, what is counted, in order."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_device.adc import AdcInfo, Input
from holter_device.children import FRAME, sampler_outbox
from holter_device.children.sampler import LATE_FRACTION, sample
from holter_device.children.sampler_frames import (
    BUS,
    BUS_ERROR,
    BUS_HEADER,
    DATA,
    DATA_HEADER,
    END,
    MISSING,
    MISSING_HEADER,
    QUALITY,
)
from holter_device.children.sampler_outbox import Outbox, ParentGoneError
from holter_device.clock import FollowingClock
from holter_device.errors import BusReadError
from holter_device.grid import GapCause, Grid
from holter_device.lateness import Lateness

GRID = Grid(10**9, 360.0)


class Pipes:
    """The two pipes of a sampler, both ends."""

    def __init__(self) -> None:
        self.read_end, self.output = os.pipe()
        self.control, self._parent = os.pipe()
        os.set_blocking(self.read_end, False)
        self.data = b""

    def drain(self) -> None:
        """Read what is there."""
        while True:
            try:
                part = os.read(self.read_end, 2**20)
            except BlockingIOError:
                return
            self.data += part
            if not part:
                return

    def leave(self) -> None:
        """The parent goes away."""
        if self._parent >= 0:
            os.close(self._parent)
            self._parent = -1

    def frames(self) -> list[tuple[int, bytes]]:
        """All frames that were read."""
        frames = []
        offset = 0
        while offset < len(self.data):
            length, kind = FRAME.unpack_from(self.data, offset)
            offset += FRAME.size
            frames.append((kind, self.data[offset : offset + length]))
            offset += length
        return frames

    def close(self) -> None:
        """Close all ends."""
        self.leave()
        for fd in (self.read_end, self.output, self.control):
            os.close(fd)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    """Pipes to a parent that reads when it is told to."""
    ends = Pipes()
    yield ends
    ends.close()


def _tiles(frames: list[tuple[int, bytes]]) -> list[tuple[int, int, object]]:
    """The grid's frames as (first, count, counts or cause)."""
    tiles: list[tuple[int, int, object]] = []
    for kind, payload in frames:
        if kind == DATA:
            counts = payload[DATA_HEADER.size :]
            tiles.append((DATA_HEADER.unpack_from(payload)[0], len(counts), counts))
        elif kind == MISSING:
            first, count, cause = MISSING_HEADER.unpack(payload)
            tiles.append((first, count, GapCause(cause)))
    return tiles


def _assert_contiguous(tiles: list[tuple[int, int, object]], end: int) -> None:
    sequence = 0
    for first, count, _ in tiles:
        assert first == sequence
        assert count >= 1
        sequence += count
    assert sequence == end


class ScriptedAdc:
    """Gives the low byte of the sequence; is over after `length`.

    Args:
        length: the first sequence that is not there.
        failing: how often a sequence's reads fail before one is answered.
        clock: what a read that fails takes `failing_ns` of.
    """

    def __init__(
        self,
        length: int,
        failing: Mapping[int, int] | None = None,
        clock: FollowingClock | None = None,
        failing_ns: int = 0,
    ) -> None:
        self.read_sequences: list[int] = []
        self._length = length
        self._failing = failing or {}
        self._clock = clock or FollowingClock(0)
        self._failing_ns = failing_ns

    def open(self) -> AdcInfo:
        """Never asked."""
        return AdcInfo(
            kind="", description="", inputs=(Input("A0", 1.0),), sample_format="U8", frame_size=1
        )

    def read(self, sequence: int) -> bytes:
        """Read one frame."""
        self.read_sequences.append(sequence)
        if sequence >= self._length:
            return b""
        if self.read_sequences.count(sequence) <= self._failing.get(sequence, 0):
            self._clock.sleep_until(self._clock.monotonic_ns() + self._failing_ns)
            raise BusReadError(errno.EREMOTEIO if sequence % 2 else errno.EIO)
        return bytes((sequence % 256,))

    def close(self) -> None:
        """Nothing is held."""


class TardyClock(FollowingClock):
    """Wakes up late by what comes next in a list, then punctually."""

    def __init__(self, lateness_ns: list[int]) -> None:
        super().__init__(0)
        self._lateness_ns = iter(lateness_ns)

    def sleep_until(self, deadline_ns: int) -> None:
        """Wake up."""
        super().sleep_until(deadline_ns + next(self._lateness_ns, 0))


def _bus(frames: list[tuple[int, bytes]]) -> tuple[int, Counter[int]]:
    """The retries and the errors by errno that were told."""
    retries = 0
    errors: Counter[int] = Counter()
    for kind, payload in frames:
        if kind == BUS:
            retries += BUS_HEADER.unpack_from(payload)[1]
            errors.update(dict(BUS_ERROR.iter_unpack(payload[BUS_HEADER.size :])))
    return retries, errors


PERIOD_NS = round(GRID.period_ns)


@given(
    lateness=st.lists(st.sampled_from([0, 1000, PERIOD_NS // 2, PERIOD_NS, 5 * PERIOD_NS])),
    failing=st.dictionaries(st.integers(0, 60), st.integers(1, 7)),
    retries=st.integers(0, 5),
    flush_ticks=st.integers(1, 20),
)
def test_every_tick_is_read_once_or_named(
    lateness: list[int], failing: dict[int, int], retries: int, flush_ticks: int
) -> None:
    """However late it wakes and whatever fails, each tick of the grid is told once or named.

    Errors and retries are those that happened, read by read.
    """
    pipes = Pipes()
    clock = TardyClock(lateness)
    adc = ScriptedAdc(200, failing)
    outbox = Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=flush_ticks, waits=True)
    sample(adc, clock, GRID, outbox, 0, retries)
    outbox.end(END)
    pipes.drain()
    frames = pipes.frames()
    pipes.close()
    assert frames[-1] == (END, b"")
    tiles = _tiles(frames)
    first = tiles[0][0] if tiles else 200
    end = max(200, adc.read_sequences[-1])
    _assert_contiguous([(0, first, None)] * (first > 0) + tiles, end)
    reads = Counter(adc.read_sequences)
    assert adc.read_sequences == sorted(adc.read_sequences)
    assert max(reads.values()) <= 1 + retries
    failed = {tick: min(failing.get(tick, 0), count) for tick, count in reads.items()}
    errors = Counter({errno.EIO: 0, errno.EREMOTEIO: 0})
    for tick, count in failed.items():
        errors[errno.EREMOTEIO if tick % 2 else errno.EIO] += count
    assert _bus(frames) == (reads.total() - len(reads), +errors)
    for start, count, content in tiles:
        ticks = range(start, start + count)
        if isinstance(content, bytes):
            assert content == bytes(tick % 256 for tick in ticks)
        elif content is GapCause.BUS_ERROR:
            assert all(failed[tick] == reads[tick] for tick in ticks)
        else:
            assert content is GapCause.LATE
            assert not set(ticks) & set(adc.read_sequences)


def test_less_than_a_period_late_is_late_and_counted(pipes: Pipes) -> None:
    """Reads later than LATE_FRACTION of a period are counted; a period late is a missing frame."""
    some, all_but = round(LATE_FRACTION * PERIOD_NS) + 10, PERIOD_NS - 10
    clock = TardyClock([0, some, all_but, PERIOD_NS + 10, 0])
    outbox = Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=9, waits=True)
    sample(ScriptedAdc(9), clock, GRID, outbox, 0, 0)
    outbox.end(END)
    pipes.drain()
    late = [DATA_HEADER.unpack_from(payload)[1] for kind, payload in pipes.frames() if kind == DATA]
    # Tick 3 is missing; tick 4 was read 10 ns after its time.
    assert sum(late) == 2
    assert [tile for tile in _tiles(pipes.frames()) if isinstance(tile[2], GapCause)] == [
        (3, 1, GapCause.LATE)
    ]


@pytest.mark.parametrize(
    ("failures", "failing_ns", "retries", "reads", "frame", "late"),
    [
        (1, 0, 1, 2, True, 0),
        (1, PERIOD_NS // 4, 1, 2, True, 1),
        (2, PERIOD_NS // 5, 2, 3, True, 1),
        (2, PERIOD_NS // 5, 1, 2, False, 0),
        (1, PERIOD_NS // 4, 0, 1, False, 0),
        (1, PERIOD_NS // 2 + 1, 5, 1, False, 0),  # the retry would begin too late
        (9, PERIOD_NS // 5, 5, 3, False, 0),  # the third retry would
    ],
)
def test_a_read_that_fails_is_tried_again_within_half_a_period(
    pipes: Pipes, failures: int, failing_ns: int, retries: int, reads: int, frame: bool, late: int
) -> None:
    """A retry's answer is a frame that is late by when that read began; no answer is a gap."""
    clock = FollowingClock(0)
    adc = ScriptedAdc(9, {4: failures}, clock, failing_ns)
    outbox = Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=9, waits=True)
    sample(adc, clock, GRID, outbox, 0, retries)
    outbox.end(END)
    pipes.drain()
    frames = pipes.frames()
    assert adc.read_sequences.count(4) == reads
    gaps = [tile for tile in _tiles(frames) if isinstance(tile[2], GapCause)]
    assert gaps == ([] if frame else [(4, 1, GapCause.BUS_ERROR)])
    assert sum(DATA_HEADER.unpack_from(data)[1] for kind, data in frames if kind == DATA) == late
    lateness = Lateness()
    for kind, payload in frames:
        if kind == QUALITY:
            lateness.merge(payload)
    assert lateness.max_ns == (failures * failing_ns if frame else 0)
    assert _bus(frames) == (reads - 1, {errno.EIO: min(reads, failures)})


def test_what_failed_is_told_with_each_flush(pipes: Pipes) -> None:
    """A sampler that is killed takes the errors of one flush with it, and no more."""
    outbox = Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=3, waits=False)
    for sequence in range(8):
        outbox.bus_error(sequence, errno.ETIMEDOUT)
        outbox.retry()
        outbox.frame(sequence, b"x")
    pipes.drain()
    assert _bus(pipes.frames()) == (6, {errno.ETIMEDOUT: 6})


def test_a_long_hole_is_told_at_once(pipes: Pipes) -> None:
    """Ticks that passed count for the flush: a bus whose timeout is a second is no silence."""
    outbox = Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=9, waits=False)
    outbox.missing(0, 1, GapCause.BUS_ERROR)
    outbox.missing(1, 360, GapCause.LATE)
    pipes.drain()
    tiles = _tiles(pipes.frames())
    assert tiles == [(0, 1, GapCause.BUS_ERROR), (1, 360, GapCause.LATE)]


def test_errors_that_find_the_pipe_full_are_told_later(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No error is left out of the quality because a parent was slow."""
    monkeypatch.setattr(sampler_outbox, "PIPE_BYTES", 4096)
    outbox = Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=1, waits=False)
    for sequence in range(5000):
        outbox.bus_error(sequence, sequence % 3 + 1)
        outbox.missing(sequence, 1, GapCause.BUS_ERROR)
    pipes.drain()
    outbox.flush()
    pipes.drain()
    assert _bus(pipes.frames()) == (0, {1: 1667, 2: 1667, 3: 1666})


def test_lateness_is_told_of_the_frames_that_were_told(pipes: Pipes) -> None:
    """A histogram comes after the frames that it is of, once a second, whatever was skipped."""
    clock = TardyClock([0] * 359 + [3 * PERIOD_NS])
    outbox = Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=100, waits=True)
    sample(ScriptedAdc(800), clock, GRID, outbox, 0, 0)
    outbox.end(END)
    pipes.drain()
    told, sequence = [], 0
    for kind, payload in pipes.frames():
        if kind == DATA:
            sequence = DATA_HEADER.unpack_from(payload)[0] + len(payload) - DATA_HEADER.size
        elif kind == QUALITY:
            told.append(sequence)
    # Tick 360 was skipped: the frame that ends the second is the next one that was read.
    assert told == [363, 720, 800]


def test_frames_that_find_the_pipe_full_are_an_overrun_in_their_place(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent that reads nothing for a while gets what fitted, then one Gap, then the rest."""
    monkeypatch.setattr(sampler_outbox, "PIPE_BYTES", 4096)
    outbox = Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=9, waits=False)
    for sequence in range(9 * 1000):
        outbox.frame(sequence, bytes((sequence % 256,)))
    pipes.drain()
    for sequence in range(9 * 1000, 9 * 1010):
        outbox.frame(sequence, bytes((sequence % 256,)))
    pipes.drain()
    tiles = _tiles(pipes.frames())
    _assert_contiguous(tiles, 9 * 1010)
    gaps = [tile for tile in tiles if not isinstance(tile[2], bytes)]
    assert [cause for _, _, cause in gaps] == [GapCause.OVERRUN]


@given(
    events=st.lists(
        st.one_of(
            st.just("frame"),
            st.just("error"),
            st.integers(1, 500),
            st.just("drain"),
            st.just("quality"),
        ),
        max_size=400,
    ),
    flush_ticks=st.integers(1, 12),
    frame_size=st.sampled_from([1, 4, 300]),
)
def test_a_slow_parent_never_breaks_the_order(
    events: list[str | int], flush_ticks: int, frame_size: int
) -> None:
    """Any order of frames, errors, late ticks and reads by the parent tiles the grid exactly."""
    pipes = Pipes()
    before, sampler_outbox.PIPE_BYTES = sampler_outbox.PIPE_BYTES, 4096
    outbox = Outbox(
        pipes.output, pipes.control, frame_size=frame_size, flush_ticks=flush_ticks, waits=False
    )
    sampler_outbox.PIPE_BYTES = before
    sequence = 0
    for event in events:
        if event == "frame":
            outbox.frame(sequence, bytes((sequence % 256,)) * frame_size)
            sequence += 1
        elif event == "error":
            outbox.missing(sequence, 1, GapCause.BUS_ERROR)
            sequence += 1
        elif event == "drain":
            pipes.drain()
        elif event == "quality":
            outbox.quality(Lateness())
        else:
            assert isinstance(event, int)
            outbox.missing(sequence, event, GapCause.LATE)
            sequence += event
    pipes.drain()
    outbox.end(END)
    pipes.drain()
    frames = pipes.frames()
    pipes.close()
    assert frames[-1][0] == END
    tiles = [
        (first, size // frame_size if isinstance(content, bytes) else size, content)
        for first, size, content in _tiles(frames)
    ]
    _assert_contiguous(tiles, sequence)
    for first, count, content in tiles:
        if isinstance(content, bytes):
            ticks = range(first, first + count)
            assert content == b"".join(bytes((tick % 256,)) * frame_size for tick in ticks)


def test_a_histogram_that_finds_the_pipe_full_is_told_later(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No read is left out of the quality because a parent was slow."""
    monkeypatch.setattr(sampler_outbox, "PIPE_BYTES", 4096)
    outbox = Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=1, waits=False)
    lateness = Lateness()
    for sequence in range(5000):
        outbox.frame(sequence, b"x")
    lateness.add(5000)
    outbox.quality(lateness)
    pipes.drain()
    lateness.add(9_000_000)
    outbox.quality(lateness)
    pipes.drain()
    told = Lateness()
    for kind, payload in pipes.frames():
        if kind == QUALITY:
            told.merge(payload)
    assert told.max_ns == 9_000_000
    assert told.quantiles_ns(0.5) == (6000,)


def test_the_end_of_the_control_pipe_is_seen_at_a_flush(pipes: Pipes) -> None:
    """A sampler whose parent let go of its stdin stops with the next flush."""
    outbox = Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=3, waits=False)
    pipes.leave()
    outbox.frame(0, b"x")
    outbox.frame(1, b"x")
    with pytest.raises(ParentGoneError):
        outbox.frame(2, b"x")


def test_a_sampler_that_waits_for_room_sees_its_parent_leave(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocked by a full pipe, it still ends when the control pipe does."""
    monkeypatch.setattr(sampler_outbox, "PIPE_BYTES", 4096)
    outbox = Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=1, waits=True)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipes.output, bytes(4096))
    pipes.leave()
    with pytest.raises(ParentGoneError):
        outbox.frame(0, b"x")


def test_the_pipe_is_enlarged(pipes: Pipes) -> None:
    """The pipe holds a mebibyte, where the system lets it."""
    with open("/proc/sys/fs/pipe-max-size") as file:  # noqa: PTH123 (no path is worked with)
        limit = int(file.read())
    Outbox(pipes.output, pipes.control, frame_size=1, flush_ticks=1, waits=True)
    size = fcntl.fcntl(pipes.output, fcntl.F_GETPIPE_SZ)
    assert size >= min(limit, sampler_outbox.PIPE_BYTES)
