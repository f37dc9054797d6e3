"""The parent's end of a classifier: hand it a model, then windows.

Errors of `load` and `prove` are ModelRefusedError: what the process refused, ModelCrashedError
when it ended, ModelTimeoutError when it took too long and was killed. A window raises
ModelTimeoutError (killed), ClassifierFailedError (the model failed on it) or
ClassifierUnavailableError (the process has ended); `revive` then brings the model back.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from holter.spec import ModelSpec

from . import errors
from .children.classifier import INFERENCE_NS, Kind
from .errors import (
    ClassifierUnavailableError,
    ModelCrashedError,
    ModelRefusedError,
    ModelTimeoutError,
    WindowSizeMismatchError,
)
from .link import Answer, Link
from .process import ChildEndedError, ChildStartError
from .runtime import RuntimeInfo
from .runtime.fit import DeviceFit

START_TIMEOUT_SECONDS = 60.0

ReadModel = Callable[[], bytes]


class ClassifierFailedError(ClassifierUnavailableError):
    """Error raised when a model fails on a window."""


class ScoresNotFiniteError(ClassifierFailedError):
    """Error raised when a model gives scores that are not finite."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """How classifier processes are started.

    Attributes:
        runtime: "litert", "tflite" or "auto".
        memory_bytes: memory that the process may have, runtime and all.
        model_timeout: seconds that loading a model, or proving it, may take.
        launcher: words before the command.
    """

    runtime: str = "auto"
    memory_bytes: int = 256 * 2**20
    model_timeout: float = 30.0
    launcher: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class LoadReport:
    """A model is loaded.

    Attributes:
        spec: what it says of itself.
        op_count: operators that it lists, all of which the runtime has.
        elapsed_ns: time that each of "spec", "ops" and "load" took.
    """

    spec: ModelSpec
    op_count: int
    elapsed_ns: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class GoldenReport:
    """Golden windows passed, and what they took.

    Attributes:
        count: how many there are.
        max_abs_difference: how far off at most.
        elapsed_ns: time that they took.
        timed_ns: time that more runs of them took.
        run_count: how many runs there were in all.
        p99_ns: 99th percentile of the time of a run.
        peak_memory_bytes: the most that was resident of the process, runtime and all.
    """

    count: int
    max_abs_difference: float
    elapsed_ns: int
    timed_ns: int
    run_count: int
    p99_ns: int
    peak_memory_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Scores:
    """What a model says of a window: one score for each label; time that it took, in ns."""

    scores: tuple[float, ...]
    inference_ns: int


class Classifier(Protocol):
    """Holds one model and classifies windows with it.

    Attributes:
        runtime: what runs the model.
        spec: what the loaded model says of itself.
        sha256: its digest.
    """

    runtime: RuntimeInfo
    spec: ModelSpec
    sha256: str

    async def load(self, sha256: str, model: bytes, fit: DeviceFit) -> LoadReport:
        """Load a model file, once.

        Raises:
            ModelRefusedError: as the module says.
        """

    async def prove(self) -> GoldenReport:
        """Run the loaded model's golden windows.

        Raises:
            GoldenMismatchError: the scores are others here.
            ModelRefusedError: as the module says.
        """

    def reload_from(self, read: ReadModel) -> None:
        """Let go of the model's bytes; `revive` gets them by this call, made in a thread."""

    async def classify_counts(self, counts: bytes, timeout: float) -> Scores:
        """Classify raw counts of the model's channels, frame by frame.

        Raises:
            WindowSizeMismatchError: it is not one window.
            ModelTimeoutError: it took more than `timeout` seconds.
            ClassifierFailedError: the model failed on it.
            ClassifierUnavailableError: the process has ended.
        """

    async def classify_values(self, values: npt.NDArray[np.float32], timeout: float) -> Scores:
        """Classify values in the model's unit, shape (window, channels) or flat; as above."""

    async def revive(self) -> None:
        """Bring the model back if the process has ended; else do nothing.

        Raises:
            DeviceError: it does not start, or refuses the model now.
        """

    async def close(self) -> None:
        """End the process; safe to repeat."""


StartClassifier = Callable[[], Awaitable[Classifier]]


class ProcessClassifier:
    """A classifier in a child process; made by `start`."""

    def __init__(self, settings: ClassifierSettings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()  # one frame at a time, so that its time is its own
        self._link: Link
        self._closed = False
        self._fit: DeviceFit | None = None
        self._read: ReadModel | None = None
        self._window_bytes = 0
        self.runtime = RuntimeInfo("", "")
        self.sha256 = ""
        self.spec: ModelSpec

    @classmethod
    async def start(cls, settings: ClassifierSettings) -> ProcessClassifier:
        """Start a process without a model.

        Raises:
            ClassifierUnavailableError: it does not start, or its runtime is not installed.
        """
        classifier = cls(settings)
        await classifier._start()
        return classifier

    @property
    def pid(self) -> int:
        """The process; another one after `revive`."""
        return self._link.pid

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._link.ended

    async def load(self, sha256: str, model: bytes, fit: DeviceFit) -> LoadReport:
        """Load a model file, as Classifier.load."""
        async with self._turn:
            report = await self._load(model, fit)
        self.spec, self.sha256, self._fit = report.spec, sha256, fit
        item_size = fit.sample_format.dtype.itemsize
        self._window_bytes = self.spec.window * self.spec.channel_count * item_size
        self._read = lambda: model
        return report

    async def prove(self) -> GoldenReport:
        """Run the golden windows, as Classifier.prove."""
        async with self._turn:
            answer = await self._request("golden", self._link.ask(Kind.PROVE, b""))
        return GoldenReport(**answer)

    def reload_from(self, read: ReadModel) -> None:
        """Take the model's bytes from elsewhere, as Classifier.reload_from."""
        self._read = read

    async def classify_counts(self, counts: bytes, timeout: float) -> Scores:
        """Classify raw counts, as Classifier.classify_counts."""
        if len(counts) != self._window_bytes:
            item_size = self._window_bytes // (self.spec.window * self.spec.channel_count)
            raise self._wrong_size(len(counts) // item_size)
        return await self._classify(Kind.COUNTS, counts, timeout)

    async def classify_values(self, values: npt.NDArray[np.float32], timeout: float) -> Scores:
        """Classify values in the model's unit, as Classifier.classify_values."""
        if values.size != self.spec.window * self.spec.channel_count:
            raise self._wrong_size(values.size)
        return await self._classify(Kind.VALUES, values.astype("<f4").tobytes(), timeout)

    async def revive(self) -> None:
        """Bring the model back, as Classifier.revive."""
        async with self._turn:
            if self._closed or not self._link.ended:
                return
            assert self._read is not None
            assert self._fit is not None
            model = await asyncio.to_thread(self._read)
            await self._start()
            try:
                await self._load(model, self._fit)
            except BaseException:
                await self._link.kill()  # no window may reach a process without a model
                raise

    async def close(self) -> None:
        """End the process, as Classifier.close."""
        self._closed = True
        await self._link.kill()

    async def _start(self) -> None:
        arguments = {
            "runtime": self._settings.runtime,
            "memory_bytes": self._settings.memory_bytes,
        }
        launcher = self._settings.launcher
        try:
            link = await Link.start("classifier", json.dumps(arguments), launcher=launcher)
        except ChildStartError as error:
            raise ClassifierUnavailableError(str(error), **error.facts) from error
        self._link = link
        try:
            if self._closed:
                raise ClassifierUnavailableError("the classifier has been closed")
            kind, payload = await self._in_time("start", START_TIMEOUT_SECONDS, link.greeting)
            answer = json.loads(payload)
            if kind != Kind.HELLO:
                raise ClassifierUnavailableError(str(answer["message"]), **answer["facts"])
        except (ChildEndedError, ModelTimeoutError) as error:
            await link.kill()
            raise ClassifierUnavailableError(f"the classifier does not start: {error}") from error
        except BaseException:
            await link.kill()
            raise
        self.runtime = RuntimeInfo(**answer)

    async def _load(self, model: bytes, fit: DeviceFit) -> LoadReport:
        self._link.send(Kind.FIT, fit.to_json().encode())
        answer = await self._request("load", self._link.upload(Kind.LOAD, model))
        return LoadReport(**(answer | {"spec": ModelSpec.from_json(answer["spec"])}))

    async def _request(self, step: str, answer: Awaitable[Answer]) -> dict[str, Any]:
        """A step of the gate: the JSON of its answer."""
        try:
            kind, text = await self._in_time(step, self._settings.model_timeout, answer)
        except ChildEndedError as error:
            raise _crashed(step, error) from error
        facts: dict[str, Any] = json.loads(text)
        if kind == Kind.REFUSED:
            raise _refused(facts)
        return facts

    async def _classify(self, kind: Kind, window: bytes, timeout: float) -> Scores:
        try:
            async with self._turn:
                answer = self._link.ask(kind, window)
                answered, payload = await self._in_time("window", timeout, answer)
        except ChildEndedError as error:
            raise ClassifierUnavailableError(str(error), **error.facts) from error
        if answered == Kind.FAILED:
            raise ClassifierFailedError(payload.decode())
        if answered == Kind.NOT_FINITE:
            raise ScoresNotFiniteError(payload.decode())
        (inference_ns,) = INFERENCE_NS.unpack_from(payload)
        scores = np.frombuffer(payload, "<f4", offset=INFERENCE_NS.size)
        return Scores(tuple(scores.tolist()), inference_ns)

    async def _in_time(self, step: str, timeout: float, answer: Awaitable[Answer]) -> Answer:
        """An answer; the process is killed when it takes too long.

        Raises:
            ChildEndedError: the process ended, before or meanwhile.
            ModelTimeoutError: it took too long.
        """
        link, expired = self._link, False

        def expire() -> None:
            nonlocal expired
            expired = True
            link.signal_kill()

        timer = asyncio.get_running_loop().call_later(timeout, expire)
        try:
            return await answer
        except ChildEndedError as error:
            if not expired:
                raise
            raise ModelTimeoutError(
                f"the model did not finish ({step}) within {timeout:g} seconds on this device",
                step=step,
                limit_seconds=f"{timeout:g}",
            ) from error
        finally:
            timer.cancel()

    def _wrong_size(self, actual: int) -> WindowSizeMismatchError:
        expected = self.spec.window * self.spec.channel_count
        return WindowSizeMismatchError(
            f"the window has {actual} values and the model takes {expected}: {self.spec.window} "
            f"frames of {self.spec.channel_count} channel(s)",
            actual=actual,
            expected=expected,
        )


def _crashed(step: str, error: ChildEndedError) -> ModelCrashedError:
    return ModelCrashedError(
        f"the model ended the process that tried it ({step}): {error}", detail=str(error), step=step
    )


def _refused(answer: dict[str, Any]) -> ModelRefusedError:
    """The error that a child named; only refusals of models can be named."""
    kind = getattr(errors, answer["error"], None)
    if not (isinstance(kind, type) and issubclass(kind, ModelRefusedError)):
        kind = ModelRefusedError
    return kind(answer["message"], **answer["facts"])
