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

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

import grpc
import grpc.aio

from holter_host import _convert, types
from holter_host._errors import GRPC_ERRORS, exception
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
        self._start = start if isinstance(start, types.LogPosition) else None
        self._sequence: int | None = None  # of self.session, where the next event begins
        self._closed = False
        self.session: types.Session | None = None
        self.heartbeat: types.Heartbeat | None = None
        self.end: types.StreamEnd | None = None

    @property
    def position(self) -> types.LogPosition | None:
        """Where a stream has to start to go on after the newest event; None while it is unknown."""
        if self.session is None or self._sequence is None:
            return self._start
        return types.LogPosition(self.session.session_id, self._sequence, self.session.log_id)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventT:
        """The next event.

        Raises:
            DeviceUnreachableError: nothing answers, the stream broke, or its connection was closed.
            NotFoundError: the device has no such session, or another log.
            InvalidRequestError: the start is past the end of the running session.
            ProtocolError: the device sent what this version cannot read.
        """
        try:
            while not self._closed:
                if self._call is None:
                    self._call = self._start_call()
                message = await self._call.read()
                if message is grpc.aio.EOF:
                    await self._check_status()
                    break
                event = self._take(message)
                if event is not _SKIP:
                    return event  # type: ignore[no-any-return]
        except GRPC_ERRORS as error:
            answered = self.session is not None
            raise exception(error, self._address, answered=answered) from error
        except asyncio.CancelledError:
            self._check_cancelled()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the stream. It yields nothing more."""
        self._closed = True
        self.cut()

    def cut(self) -> None:
        """End the call, not the iteration: whoever waits for an event gets an error."""
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

    def _check_cancelled(self) -> None:
        """Tell the end of this task from the end of the call, which gRPC reports alike."""
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        if not self._closed:
            raise DeviceUnreachableError(
                f"The connection to {self._address} was closed while it streamed."
            ) from None

    def _take(self, message: Any) -> Any:
        """The event in a message, or _SKIP where it is not for the user."""
        kind = message.WhichOneof("event")
        convert = self._converters.get(kind)
        if convert is not None:
            if self.session is None:
                raise ProtocolError(f"{self._address} sent a {kind} before any session_started.")
            return convert(self, message)
        if kind == "heartbeat":
            self.heartbeat = _convert.heartbeat(message.heartbeat)
            self._sequence = self.heartbeat.next_sequence
        elif kind == "session_started":
            return self._begin(message.session_started)
        elif kind == "end":
            self.end = _convert.stream_end(message.end)
            self._sequence = self.end.next_sequence
            self._closed = True
        return _SKIP  # also for a kind of event that a newer device has

    def _begin(self, message: Any) -> types.SessionStarted:
        started = _convert.session_started(message)
        if self.session is not None:
            self._sequence = 0
        elif self._start is not None and self._start.session_id == started.session.session_id:
            self._sequence = self._start.sequence
        elif self._start is not None:  # nothing was left in the session that was asked for
            self._sequence = 0
        self.session = started.session
        return started

    def _gap(self, message: Any) -> types.Gap:
        gap = _convert.gap(message.gap)
        self._sequence = gap.next_sequence
        return gap

    _converters: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = {}


class SampleStream(EventStream[SampleEvent]):
    """Every frame of the grid once, in order: SessionStarted, then SampleBlock and Gap."""

    def _block(self, message: Any) -> types.SampleBlock:
        assert self.session is not None
        block = _convert.sample_block(message.sample_block, self.session)
        self._sequence = block.first_sequence + len(block.counts)
        return block

    _converters = {"sample_block": _block, "gap": EventStream._gap}  # noqa: RUF012


class ClassificationStream(EventStream[ClassificationEvent]):
    """One Classification a window, in order, between SessionStarted, ModelChanged and Gap."""

    def _classification(self, message: Any) -> types.Classification:
        classification = _convert.classification(message.classification)
        self._sequence = classification.last_sequence + 1
        return classification

    def _model_changed(self, message: Any) -> types.ModelChanged:
        return _convert.model_changed(message.model_changed)

    _converters = {  # noqa: RUF012
        "classification": _classification,
        "model_changed": _model_changed,
        "gap": EventStream._gap,
    }
