"""Gives items to workers, reads their letters, and gives what a lost one had to the others."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from holter_host.cluster.connection import Cluster, LostError, RemoteShard
from holter_host.cluster.errors import ClusterError
from holter_host.cluster.shard import Fault, Letter, News, Question, Result, Work

LOOK_SECONDS: Final = 1.0
# How long there may be no worker at all.
NO_WORKER_SECONDS: Final = 30.0
# A worker that is lost so often, and never said a word, is not tried again.
LOSSES: Final = 3

_log = logging.getLogger(__name__)


class Desk(Protocol):
    """The client's side of the work: reads what the workers write about each item."""

    async def asked(self, questions: Sequence[tuple[Any, Any]]) -> Sequence[Any]:
        """The answers to questions about items."""

    async def told(self, news: Sequence[tuple[Any, Any]]) -> None:
        """Take news of items."""

    async def done(self, results: Sequence[tuple[Any, Any]]) -> None:
        """Take the results of items."""

    def again(self, item: Any) -> Any:
        """The item as another worker is to begin it, after the one that had it was lost."""


class _Hand:
    """A shard, what it has, the task that talks with it, and why that is in vain."""

    def __init__(self, shard: RemoteShard) -> None:
        self.shard = shard
        self.items: dict[int, Any] = {}
        self.serving: asyncio.Task[None]
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Pool:
    """One piece of work on many items, over all workers of a cluster.

    Args:
        cluster: connected.
        work: what the workers do.
        desk: reads what they write.
        items: taken as there is room.
        room: how many items a worker may have at a time, by how many workers there are.
    """

    def __init__(
        self,
        cluster: Cluster,
        work: Work,
        desk: Desk,
        items: Iterable[Any],
        room: Callable[[int], int],
    ) -> None:
        self._cluster = cluster
        self._work = work
        self._desk = desk
        self._items: Iterator[Any] = iter(items)
        self._room = room
        self._numbers = itertools.count()
        self._back: deque[Any] = deque()
        self._hands: dict[str, _Hand] = {}
        self._unusable: dict[str, str] = {}
        self._losses: Counter[str] = Counter()
        self._exhausted = False
        self._ended: asyncio.Future[None]

    async def run(self) -> None:
        """Return when every item is done.

        Raises:
            ClusterError: there is no worker, or no scheduler, any more.
            Exception: what the work or the desk raises.
        """
        self._ended = asyncio.get_running_loop().create_future()
        looking = asyncio.create_task(self._look_after_workers())
        looking.add_done_callback(self._finish)
        try:
            await self._ended
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            hands = list(self._hands.values())
            for hand in hands:
                hand.serving.cancel()
            await asyncio.gather(*(hand.serving for hand in hands), return_exceptions=True)
            await asyncio.gather(*(hand.shard.close() for hand in hands))

    async def _look_after_workers(self) -> None:
        """Start a shard on each worker that comes, and let go of each that is gone."""
        loop = asyncio.get_running_loop()
        seen, started, why = loop.time(), False, ""
        while True:
            workers = await self._cluster.workers()
            for worker in self._hands.keys() - workers:
                if not (gone := self._hands[worker].gone).done():
                    gone.set_result(None)
            if new := workers - self._hands.keys() - self._unusable.keys():
                try:
                    await self._cluster.share(self._work, anew=started and not self._hands)
                    await self._start(new)
                    started = True
                except LostError as error:  # of a worker that has just gone; the others try again
                    why = str(error)
            if self._hands:
                seen = loop.time()
            elif loop.time() - seen >= NO_WORKER_SECONDS:
                whys = "; ".join(filter(None, [why, *self._unusable.values()]))
                raise ClusterError(
                    f"The Dask scheduler at {self._cluster.scheduler} has no worker that can be "
                    f"used{whys and ': '}{whys}."
                )
            await asyncio.sleep(LOOK_SECONDS)

    async def _start(self, workers: Iterable[str]) -> None:
        """Start shards; they begin together, so that each gets its part."""
        workers = list(workers)
        starting = (self._cluster.start(worker, self._work) for worker in workers)
        starts = await asyncio.gather(*starting, return_exceptions=True)
        hands = []
        for worker, start in zip(workers, starts, strict=True):
            if isinstance(start, RemoteShard):
                self._hands[worker] = _Hand(start)
                hands.append(self._hands[worker])
            elif isinstance(start, LostError):
                _log.warning("%s", start)
                self._unusable[worker] = str(start)
            else:
                raise start
        for hand in hands:
            hand.serving = asyncio.create_task(self._serve(hand))
            hand.serving.add_done_callback(self._finish)

    async def _serve(self, hand: _Hand) -> None:
        answers: Mapping[int, Any] = {}
        while True:
            letters = await self._exchange(hand, answers)
            if letters is None:
                self._take_back(hand)
                return
            if letters:
                del self._losses[hand.shard.worker]
            answers = await self._read(hand, letters)
            if not self._left():
                self._finish(None)

    async def _exchange(self, hand: _Hand, answers: Mapping[int, Any]) -> list[Letter] | None:
        """The letters of a hand; None where its worker is lost."""
        items = self._give(hand)
        call = asyncio.create_task(hand.shard.exchange(items, answers))
        try:
            waited: set[asyncio.Future[Any]] = {call, hand.gone}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
            why = f"worker {hand.shard.worker} is gone"
        except LostError as error:
            why = str(error)
        finally:
            call.cancel()
        _log.warning("%s; others take its %d devices", why, len(hand.items))
        return None

    def _take_back(self, hand: _Hand) -> None:
        """Take what a lost worker had, for others."""
        worker = hand.shard.worker
        self._losses[worker] += 1
        if self._losses[worker] >= LOSSES:
            self._unusable[worker] = f"worker {worker} was lost {LOSSES} times"
        del self._hands[worker]
        self._back.extend(map(self._desk.again, hand.items.values()))

    def _give(self, hand: _Hand) -> list[tuple[int, Any]]:
        """The next items for a hand, as there is room: first those that another one had."""
        given: list[tuple[int, Any]] = []
        room = self._room(len(self._hands)) - len(hand.items)
        while len(given) < room:
            if self._back:
                item = self._back.popleft()
            elif (item := next(self._items, None)) is None:
                self._exhausted = True
                break
            given.append((next(self._numbers), item))
        hand.items.update(given)
        return given

    async def _read(self, hand: _Hand, letters: Sequence[Letter]) -> Mapping[int, Any]:
        """Read letters; the answers to those that are questions."""
        by_kind: dict[type[Letter], list[Letter]] = {}
        for letter in letters:
            if isinstance(letter, Fault):
                raise letter.content
            by_kind.setdefault(type(letter), []).append(letter)

        def about(kind: type[Letter]) -> list[tuple[Any, Any]]:
            return [(hand.items[x.number], x.content) for x in by_kind.get(kind, [])]

        # In the order in which an item's letters were written: a question waits, a result is last.
        if news := about(News):
            await self._desk.told(news)
        answers: Sequence[Any] = ()
        if questions := about(Question):
            answers = await self._desk.asked(questions)
        if results := about(Result):
            await self._desk.done(results)
        for letter in by_kind.get(Result, []):
            del hand.items[letter.number]
        numbers = [letter.number for letter in by_kind.get(Question, [])]
        return dict(zip(numbers, answers, strict=True))

    def _left(self) -> bool:
        """Whether an item is left to be done."""
        if not self._exhausted or self._back:
            return True
        return any(hand.items for hand in self._hands.values())

    def _finish(self, task: asyncio.Task[None] | None) -> None:
        """End it: all is done, or a task has raised."""
        if self._ended.done() or (task is not None and task.cancelled()):
            return
        error = task.exception() if task is not None else None
        if error is not None:
            self._ended.set_exception(error)
        elif task is None:
            self._ended.set_result(None)
