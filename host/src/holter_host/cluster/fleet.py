"""A fleet whose devices are worked on by the workers of a cluster."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any, TypeVar

from holter_host._connection import CALL_SECONDS
from holter_host._fleet_feed import Wanted
from holter_host._reconnect import SILENCE_SECONDS
from holter_host.bundle import Bundle
from holter_host.cluster.connection import Cluster
from holter_host.cluster.desks import Desk, Each, Events, Follow, Followed, Outcomes
from holter_host.cluster.hands import ClusterHands
from holter_host.cluster.pool import Pool
from holter_host.cluster.shard import Work as ShardWork
from holter_host.fleet import CONCURRENCY, Fleet, Outcome, Work
from holter_host.fleet_streams import FleetEvent
from holter_host.inventory import FleetDevice, Inventory
from holter_host.rollout.hands import Hands

T = TypeVar("T")


class ClusterFleet(Fleet):
    """A Fleet that has the workers of a Dask cluster do its work: each a part of the devices.

    The addresses of the inventory are those that the workers reach. `work` of `each` travels to
    them, so it must be picklable; where a worker is lost, it is done anew by another one with each
    device that has no outcome yet.

    Args:
        inventory: the devices.
        scheduler: the address of the cluster's scheduler, e.g. "tcp://10.0.0.1:8786".
        concurrency: how many devices each worker works on at a time.
        timeout: as for Fleet.
        silence: as for Fleet.
    """

    def __init__(
        self,
        inventory: Inventory,
        *,
        scheduler: str,
        concurrency: int = CONCURRENCY,
        timeout: float = CALL_SECONDS,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        super().__init__(inventory, concurrency=concurrency, timeout=timeout, silence=silence)
        self._scheduler = scheduler

    async def each(
        self,
        work: Work[T],
        *,
        devices: Iterable[FleetDevice] | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Outcome[T], None]:
        """Do something with each device, as `Fleet.each`.

        Raises:
            ClusterError: the cluster cannot be used.
        """
        chosen = self.inventory.devices if devices is None else devices
        job = Each(work, deadline, self._timeout, self._silence)
        found = self._found(job, Outcomes(), chosen, lambda _: self._concurrency)
        async with aclosing(found) as outcomes:
            async for outcome in outcomes:
                yield outcome

    def hands(self, model: Bundle | None) -> Hands:
        """The workers, as `Fleet.hands`."""
        return ClusterHands(
            model,
            scheduler=self._scheduler,
            concurrency=self._concurrency,
            timeout=self._timeout,
        )

    async def _merged(self, wanted: Wanted) -> AsyncGenerator[FleetEvent, None]:
        """The streams of all devices, each followed by one worker, and merged here.

        Where a worker is lost, others go on with its devices after what came last of each.
        """
        items = [
            Followed(device, dataclasses.replace(wanted, kinds=(kind,)))
            for kind in wanted.kinds
            for device in self.inventory.devices
        ]
        job = Follow(self._timeout, self._silence, len(items))

        def room(workers: int) -> int:
            return -(-len(items) // max(1, workers))

        async with aclosing(self._found(job, Events(), items, room)) as events:
            async for event in events:
                yield event

    async def _found(
        self, job: ShardWork, desk: Desk, items: Iterable[Any], room: Callable[[int], int]
    ) -> AsyncGenerator[Any, None]:
        """What the workers find, as it comes to the desk."""
        async with Cluster(self._scheduler) as cluster:
            running = asyncio.create_task(Pool(cluster, job, desk, items, room).run())
            try:
                while not running.done():
                    coming = asyncio.create_task(desk.found.get())
                    await asyncio.wait({running, coming}, return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        coming.cancel()
                        break
                    for item in coming.result():
                        yield item
                while not desk.found.empty():
                    for item in desk.found.get_nowait():
                        yield item
                await running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
