"""The journal: every rollout and what it knows of each device, on disk before it is acted upon.

One SQLite file for all rollouts of a user. A write returns when it is durable, so it survives both
kill -9 and a power cut; writes that come while another is being synced are one transaction. All of
SQLite runs in one thread of its own, never on the event loop.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from holter.signature import ModelSignature
from holter_host.errors import BadInputError
from holter_host.rollout.ledger import JournalError, Ledger
from holter_host.rollout.lock import Lock
from holter_host.rollout.record import RolloutRecord, RolloutSummary
from holter_host.rollout.rows import Row

T = TypeVar("T")


def default_path() -> Path:
    """Where the journal is if nobody says otherwise: in the user's state directory."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "holter" / "rollouts.db"


class Journal:
    """A journal, inside `async with`.

    Args:
        path: its file, which is made with its directory if it is not there.
        synchronous: SQLite's setting; anything but FULL is for tests.
    """

    def __init__(self, path: str | os.PathLike[str], *, synchronous: str = "FULL") -> None:
        self.path = Path(path)
        self._synchronous = synchronous
        self._thread = ThreadPoolExecutor(1, "journal")
        self._waiting: list[tuple[int, int, Row]] = []
        self._current: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Open it.

        Raises:
            BadInputError: the file is no journal, or of a later version.
            JournalError: it cannot be opened.
        """
        try:
            self._ledger = await self._run(lambda: Ledger(self.path, self._synchronous))
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        writes = [write for write in (self._current, self._next) if write is not None]
        await asyncio.gather(*writes, return_exceptions=True)  # whoever waited was told
        await self._run(self._ledger.close)
        self._thread.shutdown()

    async def create(
        self,
        record: RolloutRecord,
        rows: Sequence[Row],
        model: bytes | None,
        signature: ModelSignature | None = None,
    ) -> tuple[RolloutRecord, Lock]:
        """Write a new rollout down, and hold it.

        What older rollouts that nobody runs have still open on the same devices is closed there:
        they must not bring an older model later.

        Returns:
            It with its number, and the lock on it.

        Raises:
            RolloutBusyError: a rollout that runs has one of the devices.
        """
        return await self._run(self._ledger.create, record, rows, model, signature)

    async def hold(self, rollout_id: int) -> Lock:
        """Hold a rollout, so that nobody else runs it.

        Raises:
            RolloutNotFoundError: there is none of this number.
            RolloutBusyError: somebody holds it, or one that has a device in common.
        """
        return await self._run(self._ledger.hold, rollout_id)

    async def load(self, rollout_id: int) -> RolloutRecord:
        """A rollout.

        Raises:
            RolloutNotFoundError: there is none of this number.
        """
        return await self._run(self._ledger.load, rollout_id)

    async def rows(self, rollout_id: int) -> dict[int, Row]:
        """What a rollout knows of its devices, by their position."""
        return await self._run(self._ledger.rows, rollout_id)

    async def history(self, limit: int = 20) -> list[RolloutSummary]:
        """The newest rollouts, the newest first."""
        return await self._run(self._ledger.history, limit)

    async def model(self, sha256: str) -> tuple[bytes, ModelSignature | None]:
        """The file of a model that a rollout brings, and who vouches for it.

        Raises:
            JournalError: it is kept no longer.
        """
        return await self._run(self._ledger.model, sha256)

    async def change(self, rollout_id: int, **values: Any) -> RolloutRecord:
        """Set fields of a rollout, e.g. state; it as it is then."""
        return await self._run(self._ledger.change, rollout_id, values)

    async def record(self, rollout_id: int, rows: Iterable[tuple[int, Row]]) -> None:
        """Write down what is known of devices, by their position; it is durable afterwards.

        Raises:
            JournalError: it is not.
        """
        waiting = [(rollout_id, position, row) for position, row in rows]
        if not waiting:
            return
        self._waiting += waiting
        if self._next is None:
            self._next = asyncio.create_task(self._write(self._current), name="journal")
        await asyncio.shield(self._next)

    async def _write(self, before: asyncio.Task[None] | None) -> None:
        """Write down what has come together until the write before is done, in one transaction."""
        if before is not None:
            await before  # after one that failed nothing is written any more
        await asyncio.sleep(0)  # who is ready in this turn of the loop comes along
        self._current, self._next = self._next, None
        batch, self._waiting = self._waiting, []
        await self._run(self._ledger.write, batch)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do something in the thread of the database."""

        def translated() -> T:
            try:
                return work(*arguments)
            except (sqlite3.Error, OSError) as error:
                if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
                    raise BadInputError(f"{self.path} is no journal of rollouts.") from error
                raise JournalError(
                    f"The journal {self.path} cannot be used: {error}; nothing is done without it."
                ) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, translated)
