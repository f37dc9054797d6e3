"""Run a rollout in a process that kills itself at the n-th write of its journal, as a user might.

    python -m support.killed_rollout JOURNAL INVENTORY MODEL N before|after WAVES

`before` a write what was done is not written down yet; `after` it, what is to be done has not been
begun. It prints how many writes there were, if it came to its end.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from holter_host import Fleet
from holter_host.rollout.ledger import Ledger

WRITES = ("create", "change", "write")


def kill_at(number: int, when: str) -> list[int]:
    """Kill this process before or after the n-th write; the count of writes, as it grows."""
    count = [0]

    def killing(write: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(write)
        def wrapper(*arguments: Any) -> Any:
            count[0] += 1
            if count[0] == number and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = write(*arguments)
            if count[0] == number and when == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapper

    for name in WRITES:
        setattr(Ledger, name, killing(getattr(Ledger, name)))
    return count


async def main() -> None:
    """Run it."""
    journal, inventory, model, number, when, waves = sys.argv[1:]
    count = kill_at(int(number), when)
    async with Fleet.load(inventory) as fleet:
        await fleet.deploy(model, journal=journal, waves=waves).run()
    print(count[0])


if __name__ == "__main__":
    asyncio.run(main())
