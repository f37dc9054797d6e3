"""The client for scripts and notebooks: the same calls, without async.

with holter_host.connect_sync("127.0.0.1:50051") as device:
    for event in device.samples(seconds=10):
        print(event)
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Self

import numpy.typing as npt

from holter.signature import ModelSignature
from holter_host import _background, types
from holter_host._assembly import Progress, Span
from holter_host._connection import CALL_SECONDS
from holter_host._convert import Start
from holter_host._model_calls import DEPLOY_SECONDS
from holter_host._reconnect import SILENCE_SECONDS, OnConnection
from holter_host.bundle import Bundle
from holter_host.capture import Capture
from holter_host.client import Device, connect
from holter_host.clock import ClockOffset
from holter_host.status import DeployResult, DeviceStatus, Probation, StoredModel
from holter_host.streams import ClassificationEvent, SampleEvent


def connect_sync(
    address: str, *, timeout: float = CALL_SECONDS, silence: float = SILENCE_SECONDS
) -> SyncDevice:
    """A connection to the device at `address`, to be opened by `with`; see `connect`.

    Raises:
        BadInputError: that is no address.
    """
    return SyncDevice(connect(address, timeout=timeout, silence=silence))


class SyncDevice:
    """A Device whose calls block. It works in a notebook too: its event loop has its own thread.

    Each call does and raises what the one of the same name of `Device` does, and may be made in any
    thread but that one. `on_connection`, `on_window` and `progress` are called there, so they
    cannot make calls. Leaving `with` ends the calls of other threads by DeviceUnreachableError.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._runner = _background.Runner(device.address)

    def __enter__(self) -> Self:
        self._runner.start()
        try:
            self._runner.run(self._device.__aenter__())
        except BaseException:
            self._runner.stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._runner.run(self._device.close())
        finally:
            self._runner.stop()

    @property
    def address(self) -> str:
        """Where the device is."""
        return self._device.address

    def status(self) -> DeviceStatus:
        """What the device is and how it does, now."""
        return self._runner.run(self._device.status())

    def clock_offset(self, probes: int = 8) -> ClockOffset:
        """How this computer's wall clock and the device's monotonic clock differ, now."""
        return self._runner.run(self._device.clock_offset(probes))

    def samples(
        self,
        start: Start = "live",
        *,
        seconds: float | None = None,
        max_latency: float | None = None,
        reconnect: float | None = None,
        on_connection: OnConnection | None = None,
    ) -> Generator[SampleEvent, None, None]:
        """Frames from `start` on, as `Device.samples` gives them.

        With `seconds` it ends with the first event that goes so far, by the device's clock, from
        the first frame that came; the time between two sessions counts.
        """
        stream = self._device.samples(
            start, max_latency=max_latency, reconnect=reconnect, on_connection=on_connection
        )
        span = Span(math.inf if seconds is None else seconds)
        for event in self._runner.events(stream):
            if isinstance(event, types.SessionStarted):
                span.enter(event)
                if span.is_over:
                    return
                yield event
                continue
            span.add(event)
            yield event
            if span.is_over:
                return

    def classifications(
        self,
        start: Start = "live",
        *,
        reconnect: float | None = None,
        on_connection: OnConnection | None = None,
    ) -> Generator[ClassificationEvent, None, None]:
        """Windows from `start` on, as `Device.classifications` gives them."""
        stream = self._device.classifications(
            start, reconnect=reconnect, on_connection=on_connection
        )
        yield from self._runner.events(stream)

    def capture(
        self,
        seconds: float = 10.0,
        start: Start = "live",
        *,
        progress: Progress | None = None,
        reconnect: float | None = None,
        on_connection: OnConnection | None = None,
    ) -> Capture:
        """The next `seconds` of the device's grid as arrays, gaps masked."""
        return self._runner.run(
            self._device.capture(
                seconds,
                start,
                progress=progress,
                reconnect=reconnect,
                on_connection=on_connection,
            )
        )

    def captures(
        self,
        seconds: float = 10.0,
        start: Start = "live",
        *,
        progress: Progress | None = None,
        reconnect: float | None = None,
        on_connection: OnConnection | None = None,
    ) -> Generator[Capture, None, None]:
        """The next `seconds` of the device's grid, one capture for each session in them."""
        parts = self._device.captures(
            seconds, start, progress=progress, reconnect=reconnect, on_connection=on_connection
        )
        yield from self._runner.events(parts)

    def classify(self, window: npt.ArrayLike | Capture) -> types.Classification:
        """Ask the active model for one window."""
        return self._runner.run(self._device.classify(window))

    def models(self) -> tuple[StoredModel, ...]:
        """The models that the device holds, the active one first."""
        return self._runner.run(self._device.models())

    def deploy(
        self,
        model: str | os.PathLike[str] | bytes | Bundle,
        *,
        signature: ModelSignature | None = None,
        validate_only: bool = False,
        timeout: float = DEPLOY_SECONDS,
    ) -> DeployResult:
        """Send a model; the device judges it and, if it passes, swaps it in."""
        return self._runner.run(
            self._device.deploy(
                model, signature=signature, validate_only=validate_only, timeout=timeout
            )
        )

    def probation(self) -> Probation | None:
        """How the newest probation does, or did."""
        return self._runner.run(self._device.probation())

    def verdict(
        self, sha256: str, on_window: Callable[[Probation], object] = lambda _: None
    ) -> Probation | None:
        """Wait for the verdict on a model that was deployed."""
        return self._runner.run(self._device.verdict(sha256, on_window))

    def delete(self, sha256: str) -> StoredModel:
        """Delete a stored model."""
        return self._runner.run(self._device.delete(sha256))

    def rollback(self, *, timeout: float = DEPLOY_SECONDS) -> DeployResult:
        """Go back to the model before."""
        return self._runner.run(self._device.rollback(timeout=timeout))

    def activate(self, sha256: str, *, timeout: float = DEPLOY_SECONDS) -> DeployResult:
        """Make a stored model the active one."""
        return self._runner.run(self._device.activate(sha256, timeout=timeout))
