"""What is the same of every stream that breaks: when to try again, and when to give up."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from holter_host._retry import Backoff
from holter_host.errors import BadInputError, DeviceError, DeviceUnreachableError

# Heartbeats come once a second.
SILENCE_SECONDS: Final = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionChange:
    """A stream lost its connection, or has it again.

    Attributes:
        connected: whether it has.
        reason: why it lost it, as a sentence.
        seconds: how long it was without; 0 when it lost it.
    """

    connected: bool
    reason: str
    seconds: float = 0.0


OnConnection = Callable[[ConnectionChange], None]


def limit_seconds(reconnect: float | None) -> float:
    """How long a stream tries again after a break, from what the user gave: None is for ever.

    Raises:
        BadInputError: that is no time.
    """
    if reconnect is None or reconnect is True:
        return math.inf
    if not reconnect >= 0:
        raise BadInputError(
            f"reconnect is {reconnect!r}: give seconds for which to try again, 0 for never, or "
            "None for ever."
        )
    return float(reconnect)


def is_break(error: DeviceError) -> bool:
    """Whether it was the connection that failed, and not holterd that answered."""
    if isinstance(error, DeviceUnreachableError):
        return not error.reason
    # gRPC has no code of its own for a stream that was reset.
    return "RST_STREAM" in str(error) or "Stream removed" in str(error)


class Reconnection:
    """The state of one stream between its calls.

    Attributes:
        connected: whether the newest call has given anything, and is not known to be broken.
        count: how often a call took the place of one that broke.
        error: why the connection was lost last; None where it never was.
    """

    def __init__(self, backoff: Backoff, limit: float, notify: OnConnection | None) -> None:
        self.connected = False
        self.count = 0
        self.error: DeviceError | None = None
        self._backoff = backoff
        self._limit = limit
        self._notify = notify
        self._tries = 0
        self._lost_at: float | None = None
        self._waiting: asyncio.Future[None] | None = None

    @property
    def enabled(self) -> bool:
        """Whether there is a second try at all."""
        return self._limit > 0

    def came(self) -> None:
        """Note that the newest call gives something."""
        if self.connected:
            return
        self.connected = True
        if self._lost_at is not None:
            self.count += 1
            seconds, self._lost_at = self._backoff.clock() - self._lost_at, None
            self._tell(ConnectionChange(True, str(self.error), seconds))

    def progressed(self) -> None:
        """Note that it was worth it: the waits start anew."""
        self._tries = 0

    async def broke(self, error: DeviceError) -> None:
        """Wait until it is time to try again.

        Raises:
            DeviceError: `error`, where it is not to be tried again; DeviceUnreachableError where it
                was tried for too long.
        """
        if not self.enabled or not is_break(error):
            raise error
        now = self._backoff.clock()
        if self._lost_at is None:
            self._lost_at, self.connected, self.error = now, False, error
            self._tell(ConnectionChange(False, str(error)))
        left = self._lost_at + self._limit - now
        if left <= 0:
            raise DeviceUnreachableError(
                f"{self.error} It did not come back within {self._limit:g} s.", code=error.code
            ) from error
        delay = min(self._backoff.wait(self._tries), left)
        self._tries += 1
        await self._wait(delay)

    def stop(self) -> None:
        """End the wait, if there is one."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def _wait(self, seconds: float) -> None:
        self._waiting = asyncio.ensure_future(self._backoff.sleep(seconds))
        try:
            await asyncio.wait([self._waiting])
        finally:
            self._waiting.cancel()
            self._waiting = None

    def _tell(self, change: ConnectionChange) -> None:
        if self._notify is not None:
            self._notify(change)


class Watchdog:
    """Calls `bark` when a block took `seconds`, unless the event loop itself was held up.

    It counts beats of the event loop, so that a loop that was busy elsewhere for minutes still has
    the time to take what came meanwhile. Its timer runs on from block to block, so that a block
    costs nothing, and does not keep it alive.
    """

    def __init__(self, seconds: float, bark: Callable[[], object]) -> None:
        self.barked = False
        self._beat = seconds / 4
        self._bark = bark
        self._beats = 0
        self._inside = self._armed = False

    def __enter__(self) -> Self:
        self._beats, self._inside = 0, True
        if not self._armed:
            self._arm()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inside = False

    def _arm(self) -> None:
        self._armed = True
        asyncio.get_running_loop().call_later(self._beat, _tick, weakref.ref(self))

    def _count(self) -> None:
        self._armed = False
        if not self._inside:
            return
        self._beats += 1
        if self._beats <= 4:  # the first may have come at once
            self._arm()
        else:
            self.barked = True
            self._bark()


def _tick(reference: weakref.ref[Watchdog]) -> None:
    watchdog = reference()
    if watchdog is not None:
        watchdog._count()
