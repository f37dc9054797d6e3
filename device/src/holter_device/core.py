"""The device without its wire: clock, log, sampler, pipeline and deployer, and the frames' way.

sampler -> lead-off -> log
                    -> pipeline -> log
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from .classifier import ClassifierSettings
from .clock import Clock, FollowingClock, MonotonicClock, ScaledClock, boot_id
from .config import MIB, SPEED_MAX, Config
from .deploy import Deployer
from .errors import ModelNotFoundError
from .grid import Grid
from .leadoff import LeadOffLines, open_lines, parse_lines
from .leads import LeadOffDetector
from .log import EndReason, Log
from .parts import Parts
from .pipeline import Pipeline
from .probation import Rules
from .runtime import RuntimeInfo, RuntimeMissingError, installed_runtime
from .runtime.fit import DeviceFit
from .sampler import SourceInfo
from .samples import Classification, ModelChange, Session, UnclassifiableReason
from .signing import Trust
from .store import ModelState, ModelStore, StoredModel
from .windows import max_window_frames, window_ends

# From the choice of the grid to frame 0: in between the session is written down, which takes a card
# its time, and the server starts. What is late would be a gap in the session's first window.
START_DELAY_NS = 250_000_000
DRAIN_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Core:
    """One device. `open`, then `run` until it returns or `stop` is called, then `close`.

    Attributes:
        config: its settings.
        hostname: its name.
        clock: its clock.
        log: its log.
        sampler: where its frames come from.
        pipeline: what classifies them.
        deployer: what takes its models.
        runtime: what is to run them; None where none is installed, or before `open`.
        session: the running session, after `open`.
        trust: whose models it takes.
    """

    log: Log
    session: Session
    deployer: Deployer
    _store: ModelStore
    runtime: RuntimeInfo | None = None

    def __init__(self, config: Config, parts: Parts) -> None:
        self.config = config
        self.hostname = parts.hostname
        self._parts = parts
        epoch_ns = time.monotonic_ns()
        self.trust = Trust(config.trusted_keys)
        self.clock = device_clock(config, epoch_ns)
        self._paced = not isinstance(self.clock, MonotonicClock)
        self.sampler = parts.make_sampler(config, self.clock, epoch_ns)
        self._lines: LeadOffLines | None = None
        self.pipeline = Pipeline(self._emit, paced=self._paced)
        self.started_ns = time.monotonic_ns()
        self._stopping = asyncio.Event()
        self._finished = False
        self._feeding = asyncio.Lock()

    async def open(self) -> None:
        """Open the log, the source and the active model, and begin the session.

        Raises:
            ConfigError: the runtime that was chosen is not installed.
            DataDirectoryError: the data directory cannot be used, or another holterd holds it.
            LeadOffLinesError: the lead-off lines cannot be used.
            SourceError: the source does not answer.
        """
        config = self.config
        self.runtime = self._find_runtime()
        self.log = await self._parts.open_log(config, self.clock, real_time=not self._paced)
        try:
            source = await self.sampler.open()
            self._lines = open_lines(
                config.lead_off_chip,
                parse_lines(config.lead_off_lines),
                [channel.name for channel in source.channels],
            )
            await self._open_models(source)
            await self._recover()
            await self.deployer.restore()
            self.session = await self.log.begin_session(
                grid=Grid(self.clock.monotonic_ns() + START_DELAY_NS, config.rate),
                channels=source.channels,
                sample_format=source.sample_format,
                boot_id=boot_id(),
                utc=self.clock.utc(),
            )
        except BaseException:
            await self.close()
            raise
        self.pipeline.begin(self.session)
        _log.info("session %d: %s", self.session.session_id, source.description)

    async def run(self) -> None:
        """Take frames until the source is over or `stop` is called; then end the log's streams.

        A deploy that runs when `stop` is called is given up, if it has stored nothing yet.
        """
        reading = asyncio.create_task(self._read(), name="ingest")
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            stopping.cancel()
            await reading
            reason = EndReason.SOURCE_ENDED
            _log.info("the source is over after %d frames", self.pipeline.next_sequence)
        else:
            reason = EndReason.STOPPING
            await self.deployer.close()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                async with self._feeding:  # the frames that are logged have their windows
                    reading.cancel()
                await self.pipeline.drain()
        except TimeoutError:
            _log.warning("windows were still waiting for the model and are left to the next start")
        reading.cancel()
        await asyncio.wait({reading})
        self._finished = True
        self.log.finish(reason)

    def stop(self) -> None:
        """Have `run` return."""
        self._stopping.set()

    async def close(self) -> None:
        """End the children and write down everything, whichever of it fails."""
        async with contextlib.AsyncExitStack() as last_first:
            last_first.push_async_callback(self.log.close)
            last_first.push_async_callback(self.pipeline.close)
            if hasattr(self, "deployer"):
                last_first.push_async_callback(self.deployer.close)
            if self._lines is not None:
                last_first.callback(self._lines.close)
            last_first.push_async_callback(self.sampler.close)

    async def active_model(self) -> StoredModel | None:
        """The model that classifies, as the store knows it."""
        models = await self.deployer.models()
        return models[0] if models and models[0].state is ModelState.ACTIVE else None

    def _speed(self) -> float:
        """How much faster than real time frames come; 0 where the clock follows them."""
        if isinstance(self.clock, FollowingClock):
            return 0.0
        return self.config.speed_factor

    def _find_runtime(self) -> RuntimeInfo | None:
        """The runtime that is to be used, not imported; say early what a deploy would find late."""
        try:
            return installed_runtime(self.config.runtime)
        except RuntimeMissingError as error:
            if self.config.runtime != "auto":
                raise
            _log.warning("samples are served, but no model can be deployed: %s", error)
            return None

    async def _open_models(self, source: SourceInfo) -> None:
        config = self.config
        settings = ClassifierSettings(
            runtime=config.runtime,
            memory_bytes=round(config.model_memory_mib * MIB),
            model_timeout=config.model_timeout,
            launcher=config.child_launcher,
        )
        fit = DeviceFit(
            rate_hz=config.rate,
            channels=source.channels,
            sample_format=source.sample_format,
            max_window_frames=max_window_frames(config.rate),
            speed=self._speed(),
            memory_bytes=settings.memory_bytes,
        )
        self._store = await asyncio.to_thread(self._parts.open_store, config)
        self.deployer = Deployer(
            self._store,
            self.pipeline,
            lambda: self._parts.start_classifier(settings),
            fit,
            round(config.max_model_mib * MIB),
            Rules(0 if self._paced else config.probation_seconds, config.probation_windows),
            self.trust,
        )

    def _emit(self, items: Sequence[Classification | ModelChange]) -> None:
        """Log what the pipeline says, as long as the log's streams have no end.

        After it a model can still be deployed, for the next start; a window that comes too late has
        its class then, as RESTARTED.
        """
        if not self._finished:
            self.log.append(items)

    async def _read(self) -> None:
        detector = LeadOffDetector(self.session, self.sampler.source.rails, self._lines)
        async for tiles in self.sampler.tiles(self.session.session_id, self.session.grid):
            marked = detector.mark(tiles)
            if isinstance(self.clock, FollowingClock):
                self.clock.advance_to(self.session.grid.time_ns(marked[-1].next_sequence))
            for tile in marked:
                async with self._feeding:
                    self.log.append([tile])
                    await self.pipeline.feed([tile])
            if self._paced:
                await self.log.backpressure()

    async def _recover(self) -> None:
        """Write down the windows whose class was lost with the run before."""
        tail = await self.log.unfinished()
        if tail is None:
            return
        done = -1 if tail.last_window is None else tail.last_window
        ends = [change.swap_sequence for change in tail.changes[1:]] + [tail.next_sequence]
        lost: list[Classification] = []
        for change, end in zip(tail.changes, ends, strict=False):
            lost += await self._lost(change, max(change.swap_sequence, done + 1), end)
        if lost:
            _log.warning("%d windows were lost with the run before", len(lost))
            await self.log.append_finished(lost)

    async def _lost(self, change: ModelChange, first: int, end: int) -> list[Classification]:
        if not change.model_sha256:
            return []
        try:
            spec = (await asyncio.to_thread(self._store.get, change.model_sha256)).spec
        except ModelNotFoundError:
            return []
        return [
            Classification(
                session_id=change.session_id,
                first_sequence=last + 1 - spec.window,
                last_sequence=last,
                model_sha256=change.model_sha256,
                reason=UnclassifiableReason.RESTARTED,
            )
            for last in window_ends(spec.window, spec.hop, first, end)
        ]


def device_clock(config: Config, epoch_ns: int) -> Clock:
    """The clock of a device with these settings.

    Args:
        config: the settings.
        epoch_ns: when a clock that is no real one begins, by CLOCK_MONOTONIC.
    """
    if config.clock != "monotonic" or (config.simulated and config.speed_factor == SPEED_MAX):
        return FollowingClock(epoch_ns)
    if config.simulated and config.speed_factor != 1:
        return ScaledClock(config.speed_factor, epoch_ns)
    return MonotonicClock()
