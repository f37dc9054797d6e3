"""What the parent makes of the sampler's frames."""

from __future__ import annotations

import errno

import pytest

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
from holter_device.grid import GapCause
from holter_device.lateness import Lateness
from holter_device.samples import Block, Gap
from holter_device.tiling import ProtocolError, Tiling

Tile = Block | Gap


def _data(first: int, counts: bytes, late_count: int = 0) -> tuple[int, bytes]:
    return DATA, DATA_HEADER.pack(first, late_count) + counts


def _missing(first: int, count: int, cause: GapCause) -> tuple[int, bytes]:
    return MISSING, MISSING_HEADER.pack(first, count, cause)


def _bus(sequence: int, retry_count: int, *errors: tuple[int, int]) -> tuple[int, bytes]:
    counts = (BUS_ERROR.pack(*error) for error in errors)
    return BUS, BUS_HEADER.pack(sequence, retry_count) + b"".join(counts)


def test_frames_become_tiles_and_are_counted() -> None:
    """Blocks and gaps are told in order; they, errors and retries add up in the quality."""
    tiling = Tiling(360.0)
    lateness = Lateness()
    lateness.add(40_000)
    frames = [
        _data(0, b"abcdef", 2),
        _bus(6, 5, (errno.EIO, 2), (errno.EREMOTEIO, 6)),
        _missing(3, 4, GapCause.BUS_ERROR),
        (QUALITY, lateness.take()),
        _missing(7, 1, GapCause.LATE),
        _bus(8, 1, (errno.EIO, 1)),
        _data(8, b"gh"),
        (END, b""),
    ]
    assert list(tiling.read(frames, 5, 2, GapCause.LATE)) == [
        Block(5, 0, 3, b"abcdef", late_count=2),
        Gap(5, 3, 4, GapCause.BUS_ERROR),
        Gap(5, 7, 1, GapCause.LATE),
        Block(5, 8, 1, b"gh"),
    ]
    quality = tiling.counter.quality
    assert (quality.received_count, quality.missing_count, quality.late_count) == (4, 5, 2)
    assert (quality.retry_count, quality.lateness_max_ns) == (6, 40_000)
    assert list(quality.bus_errors.items()) == [(errno.EREMOTEIO, 6), (errno.EIO, 3)]
    assert tiling.last_errno == errno.EIO
    assert tiling.ended


@pytest.mark.parametrize("cause", [GapCause.LATE, GapCause.SAMPLER_RESTARTED])
def test_a_hole_before_a_tile_has_the_cause_that_was_given(cause: GapCause) -> None:
    """Frames that a process says nothing of are missing because of how it was started."""
    tiling = Tiling(360.0)
    assert list(tiling.read([_data(10, b"x")], 1, 1, cause)) == [
        Gap(1, 0, 10, cause),
        Block(1, 10, 1, b"x"),
    ]


@pytest.mark.parametrize(
    "wrong", [_data(0, b"x"), _data(2, b""), _missing(1, 1, GapCause.LATE), (77, b"")]
)
def test_what_does_not_come_next_is_refused_after_what_was_good(wrong: tuple[int, bytes]) -> None:
    """A frame twice, none at all or of no kind is an error; tiles before it are not lost."""
    tiling = Tiling(360.0)
    taken: list[Tile] = []
    with pytest.raises(ProtocolError):
        taken.extend(tiling.read([_data(0, b"ab"), wrong], 1, 1, GapCause.LATE))
    assert taken == [Block(1, 0, 2, b"ab")]
    assert tiling.next_sequence == 2
