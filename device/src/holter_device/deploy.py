"""Puts models through the gate, keeps them, and swaps them in; one deploy at a time.

The order is: judged by the gate in a new classifier, stored durably, recorded as active, swapped.
Before "stored" a deploy that fails, or whose caller goes away, leaves no trace; from there on it is
carried through whoever goes away, so that nothing is half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from .classifier import Classifier, StartClassifier
from .errors import (
    ClassifierUnavailableError,
    DeployInProgressError,
    DeviceError,
    ModelTooLargeError,
    StoreFullError,
)
from .gate import GateReport, Steps, check_digest, judge
from .runtime.fit import DeviceFit
from .store import ActiveRecord, ModelState, ModelStore, StoredModel

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class Swap(Protocol):
    """Whoever sends windows to the active classifier."""

    def swap(self, classifier: Classifier | None) -> tuple[int, int]:
        """Send windows to this classifier from (session_id, swap_sequence) on.

        The classifier before is closed, once its windows are done, by whoever swaps.
        """


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeployOutcome:
    """What came of a deploy.

    Attributes:
        model: the model, as it is held now; with validate_only, as it would be.
        report: the steps that it passed.
        session_id: the session of the swap; 0 where nothing was swapped.
        swap_sequence: windows with last_sequence at or after it belong to the model.
        already_active: nothing was done, as the model was the active one.
    """

    model: StoredModel
    report: GateReport = dataclasses.field(default_factory=GateReport)
    session_id: int = 0
    swap_sequence: int = 0
    already_active: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class _Running:
    """Who holds the deploy, and since when."""

    sha256: str
    peer: str
    start_time: str


class Deployer:
    """Deploys and activates models.

    Args:
        store: keeps the models.
        swap: takes the classifier that is to be active.
        start: starts a classifier without a model.
        fit: what a model must fit.
        max_model_bytes: size of the largest file that is taken.
    """

    def __init__(
        self,
        store: ModelStore,
        swap: Swap,
        start: StartClassifier,
        fit: DeviceFit,
        max_model_bytes: int = 64 * 2**20,
    ) -> None:
        self._store = store
        self._swap = swap
        self._start = start
        self._fit = fit
        self._max_model_bytes = max_model_bytes
        self._active = ""
        self._running: _Running | None = None
        self._task: asyncio.Task[DeployOutcome] | None = None
        self._committing = False

    async def deploy(
        self, model: bytes, sha256: str, *, validate_only: bool = False, peer: str = ""
    ) -> DeployOutcome:
        """Judge a model and, if it passes, store it and swap it in.

        Args:
            model: the whole file.
            sha256: its digest, in lower-case hex.
            validate_only: judge only: nothing is stored and nothing swapped.
            peer: who asks, for who asks meanwhile.

        Raises:
            ModelRefusedError: it is not taken; the kind says why.
            ClassifierUnavailableError: no classifier can be started, or holterd is stopping.
        """
        if len(model) > self._max_model_bytes:
            raise ModelTooLargeError(
                f"the model has {len(model)} bytes and this device takes at most "
                f"{self._max_model_bytes}; convert a smaller one, or raise max_model_mib",
                size_bytes=len(model),
                max_bytes=self._max_model_bytes,
            )
        return await self._alone(sha256, peer, self._deploy(model, sha256, validate_only))

    async def activate(self, sha256: str, *, peer: str = "") -> DeployOutcome:
        """Put a stored model through the gate again, and swap it in.

        Raises:
            ModelNotFoundError: the store has none of this name.
            ModelRefusedError: as `deploy`.
        """
        return await self._alone(sha256, peer, self._activate(sha256))

    async def models(self) -> tuple[StoredModel, ...]:
        """All models: the active one first, then by store_time, newest first."""
        return tuple(map(self._as_running, await asyncio.to_thread(self._store.models)))

    async def restore(self) -> StoredModel | None:
        """Bring back the active model of the store, when holterd starts.

        Returns:
            It, or None where there is none or it does not pass; the log then says why.
        """
        sha256 = (await asyncio.to_thread(self._store.record)).active
        if not sha256:
            return None
        try:
            outcome = await self._alone(sha256, "the start of holterd", self._activate(sha256))
        except (DeviceError, OSError) as error:
            _log.error("there is no active model, as %s cannot be restored: %s", sha256, error)
            return None
        return outcome.model

    async def close(self) -> None:
        """End what is running: before it is stored it is given up, else carried through."""
        if self._task is not None:
            await self._give_up(self._task)

    async def _alone(
        self, sha256: str, peer: str, work: Coroutine[Any, Any, DeployOutcome]
    ) -> DeployOutcome:
        """Do the work in a task of its own, which whoever goes away cannot cut in two."""
        if self._running is not None:
            work.close()
            raise _in_progress(self._running)
        now = datetime.datetime.now(datetime.UTC)
        self._running = _Running(sha256, peer, now.isoformat(timespec="seconds"))
        task = self._task = asyncio.create_task(work, name="deploy")
        task.add_done_callback(self._finished)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise ClassifierUnavailableError(
                    "the device is stopping; nothing was deployed, try again when it runs"
                ) from None
            await self._give_up(task)
            raise

    async def _give_up(self, task: asyncio.Task[DeployOutcome]) -> None:
        if not self._committing:
            task.cancel()
        await asyncio.wait([task])

    def _finished(self, task: asyncio.Task[DeployOutcome]) -> None:
        running, self._running, self._task = self._running, None, None
        self._committing = False
        assert running is not None
        if task.cancelled():
            _log.info("the deploy of model %s was given up", running.sha256)
        elif error := task.exception():
            _log.warning("model %s from %s is refused: %s", running.sha256, running.peer, error)

    async def _deploy(self, model: bytes, sha256: str, validate_only: bool) -> DeployOutcome:
        steps = Steps()
        await check_digest(steps, model, sha256)
        if sha256 == self._active:
            return await self._already_active(steps, sha256)
        classifier = await judge(steps, self._start, model, sha256, self._fit)
        if validate_only:
            await classifier.close()
            held = StoredModel(sha256=sha256, spec=classifier.spec, size_bytes=len(model))
            return DeployOutcome(model=held, report=steps.report())
        return await self._commit(steps, classifier, model)

    async def _activate(self, sha256: str) -> DeployOutcome:
        steps = Steps()
        if sha256 == self._active:
            return await self._already_active(steps, sha256)
        with steps.step("digest") as facts:
            model = await asyncio.to_thread(self._store.read, sha256)
            facts["size_bytes"] = str(len(model))
        classifier = await judge(steps, self._start, model, sha256, self._fit)
        return await self._commit(steps, classifier, None)

    async def _already_active(self, steps: Steps, sha256: str) -> DeployOutcome:
        model = await asyncio.to_thread(self._store.get, sha256)
        return DeployOutcome(
            model=self._as_running(model), report=steps.report(), already_active=True
        )

    async def _commit(
        self, steps: Steps, classifier: Classifier, model: bytes | None
    ) -> DeployOutcome:
        """Store a model that has passed, or take the stored one (None), and swap it in."""
        self._committing = True
        sha256 = classifier.sha256
        with contextlib.ExitStack() as undo:
            try:
                if model is not None:
                    with steps.step("store"):
                        await asyncio.to_thread(self._keep, undo, model, classifier)
                classifier.reload_from(lambda: self._store.read(sha256))
                with steps.step("swap") as facts:
                    await asyncio.to_thread(self._record, undo, sha256)
                    session_id, swap_sequence = self._swap.swap(classifier)
                    facts |= {"session_id": str(session_id), "swap_sequence": str(swap_sequence)}
            except BaseException:
                await classifier.close()
                raise
            undo.pop_all()
        self._active = sha256
        _log.info("model %s is active from sequence %d on", sha256, swap_sequence)
        return DeployOutcome(
            model=self._as_running(await asyncio.to_thread(self._store.get, sha256)),
            report=steps.report(),
            session_id=session_id,
            swap_sequence=swap_sequence,
        )

    def _keep(self, undo: contextlib.ExitStack, model: bytes, classifier: Classifier) -> None:
        sha256 = classifier.sha256
        if all(stored.sha256 != sha256 for stored in self._store.models()):
            undo.callback(_try, self._store.remove, sha256)
        self._store.put(sha256, model, classifier.spec)

    def _record(self, undo: contextlib.ExitStack, sha256: str) -> None:
        before = self._store.record()
        if before.active != sha256:
            undo.callback(_try, self._store.set_record, before)
            self._store.set_record(ActiveRecord(sha256, before.active))

    def _as_running(self, model: StoredModel) -> StoredModel:
        """With the state that holds: a recorded model that did not start is not active."""
        if model.sha256 == self._active:
            return dataclasses.replace(model, state=ModelState.ACTIVE)
        if model.state is ModelState.ACTIVE:
            return dataclasses.replace(model, state=ModelState.STORED)
        return model


def _try(undo: Callable[[_T], None], argument: _T) -> None:
    """Undo one thing; what a failing disk leaves, the next start removes or can live with."""
    try:
        undo(argument)
    except StoreFullError as error:
        _log.error("a failed deploy could not be undone: %s", error)


def _in_progress(running: _Running) -> DeployInProgressError:
    return DeployInProgressError(
        f"a deploy of model {running.sha256[:12]} by {running.peer or 'another client'} has been "
        f"running since {running.start_time}; wait for it to end, then try again",
        sha256=running.sha256,
        peer=running.peer,
        start_time=running.start_time,
    )
