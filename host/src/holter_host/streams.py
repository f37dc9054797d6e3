"""Streams: asynchronous iterators over what a device sends, which know how far they came.

    async for event in device.samples():
        match event:
            case SampleBlock(): ...
            case Gap(): ...

A stream goes on by itself where its connection breaks, where holterd is started again, and where
the link goes dead without a word: it connects again and resumes exactly where it was. Each frame,
window and session comes once, in order. It ends when the source has no more frames; `end` says so.
"""

from __future__ import annotations

from typing import Any

from holter_host import _convert, types
from holter_host._event_stream import SKIP, EventStream
from holter_host.errors import ProtocolError

__all__ = [
    "ClassificationEvent",
    "ClassificationStream",
    "EventStream",
    "SampleEvent",
    "SampleStream",
]

SampleEvent = types.SessionStarted | types.SampleBlock | types.Gap
ClassificationEvent = types.SessionStarted | types.ModelChanged | types.Classification | types.Gap


class SampleStream(EventStream[SampleEvent]):
    """Every frame of the grid once, in order: SessionStarted, then SampleBlock and Gap."""

    def _block(self, message: Any) -> types.SampleBlock:
        assert self.session is not None
        block = _convert.sample_block(message.sample_block, self.session)
        self._check(block.first_sequence)
        self._sequence = block.next_sequence
        return block

    def _gap(self, message: Any) -> types.Gap:
        self._check(message.gap.first_sequence)
        return super()._gap(message)

    def _reach(self, session_id: int, next_sequence: int) -> None:
        if self.session is not None and session_id == self.session.session_id:
            self._check(next_sequence)
        super()._reach(session_id, next_sequence)

    def _leave(self, started: types.SessionStarted) -> None:
        # A power cut may have taken frames that were sent, so the session may end before here.
        if self.session is not None and started.previous_session_id == self.session.session_id:
            self._check(max(self._sequence or 0, started.previous_next_sequence))

    def _check(self, sequence: int) -> None:
        """Refuse a frame twice, and a hole that no gap tells."""
        if self._sequence not in (None, sequence):
            raise ProtocolError(
                f"{self._source.address} is at frame {sequence} where frame {self._sequence} was "
                "next."
            )

    _converters = {"sample_block": _block, "gap": _gap}  # noqa: RUF012
    _first = {  # noqa: RUF012
        "sample_block": lambda message: message.sample_block.first_sequence,
        "gap": lambda message: message.gap.first_sequence,
    }


class ClassificationStream(EventStream[ClassificationEvent]):
    """One Classification a window, in order, between SessionStarted, ModelChanged and Gap."""

    _told: tuple[types.ModelChanged, ...] = ()
    _repeated: tuple[types.ModelChanged, ...] = ()

    def _enter(self) -> None:
        self._told = self._repeated = ()

    def _resume(self) -> None:
        # A device begins with the change in force, and tells again those that are to come.
        place = self._sequence or 0
        in_force = [change for change in self._told if change.swap_sequence <= place]
        to_come = [change for change in self._told if change.swap_sequence > place]
        self._repeated = (*in_force[-1:], *to_come)

    def _classification(self, message: Any) -> types.Classification:
        classification = _convert.classification(message.classification)
        self._sequence = classification.last_sequence + 1
        return classification

    def _model_changed(self, message: Any) -> Any:
        change = _convert.model_changed(message.model_changed)
        if change in self._repeated:
            self._repeated = tuple(again for again in self._repeated if again != change)
            return SKIP
        self._told += (change,)
        return change

    _converters = {  # noqa: RUF012
        "classification": _classification,
        "model_changed": _model_changed,
        "gap": EventStream._gap,
    }
    _first = {  # noqa: RUF012
        "classification": lambda message: message.classification.last_sequence,
        "gap": lambda message: message.gap.first_sequence,
    }
