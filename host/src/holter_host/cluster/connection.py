"""A Dask cluster, as far as it is needed here: its workers, and an actor on each. Imports Dask."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from holter_host.cluster.errors import ClusterError
from holter_host.cluster.shard import Letter, Shard, Work

# Dask has types for some of its methods only.
Client = Any

CONNECT_SECONDS: Final = 5.0
START_SECONDS: Final = 60.0
# A worker or scheduler that says nothing for so long is lost.
SILENCE_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 2.0


class LostError(Exception):
    """Error raised when a worker, or one of them, does not answer, for whatever reason."""


class RemoteShard:
    """A shard on a worker.

    Attributes:
        worker: the worker's address.
    """

    def __init__(self, worker: str, actor: Any) -> None:
        self.worker = worker
        self._actor = actor

    async def exchange(
        self, items: Sequence[tuple[int, Any]], answers: Mapping[int, Any]
    ) -> list[Letter]:
        """As Shard.exchange.

        Raises:
            LostError: the worker is lost.
        """
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                letters: list[Letter] = await self._actor.exchange(items, answers)
        except TimeoutError as error:
            raise LostError(f"worker {self.worker} is lost: it is silent") from error
        except Exception as error:  # Dask raises many kinds, and the work's own are letters
            raise LostError(f"worker {self.worker} is lost: {_words(error)}") from error
        return letters

    async def close(self) -> None:
        """Let the worker end its work, if it is there."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._actor.close()


class Cluster:
    """A connection to a scheduler, inside `async with`.

    Args:
        scheduler: its address, e.g. "tcp://10.0.0.1:8786".
    """

    def __init__(self, scheduler: str) -> None:
        self.scheduler = scheduler
        self._client: Client
        self._shared: dict[Work, Any] = {}

    async def __aenter__(self) -> Self:
        """Connect, and see that every worker has this version of Holter.

        Raises:
            ClusterError: that is not so.
        """
        make = _client_class()
        # Its lines say what our errors say, less clearly, and a lost worker is not lost for us.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        client = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS + 1):
                client = make(
                    self.scheduler,
                    asynchronous=True,
                    timeout=CONNECT_SECONDS,
                    set_as_default=False,
                )
                await client
        except (OSError, ValueError, TimeoutError) as error:
            if client is not None:
                await _close(client)
            raise ClusterError(
                f"No Dask scheduler answers at {self.scheduler}; is `dask scheduler` running "
                "there, and is it an address such as tcp://10.0.0.1:8786?"
            ) from error
        self._client = client
        try:
            await self._check_versions()
        except BaseException:
            await _close(client)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._shared.clear()
        await _close(self._client)

    async def workers(self) -> set[str]:
        """The addresses of the workers that there are now.

        Raises:
            ClusterError: the scheduler does not answer.
        """
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return set(await self._client.nthreads())
        except Exception as error:
            raise ClusterError(f"The Dask scheduler at {self.scheduler} is lost.") from error

    async def share(self, work: Work, *, anew: bool = False) -> None:
        """Bring the work, with the model that is in it, to every worker, unless it is there.

        Args:
            work: it; hashable.
            anew: whether all workers that had it may be gone.

        Raises:
            LostError: a worker is lost meanwhile.
            ClusterError: it does not travel: a part of it is not installed there, or not picklable.
        """
        if work in self._shared and not anew:
            return
        try:
            async with asyncio.timeout(START_SECONDS):
                self._shared[work] = await self._client.scatter(work, broadcast=True, hash=False)
        except (ImportError, AttributeError, TypeError, pickle.PicklingError) as error:
            raise ClusterError(f"The work does not reach the workers: {_words(error)}.") from error
        except Exception as error:
            raise LostError(f"the workers cannot be given the work: {_words(error)}") from error

    async def start(self, worker: str, work: Work) -> RemoteShard:
        """Start a shard of work that was shared on a worker.

        Raises:
            LostError: it does not start.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                future = self._client.submit(
                    Shard,
                    self._shared[work],
                    actor=True,
                    workers=[worker],
                    allow_other_workers=False,
                    pure=False,
                )
                with self._client.as_current():  # an actor belongs to the client that is current
                    return RemoteShard(worker, await future)
        except Exception as error:
            raise LostError(f"worker {worker} does not start: {_words(error)}") from error

    async def _check_versions(self) -> None:
        own = version()
        found: dict[str, Any] = await self._client.run(version, on_error="return")
        for worker, other in found.items():
            if isinstance(other, BaseException):
                raise ClusterError(
                    f"Worker {worker} has no holter-host: install 'holter-host[cluster]' {own} "
                    "where the scheduler and the workers run."
                ) from other
            if other != own:
                raise ClusterError(
                    f"Worker {worker} has holter-host {other} and this is {own}: install the same "
                    "version everywhere."
                )


async def check_cluster(scheduler: str) -> None:
    """Find out whether a cluster can be used.

    Raises:
        ClusterError: it cannot.
    """
    async with Cluster(scheduler) as cluster:
        if not await cluster.workers():
            raise ClusterError(
                f"The Dask scheduler at {scheduler} has no worker; start one with: "
                f"dask worker {scheduler}"
            )


def version() -> str:
    """The version of holter-host that is installed."""
    return importlib.metadata.version("holter-host")


def _client_class() -> Callable[..., Client]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(
            "A cluster needs Dask; install it with: pip install 'holter-host[cluster]'"
        ) from error
    return Client


async def _close(client: Client) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.close(timeout=CLOSE_SECONDS)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
