"""What every stream does: it reads, breaks, resumes, and knows how far it came."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

import grpc
import grpc.aio

from holter_host import _convert, types
from holter_host._errors import GRPC_ERRORS, exception
from holter_host._link import Link
from holter_host._reconnect import Reconnection, Watchdog
from holter_host.enums import StreamEndReason
from holter_host.errors import DeviceError, DeviceUnreachableError, NotFoundError, ProtocolError

EventT = TypeVar("EventT")

_Call = grpc.aio.UnaryStreamCall[Any, Any]
SKIP: Final = object()


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where a stream gets its calls from.

    Attributes:
        link: the link to the device.
        address: where that is, for people.
        open_call: begins a call on a channel, at a start.
        silence: seconds after which a call that gives nothing, not even a heartbeat, is dead.
    """

    link: Link
    address: str
    open_call: Callable[[grpc.aio.Channel, Any], _Call]
    silence: float


class EventStream(Generic[EventT]):
    """An asynchronous iterator of events, and a context manager that ends the call.

    The call begins with the first event that is asked for. Leaving `async with`, or `aclose`, ends
    it, in the middle of a wait too; without either it ends when the stream is garbage or the
    device's connection closes. An event that was asked for and cancelled is not lost.

    A stream that was started live, or at a time, has its place from its first event on: up to
    there a break means to start live again, after it to resume.

    Attributes:
        session: the session of the newest event; None before the first.
        heartbeat: the newest heartbeat; None before the first.
        end: how the device ended the stream; None while it did not.
    """

    def __init__(self, source: Source, start: _convert.Start, reconnection: Reconnection) -> None:
        self._source = source
        self._start = start
        self._reconnection = reconnection
        self._call: _Call | None = None
        self._channel: grpc.aio.Channel | None = None
        self._watchdog: Watchdog | None = None
        # Events wait here until it is known where the stream is: for the first frame or heartbeat.
        self._events: collections.deque[EventT] = collections.deque()
        self._pending: Any = None  # the message that told it, to be taken after them
        self._sequence: int | None = None  # of self.session, where the next event begins
        self._closed = False
        self._cut = False
        self.session: types.Session | None = None
        self.heartbeat: types.Heartbeat | None = None
        self.end: types.StreamEnd | None = None

    @property
    def position(self) -> types.LogPosition | None:
        """Where a stream has to start to go on after the newest event.

        None before the first event of a stream that did not start at a LogPosition.
        """
        if self.session is None or self._sequence is None:
            return self._start if isinstance(self._start, types.LogPosition) else None
        return types.LogPosition(self.session.session_id, self._sequence, self.session.log_id)

    @property
    def connected(self) -> bool:
        """Whether the device has answered, and the connection is not known to be broken."""
        return self._reconnection.connected

    @property
    def reconnect_count(self) -> int:
        """How often the stream got its connection back."""
        return self._reconnection.count

    @property
    def last_error(self) -> DeviceError | None:
        """Why the connection was lost last; None where it never was."""
        return self._reconnection.error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventT:
        """The next event.

        Raises:
            DeviceUnreachableError: the connection broke and was not to be tried again, or did not
                come back in time; or the device was closed here.
            NotFoundError: the device has no such session, or another log.
            InvalidRequestError: the start is past the end of the running session.
            ProtocolError: the device sent what this version cannot read.
        """
        while True:
            if self._events and (self._sequence is not None or self._closed):
                self._reconnection.progressed()
                return self._events.popleft()
            if self._closed:
                raise StopAsyncIteration
            message, self._pending = self._pending, None
            try:
                self._take(message if message is not None else await self._read())
            except DeviceError as error:
                await self._recover(error)

    async def aclose(self) -> None:
        """End the stream. It yields nothing more."""
        self._closed = True
        self._events.clear()
        self._hang_up()

    def cut(self) -> None:
        """End the call, not the iteration: whoever waits for an event gets an error."""
        self._cut = True
        self._hang_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _read(self) -> Any:
        """The next message of the call, which is begun where there is none.

        Raises:
            DeviceError: the call ended, in whichever way.
        """
        call, watchdog = self._calling()
        before = _cancel_requests()
        try:
            with watchdog:
                message = await call.read()
            if message is not grpc.aio.EOF:
                return message
            code = await call.code()
        except GRPC_ERRORS as error:
            answered = self._reconnection.connected
            raise exception(error, self._source.address, answered=answered) from error
        except asyncio.CancelledError:
            # The end of this task and the end of the call are told alike. A task may have been
            # cancelled before, and have gone on.
            ours = watchdog.barked or self._closed or self._cut
            if _cancel_requests() > (before if ours else 0):
                self._let_go()  # gRPC ended the call with the read; the next read resumes
                raise
            raise self._why_cancelled(watchdog) from None
        # Only `end` ends a stream: without one, something between here and there cut it.
        raise DeviceUnreachableError(
            f"The stream from {self._source.address} broke off; the device did not end it.",
            code=code.name,
        )

    def _calling(self) -> tuple[_Call, Watchdog]:
        if self._call is None or self._watchdog is None:
            self._channel = self._source.link.channel
            start = _convert.stream_start(self.position or self._start)
            self._call = self._source.open_call(self._channel, start)
            self._watchdog = Watchdog(self._source.silence, self._call.cancel)
        return self._call, self._watchdog

    def _why_cancelled(self, watchdog: Watchdog) -> DeviceUnreachableError:
        address = self._source.address
        if watchdog.barked:
            return DeviceUnreachableError(
                f"Nothing came from {address} for {self._source.silence:g} s, not even a "
                "heartbeat; is the link cut?",
                code="UNAVAILABLE",
            )
        return DeviceUnreachableError(
            f"The connection to {address} was closed while it streamed.", code="CANCELLED"
        )

    async def _recover(self, error: DeviceError) -> None:
        """Wait for the time of the next try.

        Raises:
            DeviceError: there is none.
        """
        broken = self._channel
        self._let_go()
        if self._closed:
            return
        try:
            if self._cut:
                raise error
            if error.reason == "LOG_NOT_FOUND" and self.session is not None:
                raise self._other_log(error.metadata.get("log_id", "")) from error
            if broken is not None:
                self._source.link.renew(broken)
            await self._reconnection.broke(error)
        except DeviceError:
            self._closed = True
            raise
        if self._cut:
            self._closed = True
            raise DeviceUnreachableError(
                f"The connection to {self._source.address} was closed while it was lost."
            )

    def _let_go(self) -> None:
        """Forget the call, and what it gave if none of it has reached the user."""
        self._call = self._channel = None
        if self._sequence is None:
            self._events.clear()
            self.session = None

    def _hang_up(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._reconnection.stop()

    def _take(self, message: Any) -> None:
        """Keep the event in a message, where it is for the user."""
        self._reconnection.came()
        kind = message.WhichOneof("event")
        convert = self._converters.get(kind)
        if convert is not None:
            if self.session is None:
                raise ProtocolError(
                    f"{self._source.address} sent a {kind} before any session_started."
                )
            if self._sequence is None and kind in self._first:
                self._sequence = self._first[kind](message)
                self._pending = message
                return
            event = convert(self, message)
            if event is not SKIP:
                self._events.append(event)
        elif kind == "heartbeat":
            self._beat(_convert.heartbeat(message.heartbeat))
        elif kind == "session_started":
            self._begin(_convert.session_started(message.session_started))
        elif kind == "end":
            self._end(_convert.stream_end(message.end))
        # Else it is a kind of event that a newer device has.

    def _begin(self, started: types.SessionStarted) -> None:
        old, new = self.session, started.session
        if old is not None and old.log_id != new.log_id:
            raise self._other_log(new.log_id)
        if old is not None and old.session_id == new.session_id:
            self._resume()
            return
        self._leave(started)
        self.session = new
        if old is not None:
            self._sequence = 0
        elif isinstance(self._start, types.LogPosition):
            inside = self._start.session_id == new.session_id
            self._sequence = max(0, self._start.sequence) if inside else 0
        self._enter()
        self._events.append(started)  # type: ignore[arg-type]

    def _leave(self, started: types.SessionStarted) -> None:
        """Be done with a session, if there is one, as `started` is the next."""

    def _enter(self) -> None:
        """Begin with a session."""

    def _resume(self) -> None:
        """Go on in the session in which a call broke."""

    def _beat(self, heartbeat: types.Heartbeat) -> None:
        self.heartbeat = heartbeat
        self._reach(heartbeat.session_id, heartbeat.next_sequence)

    def _reach(self, session_id: int, next_sequence: int) -> None:
        """Note that everything before a place has come."""
        if self.session is not None and session_id == self.session.session_id:
            self._sequence = next_sequence

    def _end(self, end: types.StreamEnd) -> None:
        self._reach(end.session_id, end.next_sequence)
        if end.reason == StreamEndReason.STOPPING and self._reconnection.enabled:
            raise DeviceUnreachableError(
                f"The device at {self._source.address} is stopping.", code="UNAVAILABLE"
            )
        self.end = end
        self._closed = True

    def _other_log(self, log_id: str) -> NotFoundError:
        assert self.session is not None
        return NotFoundError(
            f"The device at {self._source.address} has another log now ({log_id}) than this "
            f"stream was reading ({self.session.log_id}): its data directory was made anew, or "
            "another device answers there. Start a new stream.",
            reason="LOG_NOT_FOUND",
            metadata={"log_id": log_id, "wanted": self.session.log_id},
        )

    def _gap(self, message: Any) -> types.Gap:
        gap = _convert.gap(message.gap)
        self._sequence = gap.next_sequence
        return gap

    # By kind of event: what converts it, and what tells where it begins.
    _converters: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = {}
    _first: ClassVar[Mapping[str, Callable[[Any], int]]] = {}


def _cancel_requests() -> int:
    """How often the current task was cancelled."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0
