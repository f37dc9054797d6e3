"""Puts models through the gate, keeps them, and swaps them in; one deploy at a time.

The order is: judged by the gate in a new classifier, stored durably, recorded as active, swapped.
Before "stored" a deploy that fails, or whose caller goes away, leaves no trace; from there on it is
carried through whoever goes away, so that nothing is half done.

Then the new model is on probation, with the classifier before kept warm; a verdict of its windows
ends it, or sends the device back: a swap as any other, with its own sequence. A model before which
there was none has no probation, as there is nothing to go back to.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from .classifier import Classifier, StartClassifier
from .errors import (
    ClassifierUnavailableError,
    DeployInProgressError,
    DeviceError,
    ModelInUseError,
    ModelNotFoundError,
    ModelRefusedError,
    ModelTooLargeError,
    StoreFullError,
)
from .gate import GateReport, Steps, check_digest, judge
from .probation import CRASHES, ReturnCause, Rules, Verdict, Watch
from .runtime.fit import DeviceFit
from .store import (
    ActiveRecord,
    ModelState,
    ModelStore,
    Probation,
    ProbationState,
    StoredModel,
)

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class Swap(Protocol):
    """Whoever sends windows to the active classifier."""

    saw: Callable[[Classifier, float, Exception | None], None]

    def swap(self, classifier: Classifier | None, *, keep: bool = False) -> tuple[int, int]:
        """Send windows to this classifier from (session_id, swap_sequence) on.

        The classifier before is closed, once its windows are done, by whoever swaps, unless it is
        to be kept.
        """

    def retire(self, classifier: Classifier) -> None:
        """Close a classifier that was kept, once its windows are done."""


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
        rules: how long a model is on probation.
    """

    def __init__(
        self,
        store: ModelStore,
        swap: Swap,
        start: StartClassifier,
        fit: DeviceFit,
        max_model_bytes: int = 64 * 2**20,
        rules: Rules = Rules(),  # noqa: B008 (it cannot be changed)
    ) -> None:
        self._store = store
        self._swap = swap
        self._start = start
        self._fit = fit
        self._max_model_bytes = max_model_bytes
        self._rules = rules
        self._active = ""
        self._classifier: Classifier | None = None
        self._warm: Classifier | None = None
        self._probation: Probation | None = None
        self._watch: Watch | None = None
        self._unproven = False
        self._recording = asyncio.Lock()
        self._verdict: asyncio.Task[None] | None = None
        self._closed = False
        self._running: _Running | None = None
        self._task: asyncio.Task[DeployOutcome] | None = None
        self._committing = False
        swap.saw = self._saw

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
        return await self._alone(sha256, peer, self._deploy(model, sha256, validate_only, peer))

    async def activate(self, sha256: str, *, peer: str = "") -> DeployOutcome:
        """Put a stored model through the gate again, and swap it in.

        During a probation only the model before can be activated: it is there still, so the device
        goes back to it at once.

        Raises:
            ModelNotFoundError: the store has none of this name.
            ModelRefusedError: as `deploy`.
        """
        return await self._alone(sha256, peer, self._activate(sha256, peer))

    async def delete(self, sha256: str, *, peer: str = "") -> StoredModel:
        """Forget a stored model.

        Returns:
            It, as it was.

        Raises:
            ModelNotFoundError: the store has none of this name.
            ModelInUseError: it is active, or the one to go back to.
            StoreFullError: the disk does not let it.
        """
        return (await self._alone(sha256, peer, self._delete(sha256))).model

    async def models(self) -> tuple[StoredModel, ...]:
        """All models: the active one first, then by store_time, newest first."""
        return tuple(map(self._as_running, await asyncio.to_thread(self._store.models)))

    async def probation(self) -> Probation | None:
        """The newest probation, running or over."""
        running = self._probation
        if running is None or self._watch is None:
            return (await asyncio.to_thread(self._store.record)).probation
        return dataclasses.replace(running, window_count=self._watch.window_count)

    async def restore(self) -> StoredModel | None:
        """Bring back the active model of the store, when holterd starts.

        If that one has been started several times and died each time, or cannot be started, the
        model before takes its place. A probation that was running begins again.

        Returns:
            The active model, or None where there is none or none passes; the log then says why.
        """
        record = await asyncio.to_thread(self._store.record)
        if not record.active:
            return None
        work = self._restore(record)
        try:
            outcome = await self._alone(record.active, "the start of holterd", work)
        except (DeviceError, OSError) as error:
            _log.error(
                "there is no active model, as %s cannot be restored: %s", record.active, error
            )
            return None
        return outcome.model

    async def close(self) -> None:
        """End what is running: before it is stored it is given up, else carried through.

        A probation that is running stays in the record, and the next start resumes it.
        """
        self._closed = True
        if self._task is not None:
            await self._give_up(self._task)
        if self._verdict is not None:
            await asyncio.wait([self._verdict])
        if self._warm is not None:
            self._swap.retire(self._warm)
            self._warm = None
        await self._prove_start()

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

    async def _deploy(
        self, model: bytes, sha256: str, validate_only: bool, peer: str
    ) -> DeployOutcome:
        steps = Steps()
        await check_digest(steps, model, sha256)
        if sha256 == self._active:
            return await self._already_active(steps, sha256)
        self._check_probation()
        classifier = await judge(steps, self._start, model, sha256, self._fit)
        if validate_only:
            await classifier.close()
            held = StoredModel(sha256=sha256, spec=classifier.spec, size_bytes=len(model))
            return DeployOutcome(model=held, report=steps.report())
        return await self._commit(steps, classifier, model, peer)

    async def _activate(self, sha256: str, peer: str) -> DeployOutcome:
        steps = Steps()
        if sha256 == self._active:
            return await self._already_active(steps, sha256)
        if self._probation is not None and sha256 == self._probation.previous:
            reason = f"{peer or 'a client'} asked for the model before"
            return await self._return(steps, Verdict(ReturnCause.ROLLED_BACK, reason))
        self._check_probation()
        with steps.step("digest") as facts:
            model = await asyncio.to_thread(self._store.read, sha256)
            facts["size_bytes"] = str(len(model))
        classifier = await judge(steps, self._start, model, sha256, self._fit)
        return await self._commit(steps, classifier, None, peer)

    async def _delete(self, sha256: str) -> DeployOutcome:
        model = self._as_running(await asyncio.to_thread(self._store.get, sha256))
        record = await asyncio.to_thread(self._store.record)
        if sha256 in (self._active, record.active, record.previous):
            raise ModelInUseError(
                f"model {sha256[:12]} is {model.state.name.lower()} on this device and stays; "
                "activate another one first",
                sha256=sha256,
                state=model.state.name,
            )
        self._committing = True
        await asyncio.to_thread(self._store.remove, sha256)
        _log.info("model %s is deleted", sha256)
        return DeployOutcome(model=model)

    async def _already_active(self, steps: Steps, sha256: str) -> DeployOutcome:
        model = await asyncio.to_thread(self._store.get, sha256)
        return DeployOutcome(
            model=self._as_running(model), report=steps.report(), already_active=True
        )

    async def _commit(
        self, steps: Steps, classifier: Classifier, model: bytes | None, peer: str
    ) -> DeployOutcome:
        """Store a model that has passed, or take the stored one (None), and swap it in."""
        self._committing = True
        sha256, before = classifier.sha256, self._classifier
        probation = None
        if before is not None and self._rules:
            probation = Probation(
                sha256=sha256, previous=before.sha256, peer=peer, start_time_ns=time.time_ns()
            )
        with contextlib.ExitStack() as undo:
            try:
                if model is not None:
                    with steps.step("store"):
                        await asyncio.to_thread(self._keep, undo, model, classifier)
                classifier.reload_from(lambda: self._store.read(sha256))
                with steps.step("swap") as facts:
                    async with self._recording:
                        await asyncio.to_thread(self._record, undo, sha256, probation)
                    session_id, swap_sequence = self._swap.swap(
                        classifier, keep=probation is not None
                    )
                    facts |= {"session_id": str(session_id), "swap_sequence": str(swap_sequence)}
            except BaseException:
                await classifier.close()
                raise
            undo.pop_all()
        self._warm = before if probation is not None else None
        self._now_active(classifier, probation)
        return await self._outcome(steps, session_id, swap_sequence)

    async def _outcome(self, steps: Steps, session_id: int, swap_sequence: int) -> DeployOutcome:
        _log.info("model %s is active from sequence %d on", self._active, swap_sequence)
        return DeployOutcome(
            model=self._as_running(await asyncio.to_thread(self._store.get, self._active)),
            report=steps.report(),
            session_id=session_id,
            swap_sequence=swap_sequence,
        )

    def _now_active(self, classifier: Classifier, probation: Probation | None) -> None:
        self._classifier, self._active = classifier, classifier.sha256
        self._probation, self._unproven = probation, False
        rules = self._rules if probation is not None else None
        self._watch = Watch(rules, self._fit.hop_seconds(classifier.spec))

    def _check_probation(self) -> None:
        probation = self._probation
        if probation is not None:
            since = datetime.datetime.fromtimestamp(probation.start_time_ns / 1e9, datetime.UTC)
            start_time = since.isoformat(timespec="seconds")
            raise DeployInProgressError(
                f"model {probation.sha256[:12]}, deployed by {probation.peer or 'a client'}, has "
                f"been on probation since {start_time}; wait for its verdict (`holter models`), or "
                "go back with `holter rollback`",
                sha256=probation.sha256,
                peer=probation.peer,
                start_time=start_time,
            )

    def _saw(self, classifier: Classifier, seconds: float, error: Exception | None) -> None:
        """Take note of a window of the active model; a verdict is carried out beside it."""
        if classifier is not self._classifier or self._watch is None or self._closed:
            return
        if self._verdict is not None:
            return
        verdict = self._watch.see(seconds, error)
        if verdict is not None:
            work = self._conclude(classifier, verdict)
        elif self._unproven and error is None:
            work = self._prove_start()
        else:
            return
        self._verdict = asyncio.create_task(work, name="verdict")
        self._verdict.add_done_callback(self._concluded)

    def _concluded(self, task: asyncio.Task[None]) -> None:
        self._verdict = None
        if not task.cancelled() and (error := task.exception()):
            _log.error("a verdict could not be carried out: %s", error, exc_info=error)

    async def _conclude(self, classifier: Classifier, verdict: Verdict) -> None:
        while self._task is not None:  # one that is being refused, or goes back by itself
            await asyncio.wait([self._task])
        if classifier is not self._classifier or self._closed:
            return
        if verdict.cause is None:
            await self._pass()
            return
        work = self._return(Steps(), verdict)
        try:
            await self._alone(classifier.sha256, "the device itself", work)
        except (DeviceError, OSError) as error:
            _log.error("model %s stays, as %s", classifier.sha256, error)

    async def _pass(self) -> None:
        """End a probation; the classifier before ends with it."""
        await self._change(lambda record: self._over(record, ProbationState.PASSED))
        _log.info("model %s has passed its probation", self._active)
        warm, self._warm, self._probation = self._warm, None, None
        assert self._classifier is not None
        self._watch = Watch(None, self._fit.hop_seconds(self._classifier.spec))
        if warm is not None:
            self._swap.retire(warm)

    async def _return(self, steps: Steps, verdict: Verdict) -> DeployOutcome:
        """Go back to the model before.

        Raises:
            ModelNotFoundError: there is none.
            DeviceError: it does not start.
        """
        record = await asyncio.to_thread(self._store.record)
        failed, target = record.active, record.previous
        if not target:
            raise ModelNotFoundError("there is no model before it to go back to", sha256=failed)
        _log.warning("going back from model %s to %s: %s", failed, target, verdict.reason)
        warm, self._warm = self._warm, None
        if warm is None:
            warm = await self._started(steps, target)
        else:
            try:
                await warm.revive()
            except BaseException:
                await warm.close()
                raise
        self._committing = True
        assert verdict.cause is not None
        # Nobody is to go "back" by accident to a model that failed.
        before = failed if verdict.cause is ReturnCause.ROLLED_BACK else ""
        with steps.step("swap") as facts:
            over = self._over(record, ProbationState.RETURNED, verdict)
            new = dataclasses.replace(over, active=target, previous=before, starts=0)
            await self._change(lambda _record: new)
            session_id, swap_sequence = self._swap.swap(warm)
            facts |= {"session_id": str(session_id), "swap_sequence": str(swap_sequence)}
        self._now_active(warm, None)
        return await self._outcome(steps, session_id, swap_sequence)

    def _over(
        self, record: ActiveRecord, state: ProbationState, verdict: Verdict | None = None
    ) -> ActiveRecord:
        """The record with its probation over; one for a return that had none."""
        probation = record.probation
        if probation is None or probation.state is not ProbationState.RUNNING:
            probation = Probation(sha256=record.active, previous=record.previous)
        return dataclasses.replace(
            record,
            probation=dataclasses.replace(
                probation,
                state=state,
                end_time_ns=time.time_ns(),
                window_count=self._watch.window_count if self._watch else 0,
                cause=int(verdict.cause or 0) if verdict else 0,
                reason=verdict.reason if verdict else "",
            ),
        )

    async def _change(self, change: Callable[[ActiveRecord], ActiveRecord]) -> None:
        """Change the record; where the disk refuses, what is done is done without it."""
        async with self._recording:
            try:
                record = await asyncio.to_thread(self._store.record)
                await asyncio.to_thread(self._store.set_record, change(record))
            except StoreFullError as error:
                _log.error("the record of the active model is the old one: %s", error)

    async def _restore(self, record: ActiveRecord) -> DeployOutcome:
        steps, sha256 = Steps(), record.active
        await self._change(lambda now: dataclasses.replace(now, starts=record.starts + 1))
        if record.starts >= CRASHES and record.previous:
            reason = f"holterd was started with it {record.starts} times and ended each time"
            return await self._return(steps, Verdict(ReturnCause.CRASH_LOOP, reason))
        try:
            classifier = await self._started(steps, sha256)
        except ModelRefusedError as error:
            if not record.previous:
                raise
            return await self._return(steps, Verdict(ReturnCause.NOT_RESTORED, str(error)))
        probation = record.probation
        if probation is not None and probation.state is ProbationState.RUNNING:
            try:
                self._warm = await self._started(Steps(), probation.previous)
            except DeviceError as error:
                _log.error("there is no going back to %s: %s", probation.previous, error)
        else:
            probation = None
        self._now_active(classifier, probation)
        self._unproven = True
        return await self._outcome(steps, *self._swap.swap(classifier))

    async def _started(self, steps: Steps, sha256: str) -> Classifier:
        """A classifier with a stored model; not timed, as a starting machine is slow."""
        with steps.step("digest") as facts:
            model = await asyncio.to_thread(self._store.read, sha256)
            facts["size_bytes"] = str(len(model))
        fit = dataclasses.replace(self._fit, speed=0.0)
        classifier = await judge(steps, self._start, model, sha256, fit)
        classifier.reload_from(lambda: self._store.read(sha256))
        return classifier

    async def _prove_start(self) -> None:
        """This start was none of those that die."""
        if self._unproven:
            self._unproven = False
            await self._change(lambda record: dataclasses.replace(record, starts=0))

    def _keep(self, undo: contextlib.ExitStack, model: bytes, classifier: Classifier) -> None:
        sha256 = classifier.sha256
        if all(stored.sha256 != sha256 for stored in self._store.models()):
            undo.callback(_try, self._store.remove, sha256)
        self._store.put(sha256, model, classifier.spec)

    def _record(self, undo: contextlib.ExitStack, sha256: str, probation: Probation | None) -> None:
        before = self._store.record()
        previous = before.previous if before.active == sha256 else before.active
        undo.callback(_try, self._store.set_record, before)
        self._store.set_record(ActiveRecord(sha256, previous, probation))

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
