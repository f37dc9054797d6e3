"""Makes logs and what goes into them, and drains cursors, for the tests of the Log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from holter_device.clock import FollowingClock, UtcEstimate
from holter_device.grid import GapCause, Grid
from holter_device.log import Cursor, CursorItem, End, Log
from holter_device.log.join import join
from holter_device.samples import (
    Block,
    Channel,
    Classification,
    Gap,
    LeadOffRun,
    SampleFormat,
    Session,
)

# Where what a power cut would take is not the matter, a disk that is in memory will do.
MEMORY = next((path for path in ("/dev/shm",) if os.access(path, os.W_OK)), None)
RATE_HZ = 100.0
PATIENCE = 30.0
_NO_UTC = UtcEstimate()


class StandingClock(FollowingClock):
    """A clock whose UTC estimate is what the test says."""

    def __init__(self, utc: UtcEstimate) -> None:
        super().__init__(0)
        self._utc = utc


@asynccontextmanager
async def opened(
    directory: Path | None, utc: UtcEstimate = _NO_UTC, **settings: Any
) -> AsyncIterator[Log]:
    """A log in a directory, or in memory; a commit comes only when it is asked for."""
    settings = {"commit_interval": 3600.0, **settings}
    if directory is None:
        log = await Log.open_in_memory(StandingClock(utc), **settings)
    else:
        settings = {"retention_hours": 1000.0, **settings}
        log = await Log.open(directory, clock=StandingClock(utc), **settings)
    try:
        yield log
    finally:
        await log.close()


async def begin(
    log: Log,
    *,
    start_ns: int = 0,
    rate_hz: float = RATE_HZ,
    channels: int = 1,
    sample_format: SampleFormat = SampleFormat.U8,
    boot_id: str = "boot",
    utc: UtcEstimate | None = None,
) -> Session:
    """Begin a session of the test's grid."""
    return await log.begin_session(
        grid=Grid(start_ns, rate_hz),
        channels=tuple(Channel(f"A{index}") for index in range(channels)),
        sample_format=sample_format,
        boot_id=boot_id,
        utc=utc or UtcEstimate(0, 0),
    )


def block(session: Session, first: int, count: int, *, late: int = 0, off: bool = False) -> Block:
    """Frames whose counts tell their session and sequence."""
    counts = b"".join(frame(session, sequence) for sequence in range(first, first + count))
    lead_off = (LeadOffRun(first, count),) if off else ()
    return Block(session.session_id, first, count, counts, lead_off, late)


def frame(session: Session, sequence: int) -> bytes:
    """One frame of a session, as `block` makes it."""
    size = session.frame_size
    return (sequence * 31 + session.session_id * 7).to_bytes(8, "little")[:size].ljust(size, b"z")


def gap(session: Session, first: int, count: int, cause: GapCause = GapCause.LATE) -> Gap:
    """Missing frames."""
    return Gap(session.session_id, first, count, cause)


def window(
    session: Session, last: int, *, frames: int = 10, model: str = "m" * 64
) -> Classification:
    """A window that ends at `last`, with scores that tell where."""
    return Classification(
        session_id=session.session_id,
        first_sequence=max(0, last - frames + 1),
        last_sequence=last,
        model_sha256=model,
        labels=("N", "V"),
        scores=(last / 3, 1.0),
        inference_ns=last,
    )


def joined(items: Sequence[CursorItem]) -> list[Block | Gap]:
    """The blocks and gaps among a cursor's items, joined as far as they can be."""
    return join([item for item in items if isinstance(item, (Block, Gap))], 1 << 40)


async def take(cursor: Cursor, until: Callable[[list[CursorItem]], bool]) -> list[CursorItem]:
    """Read a cursor until what it gave so far is enough."""
    items: list[CursorItem] = []
    async with asyncio.timeout(PATIENCE):
        while not until(items):
            items += await cursor.next()
    return items


async def drain(cursor: Cursor) -> list[CursorItem]:
    """Read a cursor to its End."""
    return await take(cursor, lambda items: bool(items) and isinstance(items[-1], End))


async def there(cursor: Cursor) -> list[CursorItem]:
    """Read what a cursor can give without waiting."""
    items: list[CursorItem] = []
    while got := await cursor.next(timeout=0):
        items += got
        if isinstance(got[-1], End):
            break
    return items
