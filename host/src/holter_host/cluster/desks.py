"""What workers do with a device of a fleet, and how what they find comes together here."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any, Final

from holter_host._fleet_feed import FILES_A_DEVICE, OTHER_FILES, Wanted, allow_files
from holter_host._many_calls import many_calls
from holter_host._reconnect import ConnectionChange
from holter_host.cluster.shard import Talk
from holter_host.fleet import Fleet, Outcome, Work
from holter_host.fleet_streams import FleetEvent
from holter_host.inventory import FleetDevice, Inventory
from holter_host.types import Session, SessionStarted

# Answers of workers that nobody has taken yet: who takes his time holds up the workers.
QUEUE: Final = 16


class Desk:
    """A pool's desk that puts what it reads into a queue, many at a time.

    Attributes:
        found: the queue.
    """

    def __init__(self) -> None:
        self.found: asyncio.Queue[list[Any]] = asyncio.Queue(QUEUE)

    async def asked(self, questions: Sequence[tuple[Any, Any]]) -> Sequence[Any]:
        """Nothing is asked."""
        raise AssertionError(f"a worker asked {questions}")

    async def told(self, news: Sequence[tuple[Any, Any]]) -> None:
        """Take news, as pool.Desk.told."""

    async def done(self, results: Sequence[tuple[Any, Any]]) -> None:
        """Take results, as pool.Desk.done."""

    def again(self, item: Any) -> Any:
        """The item itself."""
        return item


@dataclasses.dataclass(frozen=True, slots=True)
class Each:
    """On the worker: a piece of work on a device, as `Fleet.each` does it."""

    work: Work[Any]
    deadline: float | None
    timeout: float
    silence: float

    async def __call__(self, device: FleetDevice, talk: Talk) -> Outcome[Any]:
        """Its outcome."""
        fleet = Fleet(Inventory("", (device,)), timeout=self.timeout, silence=self.silence)
        async with contextlib.aclosing(fleet.each(self.work, deadline=self.deadline)) as outcomes:
            return await anext(outcomes)


class Outcomes(Desk):
    """Outcomes, each once."""

    async def done(self, results: Sequence[tuple[Any, Any]]) -> None:
        """Queue outcomes."""
        await self.found.put([outcome for _, outcome in results])


@dataclasses.dataclass(frozen=True, slots=True)
class Followed:
    """A stream of a device: `wanted` has one kind."""

    device: FleetDevice
    wanted: Wanted


@dataclasses.dataclass(frozen=True, slots=True)
class Follow:
    """On the worker: a stream of a device, to its end; `stream_count` is of all there are."""

    timeout: float
    silence: float
    stream_count: int

    async def __call__(self, item: Followed, talk: Talk) -> None:
        """Tell every event."""
        allow_files(FILES_A_DEVICE * self.stream_count + OTHER_FILES)
        inventory = Inventory("", (item.device,))
        fleet = Fleet(inventory, timeout=self.timeout, silence=self.silence)
        # Of these each task has one call, and all of them may end at once.
        async with many_calls(self.stream_count):
            async for event in fleet.streams(item.wanted):
                await talk.tell(event)


class Events(Desk):
    """Events of streams, each once also where a worker is lost."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted: dict[tuple[str, str], Wanted] = {}
        self._sessions: dict[tuple[str, str], Session] = {}
        self._lost: collections.Counter[str] = collections.Counter()

    async def told(self, news: Sequence[tuple[Followed, FleetEvent]]) -> None:
        """Queue events but for those that were told before."""
        await self.found.put([event for item, event in news if self._is_new(item, event)])

    def again(self, item: Followed) -> Followed:
        """The stream from after its last event on; live, where there was none."""
        return dataclasses.replace(item, wanted=self._wanted.get(_key(item), item.wanted))

    def _is_new(self, item: Followed, event: FleetEvent) -> bool:
        """Note how far a stream is; whether its event is worth telling."""
        name, key, found = item.device.name, _key(item), event.event
        if position := event.position:
            self._wanted[key] = dataclasses.replace(item.wanted, start={name: position})
        if isinstance(found, ConnectionChange):  # the streams of a device lose it together
            self._lost[name] += -1 if found.connected else 1
            return self._lost[name] == (0 if found.connected else 1)
        if isinstance(found, SessionStarted):
            known, self._sessions[key] = self._sessions.get(key), found.session
            return known is None or not _same(known, found.session)
        return True


def _key(item: Followed) -> tuple[str, str]:
    return item.device.name, item.wanted.kinds[0]


def _same(one: Session, other: Session) -> bool:
    return (one.log_id, one.session_id) == (other.log_id, other.session_id)
