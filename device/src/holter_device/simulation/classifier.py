"""Classifiers that share processes: all devices with one model ask one process for its scores.

A model is loaded and proved once in that process, which is a real one as holterd has it, with its
limits, so that a model which crashes or hangs harms none of the devices. What is told of that
proof is told to every device. The process ends with the last classifier that uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import numpy as np
import numpy.typing as npt

from holter.spec import ModelSpec

from ..classifier import (
    ClassifierSettings,
    GoldenReport,
    LoadReport,
    ProcessClassifier,
    ReadModel,
    Scores,
)
from ..errors import ClassifierUnavailableError
from ..runtime import RuntimeInfo, RuntimeMissingError, installed_runtime
from ..runtime.fit import DeviceFit

# What a model is, and what of a device it was fitted to.
_Key = tuple[str, DeviceFit]


class ClassifierPool:
    """The classifier processes of many devices.

    Args:
        settings: how they are started.
    """

    def __init__(self, settings: ClassifierSettings) -> None:
        self._settings = settings
        self._shared: dict[_Key, _Shared] = {}

    @property
    def process_count(self) -> int:
        """How many processes there are."""
        return len(self._shared)

    @property
    def runtime(self) -> RuntimeInfo:
        """What runs the models, not imported.

        Raises:
            ClassifierUnavailableError: it is not installed.
        """
        try:
            return installed_runtime(self._settings.runtime)
        except RuntimeMissingError as error:
            raise ClassifierUnavailableError(str(error), **error.facts) from error

    async def take(self, sha256: str, model: bytes, fit: DeviceFit) -> _Shared:
        """The process of a model, loaded; each taking is for one `give_back`.

        Raises:
            ModelRefusedError: as Classifier.load.
            ClassifierUnavailableError: the process does not start.
        """
        # What else a fit says is for the gate, which is the device's own.
        key = sha256, dataclasses.replace(fit, speed=1.0, memory_bytes=0)
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(key, self._settings, model)
        shared.user_count += 1
        try:
            await asyncio.shield(shared.loading)
        except BaseException:
            await self.give_back(shared)
            raise
        return shared

    async def give_back(self, shared: _Shared) -> None:
        """Use a process no more; the last one ends it."""
        shared.user_count -= 1
        failed = shared.loading.done() and shared.failed
        if (failed or not shared.user_count) and self._shared.get(shared.key) is shared:
            del self._shared[shared.key]
        if not shared.user_count:
            await shared.close()


class _Shared:
    """One process with a model, and what it said of it."""

    def __init__(self, key: _Key, settings: ClassifierSettings, model: bytes) -> None:
        self.key = key
        self.user_count = 0
        self.process: ProcessClassifier
        self.loading = asyncio.create_task(self._load(settings, model), name="load")
        self._proofs: list[asyncio.Task[GoldenReport]] = []

    @property
    def failed(self) -> bool:
        """Whether the model is not loaded, once `loading` is done."""
        return self.loading.cancelled() or self.loading.exception() is not None

    async def proof(self, number: int) -> GoldenReport:
        """What the model's proof said for the first time (0), the second time (1) …"""
        if number >= len(self._proofs):
            self._proofs.append(asyncio.create_task(self.process.prove(), name="prove"))
        return await asyncio.shield(self._proofs[number])

    async def close(self) -> None:
        """End the process."""
        tasks = [self.loading, *self._proofs]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                task.exception()
        if not self.failed:
            await self.process.close()

    async def _load(self, settings: ClassifierSettings, model: bytes) -> LoadReport:
        process = await ProcessClassifier.start(settings)
        try:
            report = await process.load(self.key[0], model, self.key[1])
        except BaseException:
            await process.close()
            raise
        self.process = process
        return report


class SharedClassifier:
    """A Classifier whose process belongs to a pool.

    Raises:
        ClassifierUnavailableError: its runtime is not installed.
    """

    def __init__(self, pool: ClassifierPool) -> None:
        self._pool = pool
        self._shared: _Shared | None = None
        self._proof_count = 0
        self.runtime = pool.runtime
        self.sha256 = ""
        self.spec: ModelSpec

    async def load(self, sha256: str, model: bytes, fit: DeviceFit) -> LoadReport:
        """Load a model file, as Classifier.load; if another device has it, it is there."""
        shared = await self._pool.take(sha256, model, fit)
        self._shared, self.sha256 = shared, sha256
        report = shared.loading.result()
        self.spec, self.runtime = report.spec, shared.process.runtime
        return report

    async def prove(self) -> GoldenReport:
        """What the golden windows gave, as Classifier.prove; asked again, they run again."""
        number, self._proof_count = self._proof_count, self._proof_count + 1
        return await self._loaded().proof(number)

    def reload_from(self, read: ReadModel) -> None:
        """The process keeps the bytes, once for all who share it."""

    async def classify_counts(self, counts: bytes, timeout: float) -> Scores:
        """Classify raw counts, as Classifier.classify_counts."""
        return await self._loaded().process.classify_counts(counts, timeout)

    async def classify_values(self, values: npt.NDArray[np.float32], timeout: float) -> Scores:
        """Classify values in the model's unit, as Classifier.classify_values."""
        return await self._loaded().process.classify_values(values, timeout)

    async def revive(self) -> None:
        """Bring the process back for all who share it, as Classifier.revive."""
        if self._shared is not None:
            await self._shared.process.revive()

    async def close(self) -> None:
        """Let go of the process, as Classifier.close."""
        shared, self._shared = self._shared, None
        if shared is not None:
            await self._pool.give_back(shared)

    def _loaded(self) -> _Shared:
        if self._shared is None:
            raise ClassifierUnavailableError("the classifier has been closed")
        return self._shared
