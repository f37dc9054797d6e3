"""The hands of a rollout on the workers of a cluster; its journal and its decisions stay here.

A device is given to a worker, which looks at it, asks what is to be done, and does it: by the very
`LocalHands`. The engine writes the device down before the answer, and what came of it after the
result. So, where a worker is lost, the device is given to another as one that is in doubt: it is
looked at, and what it has decides whether anything is left to be done.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from holter_host._connection import CALL_SECONDS
from holter_host.bundle import Bundle
from holter_host.cluster.connection import Cluster
from holter_host.cluster.pool import Pool
from holter_host.cluster.shard import Talk, Work
from holter_host.errors import HolterError
from holter_host.inventory import FleetDevice
from holter_host.rollout.api import MakeHands
from holter_host.rollout.hands import CONCURRENCY, Begun, Ended, LocalHands, Look
from holter_host.rollout.rows import Move, Report, Seen

# A device, and how many seconds a move may take.
_Item = tuple[FleetDevice, float]


@dataclasses.dataclass(frozen=True, slots=True)
class _Carry:
    """On the worker: looks at a device, asks what is to be done, and does it."""

    hands: LocalHands

    async def __call__(self, item: _Item, talk: Talk) -> Report | None:
        """What came of it; None where nothing was to be done."""
        device, seconds = item
        reports: list[Report] = []

        async def begun(looks: Sequence[Look]) -> Sequence[Move | None]:
            return [await talk.ask(seen) for _, seen in looks]

        async def ended(found: Sequence[tuple[FleetDevice, Report]]) -> None:
            reports.extend(report for _, report in found)

        await self.hands.carry([device], begun, ended, seconds)
        return reports[0] if reports else None


@dataclasses.dataclass(frozen=True, slots=True)
class _Look:
    """On the worker: looks at a device."""

    hands: LocalHands

    async def __call__(self, item: _Item, talk: Talk) -> Seen | HolterError:
        """What was seen of it."""
        found: list[Look] = []

        async def seen(looks: Sequence[Look]) -> None:
            found.extend(looks)

        await self.hands.look([item[0]], seen)
        return found[0][1]


class _Desk:
    """Hands what the workers ask and report on to the engine."""

    def __init__(
        self,
        begun: Begun | None,
        done: Callable[[Sequence[tuple[FleetDevice, Any]]], Awaitable[None]],
    ) -> None:
        self._begun = begun
        self._done = done

    async def asked(self, questions: Sequence[tuple[_Item, Any]]) -> Sequence[Any]:
        """What is to be done with devices of which this was seen."""
        assert self._begun is not None
        return await self._begun([(device, seen) for (device, _), seen in questions])

    async def told(self, news: Sequence[tuple[Any, Any]]) -> None:
        """No news come of a rollout."""

    async def done(self, results: Sequence[tuple[_Item, Any]]) -> None:
        """Take what came of devices with which something was to be done."""
        if found := [(device, result) for (device, _), result in results if result is not None]:
            await self._done(found)

    def again(self, item: _Item) -> _Item:
        """Another worker begins by looking at the device, as the one before did."""
        return item


class ClusterHands:
    """Hands that are the workers of a cluster.

    Args:
        model: what moves upload; None where none does. It is sent to each worker once.
        scheduler: the address of the cluster's scheduler.
        concurrency: how many devices each worker works on at a time.
        timeout: seconds that a call to a device may take, but for the move itself.
    """

    def __init__(
        self,
        model: Bundle | None = None,
        *,
        scheduler: str,
        concurrency: int = CONCURRENCY,
        timeout: float = CALL_SECONDS,
    ) -> None:
        self._cluster = Cluster(scheduler)
        local = LocalHands(model, concurrency=concurrency, timeout=timeout)
        self._concurrency = local.concurrency
        self._carry = _Carry(local)
        self._look = _Look(LocalHands(None, concurrency=concurrency, timeout=timeout))

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ClusterError: the cluster cannot be used.
        """
        await self._cluster.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        await self._cluster.__aexit__(exc_type, exc, traceback)

    async def carry(
        self, devices: Iterable[FleetDevice], begun: Begun, ended: Ended, seconds: float
    ) -> None:
        """As `Hands.carry`.

        Raises:
            ClusterError: the cluster cannot be used; what was begun is settled by a resume.
        """
        items = ((device, seconds) for device in devices)
        await self._run(self._carry, _Desk(begun, ended), items)

    async def look(
        self, devices: Iterable[FleetDevice], seen: Callable[[Sequence[Look]], Awaitable[None]]
    ) -> None:
        """As `Hands.look`; errors as `carry`."""
        items = ((device, 0.0) for device in devices)
        await self._run(self._look, _Desk(None, seen), items)

    async def _run(self, work: Work, desk: _Desk, items: Iterable[_Item]) -> None:
        await Pool(self._cluster, work, desk, items, lambda _: self._concurrency).run()


def cluster_hands(
    scheduler: str, *, concurrency: int = CONCURRENCY, timeout: float = CALL_SECONDS
) -> MakeHands:
    """What makes the hands of a rollout on a cluster; as `default_hands`."""
    return functools.partial(
        ClusterHands, scheduler=scheduler, concurrency=concurrency, timeout=timeout
    )
