"""One change at a time: deploys, activations, returns and deletions take turns on a device."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from .errors import ClassifierUnavailableError, DeployInProgressError

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Running:
    """Who holds the turn, and since when."""

    sha256: str
    peer: str
    start_time: str


class Turn:
    """The turn, which is free or held by one piece of work."""

    def __init__(self) -> None:
        self._running: _Running | None = None
        self._task: asyncio.Task[Any] | None = None
        self._committing = False
        self._closed = False

    async def take(self, sha256: str, peer: str, work: Coroutine[Any, Any, _T]) -> _T:
        """Do the work in a task of its own, which whoever goes away cannot cut in two.

        Raises:
            DeployInProgressError: the turn is held.
            ClassifierUnavailableError: the work was given up, or not begun, as holterd is stopping.
        """
        if self._closed:
            work.close()
            raise _stopping()
        if self._running is not None:
            work.close()
            raise _in_progress(self._running)
        now = datetime.datetime.now(datetime.UTC)
        self._running = _Running(sha256, peer, now.isoformat(timespec="seconds"))
        task = self._task = asyncio.create_task(work, name="deploy")
        task.add_done_callback(self._finished)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise _stopping() from None
            await self._end(task)
            raise

    def commit(self) -> None:
        """From here on the work is carried through, whoever goes away."""
        self._committing = True

    async def wait_until_free(self) -> None:
        """Wait until nobody holds the turn."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """End the work that runs: before it commits it is given up, else carried through.

        Nobody gets the turn any more.
        """
        self._closed = True
        if self._task is not None:
            await self._end(self._task)

    async def _end(self, task: asyncio.Task[Any]) -> None:
        if not self._committing:
            task.cancel()
        await asyncio.wait([task])

    def _finished(self, task: asyncio.Task[Any]) -> None:
        running, self._running, self._task = self._running, None, None
        self._committing = False
        assert running is not None
        if task.cancelled():
            _log.info("the deploy of model %s was given up", running.sha256)
        elif error := task.exception():
            _log.warning("model %s from %s is refused: %s", running.sha256, running.peer, error)


def _stopping() -> ClassifierUnavailableError:
    return ClassifierUnavailableError(
        "the device is stopping; nothing was deployed, try again when it runs"
    )


def _in_progress(running: _Running) -> DeployInProgressError:
    return DeployInProgressError(
        f"a deploy of model {running.sha256[:12]} by {running.peer or 'another client'} has been "
        f"running since {running.start_time}; wait for it to end, then try again",
        sha256=running.sha256,
        peer=running.peer,
        start_time=running.start_time,
    )
