"""The client for scripts and notebooks: the same calls, without async.

with holter_host.connect_sync("127.0.0.1:50051") as device:
    for event in device.samples(seconds=10):
        print(event)
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy.typing as npt

from holter_host import types
from holter_host._convert import Start
from holter_host.bundle import Bundle
from holter_host.capture import Capture, Progress
from holter_host.client import CALL_SECONDS, DEPLOY_SECONDS, Device, connect
from holter_host.status import DeployResult, DeviceStatus, StoredModel
from holter_host.streams import ClassificationEvent, EventStream, SampleEvent

T = TypeVar("T")


def connect_sync(address: str, *, timeout: float = CALL_SECONDS) -> SyncDevice:
    """A connection to the device at `address`, to be opened by `with`; see `connect`.

    Raises:
        BadInputError: that is no address.
    """
    return SyncDevice(connect(address, timeout=timeout))


class SyncDevice:
    """A Device whose calls block. It works in a notebook too: its event loop has its own thread.

    Each call does and raises what the one of the same name of `Device` does.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="holter-host", daemon=True
        )
        self._thread.start()
        try:
            self._run(self._device.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._run(self._device.close())
        finally:
            self._stop()

    @property
    def address(self) -> str:
        """Where the device is."""
        return self._device.address

    def status(self) -> DeviceStatus:
        """What the device is and how it does, now."""
        return self._run(self._device.status())

    def samples(
        self,
        start: Start = "live",
        *,
        seconds: float | None = None,
        max_latency: float | None = None,
    ) -> Generator[SampleEvent, None, None]:
        """Frames from `start` on, as `Device.samples` gives them.

        With `seconds` it ends with the first event that goes so far, by the device's clock, from
        the first frame that came of its session.
        """
        limit = 0
        for event in self._events(self._device.samples(start, max_latency=max_latency)):
            yield event
            if seconds is None:
                continue
            if isinstance(event, types.SessionStarted):
                span = round(seconds * event.session.rate_hz)
                limit = 0
                continue
            limit = limit or event.first_sequence + span
            if event.next_sequence >= limit:
                return

    def classifications(self, start: Start = "live") -> Generator[ClassificationEvent, None, None]:
        """Windows from `start` on, as `Device.classifications` gives them."""
        yield from self._events(self._device.classifications(start))

    def capture(
        self, seconds: float = 10.0, start: Start = "live", *, progress: Progress | None = None
    ) -> Capture:
        """The next `seconds` of the device's grid as arrays, gaps masked."""
        return self._run(self._device.capture(seconds, start, progress=progress))

    def classify(self, window: npt.ArrayLike | Capture) -> types.Classification:
        """Ask the active model for one window."""
        return self._run(self._device.classify(window))

    def models(self) -> tuple[StoredModel, ...]:
        """The models that the device holds, the active one first."""
        return self._run(self._device.models())

    def deploy(
        self,
        model: str | os.PathLike[str] | bytes | Bundle,
        *,
        validate_only: bool = False,
        timeout: float = DEPLOY_SECONDS,
    ) -> DeployResult:
        """Send a model; the device judges it and, if it passes, swaps it in."""
        return self._run(self._device.deploy(model, validate_only=validate_only, timeout=timeout))

    def activate(self, sha256: str, *, timeout: float = DEPLOY_SECONDS) -> DeployResult:
        """Make a stored model the active one."""
        return self._run(self._device.activate(sha256, timeout=timeout))

    def _events(self, stream: EventStream[T]) -> Generator[T, None, None]:
        try:
            while True:
                try:
                    event = self._run(stream.__anext__())
                except StopAsyncIteration:
                    return
                yield event
        finally:
            if self._loop is not None:  # else the stream went with its connection
                self._run(stream.aclose())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop's thread and wait; an interrupt here ends it there."""
        if self._loop is None:
            work.close()
            raise RuntimeError("The connection is not open; use: with connect_sync(...) as device")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _stop(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
