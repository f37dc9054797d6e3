"""Laws of the pool that gives items to the workers of a cluster, whatever becomes of these."""

from __future__ import annotations

import asyncio
import collections
import pickle
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holter_host.cluster import ClusterError, connection, pool, shard
from holter_host.cluster.connection import Cluster, LostError, RemoteShard
from holter_host.cluster.pool import Pool
from holter_host.cluster.shard import Letter, Shard, Talk, Work


class MemoryShard(RemoteShard):
    """A shard of this process, through pickle; its worker dies after so many exchanges.

    It dies before the last one (`deaf`), or after it, with the answers that were given to it.
    """

    def __init__(self, worker: str, work: Work, life: float, *, deaf: bool) -> None:
        super().__init__(worker, None)
        self._shard = Shard(work)
        self._life = life
        self._deaf = deaf

    async def exchange(
        self, items: Sequence[tuple[int, Any]], answers: Mapping[int, Any]
    ) -> list[Letter]:
        """As Shard.exchange; where it is lost, before or after the worker did it."""
        self._life -= 1
        if self._life < 0 and self._deaf:
            await self.close()
            raise LostError(f"{self.worker} is lost")
        content = pickle.loads(pickle.dumps((items, answers)))
        letters = await self._shard.exchange(*content)
        if self._life < 0:
            await self.close()
            raise LostError(f"{self.worker} is lost")
        back: list[Letter] = pickle.loads(pickle.dumps(letters))
        return back

    async def close(self) -> None:
        """End it."""
        await self._shard.close()


class MemoryCluster(Cluster):
    """A cluster of this process whose workers live for so many exchanges each, then come again."""

    def __init__(self, lives: Mapping[str, Sequence[float]], *, deaf: bool = True) -> None:
        super().__init__("memory")
        self._lives = {worker: list(each) for worker, each in lives.items()}
        self._deaf = deaf
        self.shards: list[MemoryShard] = []

    async def workers(self) -> set[str]:
        """Those that have a life left."""
        return set(self._lives)

    async def share(self, work: Work, *, anew: bool = False) -> None:
        """Nothing need travel."""

    async def start(self, worker: str, work: Work) -> RemoteShard:
        """A shard with the worker's next life."""
        life = self._lives[worker].pop(0) if self._lives[worker] else 0
        self.shards.append(MemoryShard(worker, work, life, deaf=self._deaf))
        return self.shards[-1]


class Doubtful:
    """Work as a rollout's: asks what is to be done with an item, does it, and tells; in `done`."""

    done: ClassVar[collections.Counter[int]] = collections.Counter()
    order: ClassVar[random.Random] = random.Random(0)

    async def __call__(self, item: int, talk: Talk) -> int:
        """Do it, unless it was done."""
        await _pause()
        if await talk.ask(self.done[item]):
            await _pause()
            self.done[item] += 1
            await _pause()
        return item


async def _pause() -> None:
    for _ in range(Doubtful.order.randrange(4)):
        await asyncio.sleep(0)


class Desk:
    """Answers as an engine's journal: what was seen decides; notes what came of each item."""

    def __init__(self) -> None:
        self.results: list[int] = []
        self.news: list[tuple[int, Any]] = []

    async def asked(self, questions: Sequence[tuple[Any, Any]]) -> Sequence[Any]:
        """Do what was not done."""
        await asyncio.sleep(0)
        return [not seen for _, seen in questions]

    async def told(self, news: Sequence[tuple[Any, Any]]) -> None:
        """Note it."""
        self.news += news

    async def done(self, results: Sequence[tuple[Any, Any]]) -> None:
        """Note it."""
        for item, result in results:
            assert item == result
            self.results.append(item)

    def again(self, item: Any) -> Any:
        """The same."""
        return item


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is not what these laws are about."""
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(shard, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(shard, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(pool, "LOSSES", 1000)


async def _run(cluster: MemoryCluster, desk: Desk, count: int, room: int = 3) -> None:
    await Pool(cluster, Doubtful(), desk, iter(range(count)), lambda _: room).run()


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 6), max_size=3), min_size=1),
    st.integers(0, 20),
    st.integers(1, 5),
    st.integers(),
    st.booleans(),
)
def test_each_item_has_one_result_and_is_done_once(
    lives: dict[str, list[int]], count: int, room: int, seed: int, deaf: bool
) -> None:
    """Whenever workers are lost, each item has exactly one result, and was done exactly once."""
    Doubtful.done, Doubtful.order = collections.Counter(), random.Random(seed)
    cluster = MemoryCluster(lives | {"z": [2, 1, 1e9]}, deaf=deaf)
    desk = Desk()
    asyncio.run(asyncio.wait_for(_run(cluster, desk, count, room), 30))
    assert sorted(desk.results) == list(range(count))
    assert Doubtful.done == collections.Counter(range(count))


class Refusing(Doubtful):
    """Work that raises for one item."""

    async def __call__(self, item: int, talk: Talk) -> int:
        """Raise for 3."""
        if item == 3:
            raise ZeroDivisionError("three")
        return item


async def test_what_work_raises_is_raised() -> None:
    """An exception of the work ends the pool with it, and its shards."""
    cluster = MemoryCluster({"a": [1e9], "b": [1e9]})
    with pytest.raises(ZeroDivisionError, match="three"):
        await Pool(cluster, Refusing(), Desk(), range(10), lambda _: 2).run()
    for each in cluster.shards:
        with pytest.raises(RuntimeError, match="given up"):
            await each.exchange([], {})


class Talking(Doubtful):
    """Work that tells a lot."""

    async def __call__(self, item: int, talk: Talk) -> int:
        """Tell numbers."""
        for number in range(10_000):
            await talk.tell(number)
        return item


async def test_news_come_in_order_and_wait_for_who_reads() -> None:
    """All that an item tells comes, in its order; no more than UNREAD of it waits on the worker."""
    most = 0

    class Slow(Desk):
        async def told(self, news: Sequence[tuple[Any, Any]]) -> None:
            nonlocal most
            most = max(most, len(news))
            await super().told(news)

    desk = Slow()
    await Pool(MemoryCluster({"a": [1e9]}), Talking(), desk, range(3), lambda _: 3).run()
    for item in range(3):
        assert [x for told, x in desk.news if told == item] == list(range(10_000))
    assert most <= shard.UNREAD + 3


async def test_items_are_taken_as_there_is_room() -> None:
    """No more items are taken than all workers have room for, so that a rollout can stop."""
    taken = 0

    def items() -> Any:
        nonlocal taken
        for item in range(100):
            assert item - len(desk.results) <= 2 * 3
            taken += 1
            yield item

    desk = Desk()
    Doubtful.done = collections.Counter()
    cluster = MemoryCluster({"a": [1e9], "b": [1e9]})
    await Pool(cluster, Doubtful(), desk, items(), lambda _: 3).run()
    assert taken == 100


async def test_no_worker_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where workers are lost again and again, and never say a word, it ends with why."""
    monkeypatch.setattr(pool, "LOSSES", 3)
    monkeypatch.setattr(pool, "NO_WORKER_SECONDS", 0.05)
    with pytest.raises(ClusterError, match="worker a was lost 3 times"):
        await _run(MemoryCluster({"a": []}), Desk(), 5)


async def test_a_shard_that_nobody_asks_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard whose client went away ends what it does, and says so to one that comes back."""
    monkeypatch.setattr(shard, "LEASE_SECONDS", 0.05)
    ended = asyncio.Event()

    async def endless(item: int, talk: Talk) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    lonely = Shard(endless)
    assert await lonely.exchange([(1, 1)], {}) == []
    await ended.wait()
    with pytest.raises(RuntimeError, match="given up"):
        await lonely.exchange([], {})


async def test_a_silent_worker_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that neither answers nor dies, as one that was stopped, counts as lost."""
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.02)
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.02)

    class Stopped:
        """An actor on a worker that is stopped."""

        async def exchange(self, items: Any, answers: Any) -> None:
            await asyncio.Event().wait()

        close = exchange

    remote = RemoteShard("tcp://worker", Stopped())
    with pytest.raises(LostError, match="worker tcp://worker is lost: it is silent"):
        await remote.exchange([], {})
