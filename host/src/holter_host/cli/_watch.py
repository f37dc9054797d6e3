"""The verb watch: streams as lines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Final

import click

from holter_host import (
    Classification,
    Gap,
    RecordingState,
    SampleBlock,
    SessionStarted,
    connect,
)
from holter_host.cli._common import (
    NOTHING,
    device_option,
    emit,
    emit_json,
    json_option,
    note,
    note_json,
    run_async,
    within,
)
from holter_host.cli._output import Event, event_json, event_line
from holter_host.cli._streaming import ConnectionNotes, watch_options

ALARM_SECONDS: Final = 0.5


@click.command
@watch_options
@device_option
@json_option("Print one JSON object a line, its kind as the only key.")
def watch(
    samples: bool,
    classifications: bool,
    start: Any,
    seconds: float | None,
    count: int | None,
    no_reconnect: bool,
    address: str,
    as_json: bool,
) -> int:
    """Print what a device streams, until it ends, --seconds or --count is reached, or Ctrl-C.

    With --json each line is one of session_started, sample_block, gap, model_changed,
    classification and end, with the fields of holter.v1. The counts of a sample_block are one flat
    list of whole numbers, frame by frame and in each frame channel by channel: frame_count times
    channel_count of them. With both flags the two streams are merged, each in its own order.

    Without --json, times are of this computer's time zone. A line of a classification is the time
    of the window's last frame, the class, its score and the window; a line of samples is the time
    of the first frame, the frames, each channel's least and greatest count, and which channel's
    electrode was off and why.

    A connection that is lost is tried again until it is back, and nothing that the device keeps is
    missed; stderr tells of it, and of a device that stops recording.

    Exit code 5 says that nothing came: no block, no gap, no classification.

    \b
    Example:
      holter watch
      holter watch --samples --json --seconds 10 | jq .sample_block.first_sequence
    """
    show = _Printer(count, as_json)

    async def work() -> None:
        async with connect(address) as device:
            options: dict[str, Any] = {
                "reconnect": 0 if no_reconnect else None,
                "on_connection": ConnectionNotes(as_json),
            }
            streams: list[Any] = [device.samples(start, **options)] if samples else []
            if classifications or not samples:
                streams.append(device.classifications(start, **options))
            alarms = asyncio.create_task(_tell_alarms(streams, as_json))
            try:
                await _watch(streams, show)
            finally:
                alarms.cancel()

    run_async(within(seconds, work))
    return 0 if show.shown else NOTHING


class _Printer:
    """Prints events, counts them, and says when it is enough."""

    def __init__(self, count: int | None, as_json: bool) -> None:
        self.shown = 0
        self._left = count
        self._as_json = as_json
        self._sessions: dict[int, Any] = {}

    def __call__(self, event: Event) -> bool:
        """Print an event; tell whether that was the last that is wanted."""
        if isinstance(event, SessionStarted):
            if event.session.session_id in self._sessions:
                return False  # the other of two streams has said it
            self._sessions[event.session.session_id] = event.session
        if self._as_json:
            emit_json(event_json(event))
        else:
            emit(event_line(event, self._sessions.get(getattr(event, "session_id", 0))))
        self.shown += isinstance(event, SampleBlock | Classification | Gap)
        if self._left is not None and isinstance(event, SampleBlock | Classification):
            self._left -= 1
        return self._left == 0


async def _tell_alarms(streams: list[Any], as_json: bool) -> None:
    """Say on stderr that the device stopped recording, and that it records again."""
    told = RecordingState.RECORDING
    while True:
        await asyncio.sleep(ALARM_SECONDS)
        beats = [stream.heartbeat for stream in streams if stream.heartbeat is not None]
        # Two streams may know it a moment apart; who has seen more frames knows the newer.
        newest = max(
            beats, key=lambda beat: (beat.session_id, beat.quality.received_count), default=None
        )
        state = newest.recording_state if newest is not None else told
        if state is told or state not in (RecordingState.STOPPED, RecordingState.RECORDING):
            continue
        told = state
        if as_json:
            note_json({"recording": {"state": state.value}})
        elif state is RecordingState.STOPPED:
            note("ALARM: the device's disk takes no frames; they are streamed, not recorded")
        else:
            note("the device records again")


async def _watch(streams: list[Any], show: Callable[[Event], bool]) -> None:
    try:
        async with contextlib.aclosing(_merged([_with_end(s) for s in streams])) as events:
            async for event in events:
                if show(event):
                    return
    finally:
        for stream in streams:
            await stream.aclose()


async def _with_end(stream: Any) -> AsyncIterator[Event]:
    """The events of a stream and, as the last one, its end."""
    async for event in stream:
        yield event
    if stream.end is not None:
        yield stream.end


async def _merged(streams: list[AsyncIterator[Event]]) -> AsyncGenerator[Event, None]:
    """The events of several streams as they come, each stream in its own order."""
    waiting = {asyncio.ensure_future(anext(stream)): stream for stream in streams}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                stream = waiting.pop(task)
                try:
                    event = task.result()
                except StopAsyncIteration:
                    continue
                waiting[asyncio.ensure_future(anext(stream))] = stream
                yield event
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
