"""A Sampler without a process: a task that takes the frames of a simulated source as they are due.

What a source computes when it is opened is kept, and shared by all devices with its settings.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable
from typing import Any

from ..adc import SETTINGS, AdcInfo, BlockAdc, make_adc
from ..clock import Clock
from ..config import SPEED_MAX, Config
from ..errors import ConfigError
from ..grid import Grid
from ..quality import QualityCounter
from ..sampler import SamplerState, SourceInfo
from ..samples import Block, Gap, SampleFormat, SessionQuality

# Real seconds of a block: where somebody waits for it, and where nobody does.
BLOCK_SECONDS = 0.1
UNWATCHED_SECONDS = 1.0
# Frames of a block where nothing is waited for.
_MAX_SPEED_FRAMES = 3600


class Sources:
    """The sources that the devices of one process share, by their settings."""

    def __init__(self) -> None:
        self._open: dict[tuple[Any, ...], tuple[BlockAdc, AdcInfo]] = {}
        self._opening = asyncio.Lock()

    async def open(self, config: Config) -> tuple[BlockAdc, AdcInfo]:
        """The source of a config, open.

        Raises:
            ConfigError: it is no simulated and no replayed one.
            SourceError: it cannot be used.
        """
        if not config.simulated or config.clock != "monotonic":
            raise ConfigError("a simulated device has a simulated or replayed source", key="adc")
        settings = {key: getattr(config, key) for key in SETTINGS}
        key = tuple(settings.values())
        async with self._opening:
            if key not in self._open:
                adc = make_adc(settings)
                assert isinstance(adc, BlockAdc)
                self._open[key] = adc, await asyncio.to_thread(adc.open)
            return self._open[key]


class TaskSampler:
    """A Sampler of a source whose frames are a function of their sequence.

    Args:
        config: the settings.
        clock: the device's clock.
        sources: has the source.
        watched: whether anybody waits for frames; where nobody does they come in longer blocks,
            which is most of what a device costs.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        sources: Sources,
        watched: Callable[[], bool] = lambda: True,
    ) -> None:
        self._config = config
        self._clock = clock
        self._sources = sources
        self._watched = watched
        self._adc: BlockAdc
        self._source: SourceInfo | None = None
        self._counter = QualityCounter(config.rate)
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False
        self.state = SamplerState.STARTING
        self.last_error = ""

    @property
    def source(self) -> SourceInfo:
        """What it samples; known once it is open."""
        assert self._source is not None, "the sampler is not open"
        return self._source

    @property
    def quality(self) -> SessionQuality:
        """How well it keeps its grid: perfectly, as nothing is read at an instant."""
        return self._counter.quality

    async def open(self) -> SourceInfo:
        """Get the source ready, as Sampler.open."""
        self._adc, info = await self._sources.open(self._config)
        self._source = SourceInfo(
            kind=info.kind,
            description=info.description,
            channels=tuple(
                dataclasses.replace(
                    self._config.channel(entry.name),
                    volts_per_count=entry.volts_per_count,
                    offset_volts=entry.offset_volts,
                )
                for entry in info.inputs
            ),
            rails=tuple((entry.rail_low, entry.rail_high) for entry in info.inputs),
            sample_format=SampleFormat[info.sample_format],
            speed=self._config.speed_factor,
        )
        return self._source

    async def tiles(self, session_id: int, grid: Grid) -> AsyncGenerator[list[Block | Gap], None]:
        """Sample until the source is over, as Sampler.tiles; a late block is only late."""
        sequence = 0
        self.state = SamplerState.RUNNING
        while True:
            frames = self._block_frames(grid.rate_hz)
            await self._wait_until(grid.time_ns(sequence + frames - 1))
            if self._closed:
                return
            counts = self._adc.read_many(sequence, frames)
            if not counts:
                self.state = SamplerState.ENDED
                return
            count = len(counts) // self.source.frame_size
            block = Block(session_id, sequence, count, counts)
            self._counter.tile(block)
            sequence = block.next_sequence
            yield [block]

    async def close(self) -> None:
        """Have `tiles` end. Safe to repeat."""
        self._closed = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _block_frames(self, rate_hz: float) -> int:
        speed = self._config.speed_factor
        if speed == SPEED_MAX:
            return _MAX_SPEED_FRAMES
        seconds = BLOCK_SECONDS if self._watched() else UNWATCHED_SECONDS
        return max(1, round(seconds * rate_hz * speed))

    async def _wait_until(self, time_ns: int) -> None:
        """Wait for a time of the device's clock, or for `close`."""
        speed = self._config.speed_factor
        if speed == SPEED_MAX:  # time is what the frames say
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        delay = (time_ns - self._clock.monotonic_ns()) / 1e9 / speed
        self._waiting = loop.create_future()
        timer = loop.call_later(max(0.0, delay), _set, self._waiting)
        if self._closed:
            _set(self._waiting)
        try:
            await self._waiting
        finally:
            timer.cancel()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
