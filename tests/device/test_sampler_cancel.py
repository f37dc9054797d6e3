"""A sampler that is told to stop at the very moment at which its child writes."""

from __future__ import annotations

import asyncio
from typing import cast

from holter_device.config import Config
from holter_device.grid import Grid
from holter_device.process import Child
from holter_device.sampler import ProcessSampler

Frames = list[tuple[int, bytes]]


class HeldChild:
    """A child whose frames a test hands over.

    Attributes:
        asked: set while somebody waits for frames.
        frames: what they wait for.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.frames: asyncio.Future[Frames]

    async def receive_many(self) -> Frames:
        """Wait for the test."""
        self.frames = asyncio.get_running_loop().create_future()
        self.asked.set()
        return await self.frames

    async def send(self, kind: int, payload: bytes = b"") -> None:
        """Take what a sampler is told."""


async def test_a_cancellation_that_comes_with_data_is_not_lost() -> None:
    """Tiles end when they are cancelled, even in the step in which the child's frames arrive."""
    sampler = ProcessSampler(Config(simulate="sinus"), "monotonic")
    child = HeldChild()
    sampler._child = cast("Child", child)

    async def read() -> None:
        async for _ in sampler.tiles(1, Grid(0, 360.0)):
            pass

    reading = asyncio.create_task(read())
    await child.asked.wait()
    child.frames.set_result([])
    reading.cancel()
    await asyncio.wait({reading}, timeout=1)
    assert reading.cancelled()
