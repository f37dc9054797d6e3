"""What can be wrong with a simulated device, and which devices have what.

A fault is one word, and can be changed while the device runs:

    none
    offline            nothing answers at its address; the device itself samples on
    slow               each call is answered later, by a delay
    silent             it takes every call and never answers
    failing-gate       golden windows have other scores here: its gate refuses every model
    low-memory         its gate allows a model LOW_MEMORY_BYTES
    failing-probation  each model but the first fails on its windows, so that the device goes back
"""

from __future__ import annotations

import asyncio
import enum
import math
import random
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from ..classifier import ClassifierFailedError, GoldenReport, LoadReport, Scores
from ..errors import ConfigError, GoldenMismatchError
from ..gate import Steps, check_memory
from ..runtime.fit import DeviceFit
from .classifier import ClassifierPool, SharedClassifier

LOW_MEMORY_BYTES = 16 * 2**20


class Fault(enum.Enum):
    """What is wrong with a device."""

    NONE = "none"
    OFFLINE = "offline"
    SLOW = "slow"
    SILENT = "silent"
    FAILING_GATE = "failing-gate"
    LOW_MEMORY = "low-memory"
    FAILING_PROBATION = "failing-probation"


class Condition:
    """What is wrong with one device now, and what of its models matters for that.

    Attributes:
        fault: it.
        delay: seconds by which a slow device answers later.
        trusted: the model that was loaded first, which never fails; "" before.
        hop_seconds: real time from window to window of the model that has most of them.
    """

    def __init__(self, fault: Fault = Fault.NONE, delay: float = 0.5) -> None:
        self.fault = fault
        self.delay = delay
        self.trusted = ""
        self.hop_seconds = math.inf


class FaultyCalls(grpc.aio.ServerInterceptor):
    """Answers the calls of a device as its condition has it."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a call: late where the device is slow, none where it is silent."""
        handler = await continuation(handler_call_details)
        if self._condition.fault is Fault.SLOW:
            await asyncio.sleep(self._condition.delay)
        if self._condition.fault is not Fault.SILENT or handler is None:
            return handler
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(_never)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(_never)
        return grpc.unary_unary_rpc_method_handler(_never)


async def _never(_request: object, _context: object) -> None:
    await asyncio.Event().wait()


class FaultyClassifier(SharedClassifier):
    """The classifier of a device, which fails as its condition has it.

    Args:
        pool: has its process.
        condition: what is wrong with the device.
    """

    def __init__(self, pool: ClassifierPool, condition: Condition) -> None:
        super().__init__(pool)
        self._condition = condition

    async def load(self, sha256: str, model: bytes, fit: DeviceFit) -> LoadReport:
        """As SharedClassifier.load."""
        report = await super().load(sha256, model, fit)
        condition, hop_seconds = self._condition, fit.hop_seconds(report.spec)
        condition.trusted = condition.trusted or sha256
        condition.hop_seconds = min(condition.hop_seconds, hop_seconds)
        return report

    async def prove(self) -> GoldenReport:
        """As SharedClassifier.prove, unless the device's gate fails."""
        golden = await super().prove()
        if self._condition.fault is Fault.FAILING_GATE:
            raise GoldenMismatchError(
                "on golden window 0 the model's scores here differ by 0.5 from those where it was "
                f"made; at most {self.spec.tolerance:g} is accepted: this device is simulated so",
                window=0,
                max_abs_difference="0.5",
                tolerance=f"{self.spec.tolerance:g}",
            )
        if self._condition.fault is Fault.LOW_MEMORY:
            check_memory(Steps(), golden, LOW_MEMORY_BYTES)
        return golden

    async def classify_counts(self, counts: bytes, timeout: float) -> Scores:
        """As SharedClassifier.classify_counts, unless the model is to fail."""
        self._fail()
        return await super().classify_counts(counts, timeout)

    async def classify_values(self, values: npt.NDArray[np.float32], timeout: float) -> Scores:
        """As SharedClassifier.classify_values, unless the model is to fail."""
        self._fail()
        return await super().classify_values(values, timeout)

    def _fail(self) -> None:
        failing = self._condition.fault is Fault.FAILING_PROBATION
        if failing and self.sha256 != self._condition.trusted:
            raise ClassifierFailedError("the model failed on a window: this device is simulated so")


def spread(names: Iterable[str], shares: Mapping[Fault, str], seed: int) -> dict[str, Fault]:
    """Give shares of the devices a fault each.

    Args:
        names: the devices.
        shares: for each fault how many have it: "5%", rounded to whole devices, or "12".
        seed: who has them depends on it.

    Raises:
        ConfigError: a share is none, or they are more than the devices.
    """
    names = list(names)
    order = random.Random(seed).sample(names, len(names))
    faults: dict[str, Fault] = {}
    for fault, share in shares.items():
        count = _count(fault, share, len(names))
        if count > len(order):
            raise ConfigError(f"the faults are more than the {len(names)} devices")
        faults |= dict.fromkeys(order[:count], fault)
        del order[:count]
    return faults


def _count(fault: Fault, share: str, total: int) -> int:
    number = share.removesuffix("%")
    try:
        value = float(number) if number != share else int(number)
        if not 0 <= value <= (100 if number != share else total):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"--{fault.value} is {share!r}; give a share such as 5%, or a number of devices up to "
            f"{total}",
            key=fault.value,
        ) from None
    return round(value * total / 100) if number != share else int(value)


def read_faults(path: Path, names: Iterable[str]) -> dict[str, Fault]:
    """Read a file of faults by device: TOML, lines such as `sim-0003 = "offline"`.

    Raises:
        ConfigError: it cannot be read, or names a device or a fault that there is not.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    known = set(names)
    for name, word in content.items():
        if name not in known:
            raise ConfigError(f"{path}: there is no device {name!r}", key=name)
        if word not in [fault.value for fault in Fault]:
            words = ", ".join(fault.value for fault in Fault)
            raise ConfigError(f"{path}: {name} is {word!r}; the faults are {words}", key=name)
    return {name: Fault(word) for name, word in content.items()}
