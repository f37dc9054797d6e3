"""A client that records what a device streams into a file, and goes on where the file ends.

    python -m support.recorder ADDRESS FILE

Each event is a pickle with its length before it, written through Python's own buffer: killed, it
leaves half of one, which the next run throws away. After each event it prints the sequence that
comes next.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path
from typing import Any

import holter_host
from holter_host import Gap, SampleBlock, SessionStarted
from support.ledger import Ledger

Event = SessionStarted | SampleBlock | Gap

_LENGTH_BYTES = 4


def recorded(path: Path) -> tuple[list[Event], int]:
    """The whole events of a recording, and how many bytes of the file they are."""
    data = path.read_bytes() if path.exists() else b""
    events: list[Event] = []
    end = 0
    while len(head := data[end : end + _LENGTH_BYTES]) == _LENGTH_BYTES:
        body = data[end + _LENGTH_BYTES :][: int.from_bytes(head, "little")]
        if len(body) < int.from_bytes(head, "little"):
            break
        events.append(pickle.loads(body))
        end += _LENGTH_BYTES + len(body)
    return events, end


def joined(path: Path) -> Ledger:
    """What a recording holds."""
    ledger = Ledger()
    for event in recorded(path)[0]:
        ledger.add(event)
    return ledger


async def record(address: str, path: Path) -> None:
    """Record for ever; from the device's first frame where the file is new."""
    ledger = joined(path)
    start: Any = ledger.position if ledger.parts else "earliest"
    with path.open("ab") as file:
        file.truncate(recorded(path)[1])
        async with holter_host.connect(address) as device:
            async for event in device.samples(start):
                body = pickle.dumps(event)
                file.write(len(body).to_bytes(_LENGTH_BYTES, "little") + body)
                ledger.add(event)
                print(ledger.newest.next_sequence, flush=True)


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1], Path(sys.argv[2])))
