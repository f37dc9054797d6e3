"""What a kill can take from the log, counted in frames: those of the newest commit interval."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from support.logs import RATE_HZ, begin, block, opened
from support.virtual_time import VirtualTimeLoop


@pytest.mark.parametrize(
    ("interval", "disk_seconds"), [(0.25, 0.0), (1.0, 0.0), (1.0, 0.3), (4.0, 0.0)]
)
def test_a_kill_takes_no_more_than_a_commit_interval(
    tmp_path: Path, interval: float, disk_seconds: float
) -> None:
    """At every instant the file has all frames but those of the last interval.

    Frames come at 100 Hz of the event loop's time, of which the disk takes as much as the test
    says for a transaction. What a kill would leave is the file and its WAL as they are; they are
    looked at after each append.
    """

    async def run() -> list[int]:
        losses: list[int] = []
        async with opened(tmp_path / "log", commit_interval=interval) as log:
            _slow_down(disk_seconds)
            session = await begin(log)
            for first in range(0, round(4 * interval * RATE_HZ), 5):
                log.append([block(session, first, 5)])
                await asyncio.sleep(5 / RATE_HZ)
                losses.append(first + 5 - _killed_now(tmp_path))
        return losses

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        losses = runner.run(run())
    assert 0 < max(losses) <= round(interval * RATE_HZ)
    assert min(losses) <= 5 + round(disk_seconds * RATE_HZ)


def _slow_down(seconds: float) -> None:
    """Let the disk take this long for each transaction."""
    loop = asyncio.get_running_loop()
    run = loop.run_in_executor

    async def slow(thread: Any, work: Callable[[], Any]) -> Any:
        await asyncio.sleep(seconds)
        return await run(thread, work)

    cast("Any", loop).run_in_executor = slow


def _killed_now(folder: Path) -> int:
    """Frames that the log has if its process is killed now."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "log", copy)
    with sqlite3.connect(copy / "holter.db") as database:
        (count,) = database.execute("SELECT ifnull(sum(frame_count), 0) FROM frames").fetchone()
    database.close()
    return int(count)
