"""A classifier that a test holds in its hand: it answers when, and how, the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from holter.spec import ModelSpec
from holter_device.classifier import GoldenReport, LoadReport, ReadModel, Scores
from holter_device.errors import DeviceError
from holter_device.runtime import RuntimeInfo
from holter_device.runtime.fit import DeviceFit


def counts_spec(window: int, hop: int, rate_hz: float = 1.0) -> ModelSpec:
    """A model of one channel that takes counts and gives the labels N and V."""
    return ModelSpec(
        name="scripted",
        rate_hz=rate_hz,
        window=window,
        hop=hop,
        unit="counts",
        labels=("N", "V"),
        input="x",
        output="y",
        input_shape=(1, window, 1),
    )


class ScriptedClassifier:
    """Scores a window with its first and last count; `open` holds it back, `fail` makes it fail."""

    def __init__(self, spec: ModelSpec, sha256: str = "a" * 64) -> None:
        self.spec = spec
        self.sha256 = sha256
        self.runtime = RuntimeInfo("scripted", "1")
        self.open = asyncio.Event()
        self.open.set()
        self.fail: Callable[[bytes], DeviceError | None] = lambda _counts: None
        self.refuse: Callable[[str], DeviceError | None] = lambda _sha256: None
        self.classified: list[bytes] = []
        self.revived = 0
        self.closed = False

    async def load(self, sha256: str, model: bytes, fit: DeviceFit) -> LoadReport:
        """Nothing to load; it is the model, unless `refuse` has an error for it."""
        if error := self.refuse(sha256):
            raise error
        self.sha256 = sha256
        return LoadReport(self.spec, 0, {"spec": 1, "ops": 1, "load": 1})

    async def prove(self) -> GoldenReport:
        """Nothing to prove."""
        return GoldenReport(0, 0.0, 0, 0, 0, 0, 0)

    def reload_from(self, read: ReadModel) -> None:
        """Nothing to reload."""

    async def classify_counts(self, counts: bytes, timeout: float) -> Scores:
        """The first and the last count, once `open` is set."""
        assert not self.closed, "a closed classifier was asked"
        await self.open.wait()
        self.classified.append(counts)
        if error := self.fail(counts):
            raise error
        return Scores((float(counts[0]), float(counts[-1])), 7)

    async def classify_values(self, values: npt.NDArray[np.float32], timeout: float) -> Scores:
        """As counts."""
        return await self.classify_counts(values.astype(np.uint8).tobytes(), timeout)

    async def revive(self) -> None:
        """Count how often it was asked."""
        self.revived += 1

    async def close(self) -> None:
        """End it."""
        self.closed = True
