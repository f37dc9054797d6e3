"""From windows to classifications: who classifies them, in which order, and what if it fails.

Each window yields exactly one Classification, in order; after a swap at S those with
last_sequence < S still come from the model before, whose classifier ends after its last window.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from holter.spec import ModelSpec

from .classifier import Classifier
from .errors import (
    ClassifierUnavailableError,
    DeviceError,
    ModelTimeoutError,
    NoActiveModelError,
)
from .samples import Block, Classification, Gap, ModelChange, Session, UnclassifiableReason
from .windows import Window, WindowCutter

QUEUE_LIMIT = 8
LEAST_TIMEOUT_SECONDS = 5.0

_log = logging.getLogger(__name__)

Emit = Callable[[Sequence[Classification | ModelChange]], None]
# Told of each window of a model: its classifier, the seconds that it took, and why it failed.
Saw = Callable[[Classifier, float, Exception | None], None]


class PipelineState(enum.Enum):
    """How the classifier does; the names are those of the wire's ClassifierState."""

    NO_MODEL = enum.auto()
    STARTING = enum.auto()
    RUNNING = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True)
class _ToClassify:
    window: Classification
    classifier: Classifier
    counts: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class _ToClose:
    classifier: Classifier


class Pipeline:
    """Cuts windows, has the active classifier classify them, and emits what it says.

    Args:
        emit: takes classifications and changes of model, in their order.
        paced: whether `feed` waits for the classifier rather than drop windows; for sources that
            wait for their reader.

    Attributes:
        saw: told of each window that a model was asked for, or had no time for (infinite seconds).
        last_error: why the last window or start failed.
    """

    def __init__(self, emit: Emit, *, paced: bool = False) -> None:
        self._emit = emit
        self._paced = paced
        self._active: Classifier | None = None
        self._session: Session | None = None
        self._cutter: WindowCutter | None = None
        self._line: deque[Classification | ModelChange | _ToClassify | _ToClose] = deque()
        self._waiting = 0
        self._filled = asyncio.Event()
        self._moved = asyncio.Condition()
        self._worker: asyncio.Task[None] | None = None
        self._down: Classifier | None = None
        self.saw: Saw = lambda _classifier, _seconds, _error: None
        self.last_error = ""

    @property
    def state(self) -> PipelineState:
        """How the classifier does."""
        if self._active is None:
            return PipelineState.NO_MODEL
        return PipelineState.STARTING if self._down is self._active else PipelineState.RUNNING

    @property
    def active(self) -> Classifier | None:
        """The classifier that new windows go to."""
        return self._active

    @property
    def next_sequence(self) -> int:
        """The next frame of the session."""
        return self._cutter.next_sequence if self._cutter else 0

    def begin(self, session: Session) -> None:
        """Start the session; the active model is announced from its sequence 0."""
        self._session = session
        self._cutter = WindowCutter(session)
        self._worker = asyncio.create_task(self._work(), name="pipeline")
        self._select(session, self._cutter)

    def swap(self, classifier: Classifier | None, *, keep: bool = False) -> tuple[int, int]:
        """Make this the active classifier from the next frame on.

        Args:
            classifier: it, or None for none.
            keep: whether the one before stays, until it is swapped in again or retired; else it is
                closed once its windows are done.

        Returns:
            (session_id, swap_sequence); (0, 0) before `begin`, from when it counts.
        """
        before, self._active = self._active, classifier
        if self._session is None or self._cutter is None:
            return 0, 0
        self._select(self._session, self._cutter)
        if before is not None and not keep:
            self._append(_ToClose(before))
        return self._session.session_id, self._cutter.next_sequence

    def retire(self, classifier: Classifier) -> None:
        """Close a classifier that was kept, once its windows are done."""
        self._append(_ToClose(classifier))

    async def feed(self, tiles: Sequence[Block | Gap]) -> None:
        """Take the next tiles of the session, and put the windows that they complete in line."""
        assert self._cutter is not None
        for tile in tiles:
            windows = self._cutter.cut(tile)
            while True:
                if self._paced and self._waiting >= QUEUE_LIMIT:
                    async with self._moved:
                        await self._moved.wait_for(lambda: self._waiting < QUEUE_LIMIT)
                window = next(windows, None)
                if window is None:
                    break
                self._put_in_line(window)

    async def classify(self, payload: bytes | npt.NDArray[np.float32]) -> Classification:
        """Classify one window that a caller brings: counts, or values in the model's unit.

        Raises:
            NoActiveModelError: there is no active model.
            WindowSizeMismatchError: it has not as many values as the model takes.
            ClassifierUnavailableError: the classifier ended, failed or was too slow.
        """
        classifier = self._active
        if classifier is None:
            raise NoActiveModelError(
                "there is no active model on this device; deploy one with `holter deploy`"
            )
        limit = _timeout(classifier.spec, self._session)
        try:
            if isinstance(payload, bytes):
                scores = await classifier.classify_counts(payload, limit)
            else:
                scores = await classifier.classify_values(payload, limit)
        except ModelTimeoutError as error:
            await self._revive(classifier)
            raise ClassifierUnavailableError(str(error), **error.facts) from error
        except ClassifierUnavailableError:
            await self._revive(classifier)
            raise
        return Classification(
            model_sha256=classifier.sha256,
            labels=classifier.spec.labels,
            scores=scores.scores,
            inference_ns=scores.inference_ns,
        )

    async def drain(self) -> None:
        """Wait until everything in line is done."""
        if self._worker is not None:
            async with self._moved:
                await self._moved.wait_for(lambda: not self._line)

    async def close(self) -> None:
        """Stop, and close every classifier."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait({self._worker})
        closing = [item.classifier for item in self._line if isinstance(item, _ToClose)]
        self._line.clear()
        if self._active is not None:
            closing.append(self._active)
            self._active = None
        await asyncio.gather(*(classifier.close() for classifier in closing))

    def _select(self, session: Session, cutter: WindowCutter) -> None:
        cutter.select(self._active.spec if self._active else None)
        sha256 = self._active.sha256 if self._active else ""
        self._append(ModelChange(session.session_id, cutter.next_sequence, sha256))

    def _append(self, item: Classification | ModelChange | _ToClassify | _ToClose) -> None:
        self._line.append(item)
        self._filled.set()

    def _put_in_line(self, window: Window) -> None:
        assert self._active is not None
        assert self._session is not None
        classifier = self._active
        result = Classification(
            session_id=self._session.session_id,
            first_sequence=window.first_sequence,
            last_sequence=window.last_sequence,
            model_sha256=classifier.sha256,
            reason=window.spoilt,
        )
        if result.reason is None and self._waiting >= QUEUE_LIMIT:
            result = dataclasses.replace(result, reason=UnclassifiableReason.OVERLOADED)
            self.saw(classifier, math.inf, None)
        if result.reason is not None:
            self._append(result)
        else:
            self._waiting += 1
            self._append(_ToClassify(result, classifier, window.counts))

    async def _work(self) -> None:
        """Take the line from its head; an item leaves it when it is done."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._line:
                try:
                    await self._do(self._line[0])
                except Exception:  # the line must go on: without it no window ever has a class
                    _log.exception("an unexpected error in the pipeline")
                self._line.popleft()
                async with self._moved:
                    self._moved.notify_all()

    async def _do(self, item: Classification | ModelChange | _ToClassify | _ToClose) -> None:
        if isinstance(item, _ToClose):
            await item.classifier.close()
        elif isinstance(item, _ToClassify):
            result = await self._classify(item)
            self._waiting -= 1
            self._emit([result])
        else:
            self._emit([item])

    async def _classify(self, item: _ToClassify) -> Classification:
        classifier, begin = item.classifier, time.monotonic()
        try:
            limit = _timeout(classifier.spec, self._session)
            scores = await classifier.classify_counts(item.counts, limit)
        except ModelTimeoutError as error:
            self.saw(classifier, time.monotonic() - begin, error)
            return await self._failed(item, UnclassifiableReason.TIMEOUT, error)
        except Exception as error:  # whatever it is, the window has its classification
            self.saw(classifier, time.monotonic() - begin, error)
            return await self._failed(item, UnclassifiableReason.MODEL_ERROR, error)
        self.saw(classifier, time.monotonic() - begin, None)
        labels = classifier.spec.labels
        return dataclasses.replace(
            item.window, labels=labels, scores=scores.scores, inference_ns=scores.inference_ns
        )

    async def _failed(
        self, item: _ToClassify, reason: UnclassifiableReason, error: Exception
    ) -> Classification:
        self.last_error = str(error)
        _log.warning(
            "window %d to %d of session %d is unclassifiable: %s",
            item.window.first_sequence,
            item.window.last_sequence,
            item.window.session_id,
            error,
        )
        await self._revive(item.classifier)
        return dataclasses.replace(item.window, reason=reason)

    async def _revive(self, classifier: Classifier) -> None:
        """Bring a classifier back whose process ended; the next failure tries again."""
        self._down = classifier
        try:
            await classifier.revive()
        except Exception as error:  # no memory, no file: whatever it is, it may pass
            self.last_error = str(error)
            unexpected = None if isinstance(error, DeviceError) else error
            _log.error("the classifier does not start again: %s", error, exc_info=unexpected)
        else:
            if self._down is classifier:
                self._down = None


def _timeout(spec: ModelSpec, session: Session | None) -> float:
    """Seconds that a window may take: a hop, but never less than a busy machine needs."""
    rate = session.grid.rate_hz if session else spec.rate_hz
    return max(LEAST_TIMEOUT_SECONDS, spec.hop / rate)
