"""A real Dask scheduler and its workers, as processes on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from distributed import Client

TESTS = Path(__file__).parents[1]


@dataclasses.dataclass
class DaskCluster:
    """A running cluster.

    Attributes:
        scheduler: the scheduler's address.
        workers: the workers' processes.
        folder: where their logs are.
    """

    scheduler: str
    workers: list[subprocess.Popen[bytes]]
    folder: Path

    def add_workers(self, count: int) -> None:
        """Start workers, and wait until there are so many more than those that still run."""
        running = sum(worker.poll() is None for worker in self.workers)
        for _ in range(count):
            log = self.folder / f"worker-{len(self.workers)}.log"
            words = ("dask_worker", self.scheduler, "--no-nanny", "--nthreads", "1")
            words += ("--host", "127.0.0.1", "--local-directory", str(self.folder / "dask"))
            self.workers.append(_start(log, *words))
        # In a thread, as there may be an event loop in this one.
        waiting = threading.Thread(target=asyncio.run, args=(self._there_are(running + count),))
        waiting.start()
        waiting.join()

    async def _there_are(self, count: int) -> None:
        client = Client(self.scheduler, asynchronous=True, set_as_default=False, timeout=60)
        async with client:
            # Those that were killed are told late, and nobody is told of it.
            while len(await client.nthreads()) != count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@contextlib.contextmanager
def dask_cluster(folder: Path, workers: int = 3) -> Iterator[DaskCluster]:
    """Run a scheduler and so many workers; all are killed at the end."""
    port = _free_port()
    words = ("dask_scheduler", "--host", "127.0.0.1", "--port", str(port))
    scheduler = _start(folder / "scheduler.log", *words)
    cluster = DaskCluster(f"tcp://127.0.0.1:{port}", [], folder)
    try:
        cluster.add_workers(workers)
        yield cluster
    finally:
        for process in (*cluster.workers, scheduler):
            process.kill()
            process.wait()


def _start(log: Path, name: str, *words: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", *words, "--no-dashboard"],
            stdout=out,
            stderr=out,
            env=os.environ | {"PYTHONPATH": str(TESTS)},
        )


def _free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
