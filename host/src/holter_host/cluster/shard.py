"""What runs on a worker: it works on what it is given, and writes letters about it to the client.

The client calls `exchange` again and again, from which a shard sees that it is still wanted: one
that is not called for LEASE_SECONDS gives up what it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

POLL_SECONDS: Final = 0.5
# What comes at about the same time goes into one answer.
LINGER_SECONDS: Final = 0.005
LEASE_SECONDS: Final = 60.0
UNREAD: Final = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """Something about one task: its number, and what there is to say."""

    number: int
    content: Any


class Question(Letter):
    """The task waits for an answer."""


class News(Letter):
    """The task goes on."""


class Result(Letter):
    """The task is done."""


class Fault(Letter):
    """The task ended with an exception, which is the content."""


class Talk(Protocol):
    """How a task talks with the client."""

    async def ask(self, content: Any) -> Any:
        """Ask, and wait for the answer."""

    async def tell(self, content: Any) -> None:
        """Tell; waits while much is unread."""


class Work(Protocol):
    """What is done with each item that a shard is given. It travels to the worker, pickled."""

    async def __call__(self, item: Any, talk: Talk, /) -> Any:
        """Do it; the result goes to the client."""


class Shard:
    """The part of the work that one worker does.

    Args:
        work: what is done with each item.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._outbox: list[Letter] = []
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._written = asyncio.Event()
        self._read = asyncio.Condition()
        self._lease: asyncio.TimerHandle | None = None
        self._over = False

    async def exchange(
        self, items: Sequence[tuple[int, Any]], answers: Mapping[int, Any]
    ) -> list[Letter]:
        """Take items, by their number, and answers; give the letters that there are.

        Raises:
            RuntimeError: it has given up, as it was not asked for too long.
        """
        if self._over:
            raise RuntimeError("the shard has given up, as nobody asked it")
        self._renew()
        for number, answer in answers.items():
            self._waiting.pop(number).set_result(answer)
        for number, item in items:
            self._running[number] = asyncio.create_task(self._one(number, item))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._written.wait()
                await asyncio.sleep(LINGER_SECONDS)
        letters, self._outbox = self._outbox, []
        self._written.clear()
        async with self._read:
            self._read.notify_all()
        return letters

    async def close(self) -> None:
        """End everything that runs."""
        self._give_up()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _renew(self) -> None:
        if self._lease is not None:
            self._lease.cancel()
        loop = asyncio.get_running_loop()
        self._lease = loop.call_later(LEASE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._over = True
        if self._lease is not None:
            self._lease.cancel()
        for task in self._running.values():
            task.cancel()

    def _write(self, letter: Letter) -> None:
        self._outbox.append(letter)
        self._written.set()

    async def _one(self, number: int, item: Any) -> None:
        try:
            self._write(Result(number, await self._work(item, _Talk(self, number))))
        except Exception as error:  # whatever it is, the client is to raise it
            self._write(Fault(number, _portable(error)))
        finally:
            self._running.pop(number, None)


class _Talk:
    """The talk of one task."""

    def __init__(self, shard: Shard, number: int) -> None:
        self._shard = shard
        self._number = number

    async def ask(self, content: Any) -> Any:
        """As Talk.ask."""
        shard = self._shard
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        shard._waiting[self._number] = answer
        shard._write(Question(self._number, content))
        return await answer

    async def tell(self, content: Any) -> None:
        """As Talk.tell."""
        shard = self._shard
        async with shard._read:
            await shard._read.wait_for(lambda: len(shard._outbox) < UNREAD)
        shard._write(News(self._number, content))


def _portable(error: Exception) -> Exception:
    """An error that can travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
