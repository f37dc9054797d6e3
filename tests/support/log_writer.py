"""A process that appends to a log: `python log_writer.py DIRECTORY [ROUNDS]`.

It prints `committed N` after each commit that had N frames in it or before it, and appends more
before the next one, until it is killed. With ROUNDS it makes so many commits, in two sessions with
the log closed in between, with rows, a WAL and a retention so small that there is everything that a
log does in a day; and it prints `session S` when one was begun, and `appended N` before a commit.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from holter_device.log import rows, writer
from holter_device.samples import Block, Classification, Gap, Session
from support.logs import begin, block, gap, opened, window

BLOCK_FRAMES = 7
ROUND_BLOCKS = 50
GAP_ROUNDS = 5
GAP_FRAMES = 3
KEPT_FRAMES = 1500
_HOUR_FRAMES = 360_000


async def main(directory: Path) -> None:
    """Append for ever."""
    async with opened(directory) as log:
        session = await begin(log)
        first = 0
        while True:
            for _ in range(5):
                log.append([block(session, first, BLOCK_FRAMES)])
                first += BLOCK_FRAMES
                log.append([window(session, first - 1)])
            await log.commit()
            print("committed", first, flush=True)
            for _ in range(3):
                log.append([block(session, first, BLOCK_FRAMES)])
                first += BLOCK_FRAMES


def round_of(session: Session, number: int) -> tuple[list[Block | Gap], list[Classification]]:
    """What a round of `run` appends: blocks, now and then a gap; and a window for each block."""
    gaps = number // GAP_ROUNDS * GAP_FRAMES
    first = number * ROUND_BLOCKS * BLOCK_FRAMES + gaps
    end = first + ROUND_BLOCKS * BLOCK_FRAMES
    frames: list[Block | Gap] = [
        block(session, at, BLOCK_FRAMES) for at in range(first, end, BLOCK_FRAMES)
    ]
    windows = [window(session, item.next_sequence - 1) for item in frames]
    if number % GAP_ROUNDS == GAP_ROUNDS - 1:
        frames.append(gap(session, end, GAP_FRAMES))
    return frames, windows


async def run(directory: Path, rounds: int) -> None:
    """Make some commits, and close the log in the middle."""
    rows.ROW_BYTES = 2000
    writer._WAL_PARTS = 64
    for _ in range(2):
        async with opened(directory, retention_hours=KEPT_FRAMES / _HOUR_FRAMES) as log:
            session = await begin(log, channels=8)
            print("session", session.session_id, flush=True)
            for number in range(rounds // 2):
                frames, windows = round_of(session, number)
                log.append([*frames, *windows])
                print("appended", frames[-1].next_sequence, flush=True)
                await log.commit()
                print("committed", frames[-1].next_sequence, flush=True)


if __name__ == "__main__":
    if sys.argv[2:]:
        asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
    else:
        asyncio.run(main(Path(sys.argv[1])))
