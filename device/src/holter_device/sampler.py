"""The parent's end of the sampler: frames of the grid, each once, in order, whatever happens.

A sampler that dies or falls silent is started again; it joins the same grid at the next tick, and
the hole is a Gap.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import json
import logging
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from . import errors
from .adc import SETTINGS
from .children.sampler_frames import FATAL, HELLO, START
from .config import SPEED_MAX, Config
from .errors import DeviceError, SourceError
from .grid import GapCause, Grid
from .outage import Outage
from .process import Child, ChildEndedError
from .samples import Block, Channel, Gap, SampleFormat, SessionQuality
from .tiling import ProtocolError, Tiling

# Time for the child to import its libraries and to open the source: a record of a day, on a Pi.
OPEN_SECONDS = 60.0
# A sampler that writes nothing for this long, and for so many ticks, hangs.
SILENCE_SECONDS = 2.0
SILENCE_TICKS = 4
FIRST_BACKOFF_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 5.0
STOP_SECONDS = 0.5

_log = logging.getLogger(__name__)


class SamplerState(enum.IntEnum):
    """How the sampler does; the numbers are those of the wire."""

    STARTING = 1
    RUNNING = 2
    ENDED = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """Where the frames come from.

    Attributes:
        kind: "pcf8591", "ads1115", "simulate" or "replay".
        description: the source in words, e.g. "PCF8591 at 0x48 on /dev/i2c-1".
        channels: the channels of a frame, in the order of their counts.
        rails: for each channel the counts at or beyond which its signal is at a rail, (low, high).
        sample_format: how a count is written.
        speed: how much faster than real time its clock runs; 0 as fast as can be.
        oversampling: conversions that are averaged for one count.
        frame_read_ns: time that reading one frame takes; 0 where nothing is read.
        real_time_priority: whether the process runs under SCHED_FIFO.
        memory_locked: whether its memory is locked.
    """

    kind: str
    description: str
    channels: tuple[Channel, ...]
    rails: tuple[tuple[int, int], ...]
    sample_format: SampleFormat
    speed: float
    oversampling: int = 1
    frame_read_ns: int = 0
    real_time_priority: bool = False
    memory_locked: bool = False

    @property
    def frame_size(self) -> int:
        """Bytes of one frame."""
        return len(self.channels) * self.sample_format.dtype.itemsize


class Sampler(Protocol):
    """A source of frames on a grid. `open` it, take its `tiles` once, `close` it."""

    @property
    def source(self) -> SourceInfo:
        """What it samples; known once it is open."""

    @property
    def state(self) -> SamplerState:
        """How it does."""

    @property
    def last_error(self) -> str:
        """What ended it last, as a sentence; "" where nothing did."""

    @property
    def quality(self) -> SessionQuality:
        """How well it keeps its grid."""

    async def open(self) -> SourceInfo:
        """Get the source ready.

        Raises:
            SourceError: it cannot be used.
            ConfigError: it cannot do what the config asks.
        """

    def tiles(self, session_id: int, grid: Grid) -> AsyncGenerator[list[Block | Gap], None]:
        """Sample until the source is over: contiguous from sequence 0, every frame exactly once.

        Each list has one tile or more: what was there at once. Who takes them slowly slows down a
        source that has no time of its own; in real time the frames that are too many are Gaps.
        """

    async def close(self) -> None:
        """Let go of the source. Safe to repeat."""


def child_clock(config: Config, epoch_ns: int) -> str:
    """The clock of the sampler process, as `make_clock` knows it.

    Args:
        config: the settings.
        epoch_ns: where the device's clock is a ScaledClock, its epoch.
    """
    if config.clock != "monotonic" or config.speed_factor == 1:
        return config.clock
    if config.speed_factor == SPEED_MAX:
        return "max"
    return f"scaled:{config.speed_factor!r}:{epoch_ns}"


class ProcessSampler:
    """A Sampler in a process of its own: `holter_device.children.sampler`."""

    def __init__(self, config: Config, clock_text: str) -> None:
        self._config = config
        self._clock_text = clock_text
        self._child: Child | None = None
        self._closed = False
        self._source: SourceInfo | None = None
        self._state = SamplerState.STARTING
        self._last_error = ""
        self._tiling = Tiling(config.rate)
        self._outage = Outage(config)

    @property
    def source(self) -> SourceInfo:
        """What it samples; known once it is open."""
        assert self._source is not None, "the sampler is not open"
        return self._source

    @property
    def state(self) -> SamplerState:
        """How it does."""
        return self._state

    @property
    def last_error(self) -> str:
        """What ended it last, as a sentence; "" where nothing did."""
        return self._last_error

    @property
    def quality(self) -> SessionQuality:
        """How well it keeps its grid; lateness is told by the child once a second."""
        return self._tiling.counter.quality

    @property
    def pid(self) -> int | None:
        """Process id of the child; None where there is none."""
        return self._child.pid if self._child else None

    async def open(self) -> SourceInfo:
        """Start the child, and wait until its source is ready.

        Raises:
            SourceError: the source cannot be used.
            ConfigError: it cannot do what the config asks.
        """
        settings = {key: getattr(self._config, key) for key in SETTINGS}
        settings |= {"clock": self._clock_text, "retries": self._config.retries}
        if self._source is not None:  # a session keeps what `auto` chose for it
            settings["oversampling"] = str(self._source.oversampling)
        child = await Child.start(
            "sampler", json.dumps(settings), launcher=self._config.child_launcher
        )
        self._child = child
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                kind, payload = await child.receive()
            if kind == FATAL:
                raise _fatal(json.loads(payload))
            if kind != HELLO:
                raise SourceError(f"the sampler process began with a frame of kind {kind}")
        except TimeoutError:
            await self._end_child()
            text = f"the source was not ready after {OPEN_SECONDS:g} s"
            raise SourceError(text) from None
        except ChildEndedError as error:
            await self._end_child()
            raise SourceError(f"{error} before the source was ready; its log says why") from error
        except BaseException:
            await self._end_child()
            raise
        self._source = self._read_hello(json.loads(payload))
        return self._source

    async def tiles(self, session_id: int, grid: Grid) -> AsyncGenerator[list[Block | Gap], None]:
        """Sample until the source is over, as Sampler says."""
        assert self._child is not None, "the sampler is not open"
        first_sequence, hole = 0, GapCause.LATE
        backoff = FIRST_BACKOFF_SECONDS
        while self._state is not SamplerState.ENDED and not self._closed:
            try:
                await self._start(grid, first_sequence)
                async with contextlib.aclosing(self._run(session_id, grid, hole)) as lists:
                    async for tiles in lists:
                        backoff = FIRST_BACKOFF_SECONDS
                        yield tiles
            except (ChildEndedError, ProtocolError) as error:
                if self._closed:
                    return
                self._failed(error)
                backoff = await self._restart(backoff)
                if self._closed:  # before there was this child
                    await self._end_child()
                # A restart costs a frame at least, so that it can always be seen.
                first_sequence, hole = self._tiling.next_sequence + 1, GapCause.SAMPLER_RESTARTED

    async def close(self) -> None:
        """End the child; `tiles` ends too. Safe to repeat."""
        self._closed = True
        child, self._child = self._child, None
        if child is not None:
            await child.stop(STOP_SECONDS)

    async def _start(self, grid: Grid, first_sequence: int) -> None:
        assert self._child is not None
        start = {
            "start_ns": grid.start_ns,
            "rate_hz": grid.rate_hz,
            "first_sequence": first_sequence,
        }
        await self._child.send(START, json.dumps(start).encode())
        self._state = SamplerState.RUNNING

    async def _run(
        self, session_id: int, grid: Grid, hole: GapCause
    ) -> AsyncGenerator[list[Block | Gap], None]:
        """The tiles of one child; a hole before the first one has the cause `hole`."""
        child = self._child
        assert child is not None
        silence = self._silence_seconds(grid)
        while self._state is SamplerState.RUNNING:
            frames = await _receive(child, silence)
            tiles: list[Block | Gap] = []
            failure: ProtocolError | None = None
            try:
                tiles.extend(self._tiling.read(frames, session_id, self.source.frame_size, hole))
            except ProtocolError as error:
                failure = error
            if self._tiling.ended:
                self._state = SamplerState.ENDED
            if tiles:
                self._outage.look(tiles, self._tiling.last_errno)
                yield tiles
            if failure is not None:
                raise failure

    async def _restart(self, backoff: float) -> float:
        """Start children until one is ready. Returns the backoff to go on with."""
        while not self._closed:
            await self._end_child()
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
            was = self.source
            try:
                source = await self.open()
            except DeviceError as error:
                self._failed(error)
                continue
            if _same_frames(source, was):
                # What was measured anew differs a little; the session goes on with its channels.
                self._source = dataclasses.replace(source, channels=was.channels)
                break
            self._failed(SourceError(f"the source is another one now: {source.description}"))
            self._source = was
        self._tiling.counter.restart_count += 1
        return backoff

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.kill()

    def _failed(self, error: Exception) -> None:
        self._state = SamplerState.STARTING
        self._last_error = str(error)
        _log.warning("%s; starting the sampler again", error)

    def _silence_seconds(self, grid: Grid) -> float | None:
        """How long a child may write nothing; None where a test holds the clock."""
        if self._clock_text.startswith("lockstep:"):
            return None
        ticks = SILENCE_TICKS / grid.rate_hz
        return SILENCE_SECONDS + ticks / (self._config.speed_factor or 1)

    def _read_hello(self, hello: dict[str, Any]) -> SourceInfo:
        channels = tuple(
            dataclasses.replace(
                self._config.channel(entry["name"]),
                volts_per_count=entry["volts_per_count"],
                offset_volts=entry["offset_volts"],
                capture_offset_ns=entry["capture_offset_ns"],
            )
            for entry in hello["inputs"]
        )
        return SourceInfo(
            kind=hello["kind"],
            description=hello["description"],
            channels=channels,
            rails=tuple((entry["rail_low"], entry["rail_high"]) for entry in hello["inputs"]),
            sample_format=SampleFormat[hello["sample_format"]],
            speed=self._config.speed_factor,
            oversampling=hello["oversampling"],
            frame_read_ns=hello["frame_read_ns"],
            real_time_priority=hello["real_time_priority"],
            memory_locked=hello["memory_locked"],
        )


async def _receive(child: Child, silence: float | None) -> list[tuple[int, bytes]]:
    """The next frames of a child, which may write nothing for `silence` seconds.

    They are waited for by halves: where it was this process that was held up (stopped, or without
    memory), the first half is over at once, and the second finds what waits in the pipe.

    Raises:
        ProtocolError: it wrote nothing.
    """
    half = None if silence is None else silence / 2
    for _ in range(2):
        # Not wait_for: in Python 3.11 it loses a cancellation that comes with the data.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(half):
                return await child.receive_many()
    raise ProtocolError(f"the sampler wrote nothing for {silence:.3g} s")


def _same_frames(source: SourceInfo, was: SourceInfo) -> bool:
    """Whether frames mean what they did; when they are captured is measured anew each time."""
    channels = [
        [dataclasses.replace(channel, capture_offset_ns=0) for channel in each.channels]
        for each in (source, was)
    ]
    return channels[0] == channels[1] and source.sample_format == was.sample_format


def _fatal(fatal: dict[str, Any]) -> DeviceError:
    """The error that ended the child, raised again on this side."""
    kind = getattr(errors, fatal["error"], SourceError)
    error = SourceError(fatal["message"], **fatal["facts"])
    with contextlib.suppress(TypeError):
        error = kind(fatal["message"], **fatal["facts"])
    return error
