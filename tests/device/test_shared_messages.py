"""What many live readers get is made once; each still gets its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holter.v1 import sample_service_pb2 as pb
from holter_device.clock import MonotonicClock
from holter_device.core import Core
from holter_device.log import CursorItem, Position, Recording, StartEarliest, StartPosition
from holter_device.rpc.streams import Messages
from holter_device.samples import Block, Session, SessionQuality
from support.logs import begin, block, gap, opened, there


@pytest.fixture
def messages() -> Messages:
    """The messages of a sample service."""
    core = SimpleNamespace(
        clock=MonotonicClock(),
        session=SimpleNamespace(session_id=1),
        pipeline=SimpleNamespace(next_sequence=18),
        sampler=SimpleNamespace(quality=SessionQuality()),
        log=SimpleNamespace(recording=Recording()),
    )
    return Messages(cast(Core, core), pb.StreamSamplesResponse)


def _blocks(items: list[CursorItem]) -> list[Block]:
    return [item for item in items if isinstance(item, Block)]


async def test_readers_at_one_place_share_a_message(tmp_path: Path, messages: Messages) -> None:
    """Two that stand at one place get the same message, made once; a third gets its own part."""
    async with opened(tmp_path) as log:
        session = await begin(log)
        log.append([block(session, 0, 9), block(session, 9, 9)])
        one, two = [await log.samples(StartEarliest(), max_latency=0) for _ in range(2)]
        third = await log.samples(StartPosition(1, 5), max_latency=0)
        found = [_blocks(await there(cursor)) for cursor in (one, two, third)]
    (first,), (second,), (part,) = found
    assert messages.of(first, session) is messages.of(second, session)
    assert messages.of(first, session).sample_block.counts == first.counts
    assert messages.of(part, session).sample_block.counts == first.counts[5:]


async def test_what_arrives_between_is_never_missed(tmp_path: Path) -> None:
    """Readers that take turns with what arrives have the same frames as one who comes last."""
    async with opened(tmp_path) as log:
        session = await begin(log)
        cursors = [await log.samples(StartEarliest(), max_latency=0) for _ in range(3)]
        taken: list[list[CursorItem]] = [[], [], []]
        first = 0
        for turn in range(30):
            tile = gap(session, first, 4) if turn % 7 == 3 else block(session, first, 1 + turn % 5)
            log.append([tile])
            first = tile.next_sequence
            for index, cursor in enumerate(cursors):
                if turn % (index + 1) == 0:
                    taken[index] += await there(cursor)
        last = await log.samples(StartEarliest(), max_latency=0)
        expected = b"".join(b.counts for b in _blocks(await there(last)))
        for index, cursor in enumerate(cursors):
            taken[index] += await there(cursor)
    for items in taken:
        assert b"".join(b.counts for b in _blocks(items)) == expected


async def test_messages_are_not_kept_for_ever(tmp_path: Path, messages: Messages) -> None:
    """Whatever id a block gets, its message is its own."""
    async with opened(tmp_path) as log:
        session = await begin(log)
        for first in range(0, 5000, 5):
            counts = messages.of(block(session, first, 5), session).sample_block
            assert (
                counts
                == pb.StreamSamplesResponse(sample_block=_fields(session, first)).sample_block
            )


def _fields(session: Session, first: int) -> dict[str, Any]:
    return {
        "session_id": 1,
        "first_sequence": first,
        "frame_count": 5,
        "channel_count": 1,
        "monotonic_time_nanos": session.grid.time_ns(first),
        "counts": block(session, first, 5).counts,
        "sample_format": 1,
    }


def test_a_heartbeat_tells_the_readers_own_place(messages: Messages) -> None:
    """What heartbeats say of the device is shared; where a reader is, is not."""
    one, two = (messages.heartbeat(Position(1, sequence)).heartbeat for sequence in (9, 18))
    assert (one.next_sequence, two.next_sequence) == (9, 18)
    assert one.utc == two.utc


def test_a_heartbeat_tells_of_every_frame_that_its_reader_has(messages: Messages) -> None:
    """What heartbeats share is never older than the frames and gaps that were told before them."""
    core = cast(Any, messages._core)
    core.sampler.quality = SessionQuality(received_count=18)
    assert messages.heartbeat(Position(1, 18)).heartbeat.quality.received_count == 18
    core.sampler.quality = SessionQuality(received_count=18, missing_count=4)
    core.pipeline.next_sequence = 22
    assert messages.heartbeat(Position(1, 18)).heartbeat.quality.missing_count == 0
    assert messages.heartbeat(Position(1, 22)).heartbeat.quality.missing_count == 4
