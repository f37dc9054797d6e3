"""A process that appends to a log until it is killed: `python log_writer.py DIRECTORY`.

It prints `committed N` after each commit that had N frames in it or before it, and appends more
before the next one.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from support.logs import begin, block, opened, window

BLOCK_FRAMES = 7


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


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
