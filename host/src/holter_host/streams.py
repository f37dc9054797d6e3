"""Streams: asynchronous iterators over what a device sends, which know how far they came.

    async for event in device.samples():
        match event:
            case SampleBlock(): ...
            case Gap(): ...

A stream ends when the device ends it, and then `end` says why and where to go on. A stream that
breaks raises DeviceUnreachableError; `position` is where the next one has to start in order to miss
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import grpc
import grpc.aio

from holter_host import _convert, types
from holter_host._errors import translated
from holter_host.errors import DeviceUnreachableError, ProtocolError

SampleEvent = types.SessionStarted | types.SampleBlock | types.Gap
ClassificationEvent = types.SessionStarted | types.ModelChanged | types.Classification | types.Gap
EventT = TypeVar("EventT")

_Call = grpc.aio.UnaryStreamCall[Any, Any]
_SKIP: Final = object()


class EventStream(Generic[EventT]):
    """An asynchronous iterator of events, and a context manager that ends the call.

    The call begins with the first event that is asked for. Leaving `async with`, or `aclose`, ends
    it; without either it ends when the stream is garbage or the device's connection closes.

    Attributes:
        session: the session of the newest event; None before the first.
        heartbeat: the newest heartbeat; None before the first.
        end: how the device ended the stream; None while it did not.
    """

    def __init__(
        self, start_call: Callable[[], _Call], address: str, start: _convert.Start
    ) -> None:
        self._start_call = start_call
        self._address = address
        self._call: _Call | None = None
        self._position = start if isinstance(start, types.LogPosition) else None
        self._closed = False
        self.session: types.Session | None = None
        self.heartbeat: types.Heartbeat | None = None
        self.end: types.StreamEnd | None = None

    @property
    def position(self) -> types.LogPosition | None:
        """Where a stream has to start to go on after the newest event; None while it is unknown."""
        return self._position

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventT:
        """The next event.

        Raises:
            DeviceUnreachableError: nothing answers, or the stream broke.
            NotFoundError: the device has no such session, or another log.
            InvalidRequestError: the start is past the end of the running session.
            ProtocolError: the device sent what this version cannot read.
        """
        while not self._closed:
            with translated(self._address):
                if self._call is None:
                    self._call = self._start_call()
                message = await self._call.read()
                if message is grpc.aio.EOF:
                    await self._check_status()
                    break
            event = self._take(message)
            if event is not _SKIP:
                return event  # type: ignore[no-any-return]
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the stream. It yields nothing more."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _check_status(self) -> None:
        """Only `end` ends a stream: without one, something between here and there cut it."""
        if self._closed or self._call is None:
            return
        code = await self._call.code()
        raise DeviceUnreachableError(
            f"The stream from {self._address} broke off; the device did not end it.",
            code=code.name,
        )

    def _take(self, message: Any) -> Any:
        """The event in a message, or _SKIP where it is not for the user."""
        kind = message.WhichOneof("event")
        match kind:
            case "heartbeat":
                self.heartbeat = _convert.heartbeat(message.heartbeat)
                self._move(message.heartbeat.next_sequence)
                return _SKIP
            case "session_started":
                return self._begin(message.session_started)
            case "end":
                self.end = _convert.stream_end(message.end)
                self._move(message.end.next_sequence)
                self._closed = True
                return _SKIP
            case None:  # a kind of event that a newer device has
                return _SKIP
        if self.session is None:
            raise ProtocolError(f"{self._address} sent a {kind} before any session_started.")
        return self._event(kind, message)

    def _begin(self, message: Any) -> types.SessionStarted:
        started = _convert.session_started(message)
        known = self._position is None or self._position.session_id == started.session.session_id
        first = self.session is None
        self.session = started.session
        if not (first and known):  # the position is in an older session, and nothing is left there
            self._move(0)
        return started

    def _move(self, sequence: int) -> None:
        if self.session is not None:
            self._position = types.LogPosition(
                self.session.session_id, sequence, self.session.log_id
            )

    def _event(self, kind: str, message: Any) -> Any:
        raise NotImplementedError


class SampleStream(EventStream[SampleEvent]):
    """Every frame of the grid once, in order: SessionStarted, then SampleBlock and Gap."""

    def _event(self, kind: str, message: Any) -> SampleEvent | object:
        assert self.session is not None
        event: types.SampleBlock | types.Gap
        if kind == "sample_block":
            event = _convert.sample_block(message.sample_block, self.session)
        elif kind == "gap":
            event = _convert.gap(message.gap)
        else:
            return _SKIP
        self._move(event.next_sequence)
        return event


class ClassificationStream(EventStream[ClassificationEvent]):
    """One Classification a window, in order, between SessionStarted, ModelChanged and Gap."""

    def _event(self, kind: str, message: Any) -> ClassificationEvent | object:
        if kind == "classification":
            classification = _convert.classification(message.classification)
            self._move(classification.last_sequence + 1)
            return classification
        if kind == "gap":
            gap = _convert.gap(message.gap)
            self._move(gap.next_sequence)
            return gap
        if kind == "model_changed":
            return _convert.model_changed(message.model_changed)
        return _SKIP
