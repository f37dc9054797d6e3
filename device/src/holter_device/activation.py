"""Which model is active: how one becomes it, how it does on probation, and how a device goes back.

A swap is recorded before it is made. Then the new model is on probation, with the classifier before
kept warm; a verdict of its windows ends it, or sends the device back: a swap as any other, with its
own sequence. A model before which there was none has no probation, as there is nothing to go back
to.
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

from holter.signature import ModelSignature
from holter.spec import ModelSpec

from .classifier import Classifier, StartClassifier
from .errors import (
    DeployInProgressError,
    DeviceError,
    ModelNotFoundError,
    ModelRefusedError,
    StoreFullError,
)
from .gate import Steps, judge
from .probation import CRASHES, ReturnCause, Rules, Verdict, Watch
from .runtime.fit import DeviceFit
from .store import ActiveRecord, ModelStore, Probation, ProbationState
from .turn import Turn

# A start of holterd that lives so long is none of those that die, whatever the ECG is.
PROOF_SECONDS = 60.0

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

# Where a swap is: (session_id, swap_sequence).
Place = tuple[int, int]


class Swap(Protocol):
    """Whoever sends windows to the active classifier."""

    saw: Callable[[Classifier, float, Exception | None], None]

    def swap(self, classifier: Classifier | None, *, keep: bool = False) -> Place:
        """Send windows to this classifier from (session_id, swap_sequence) on.

        The classifier before is closed, once its windows are done, by whoever swaps, unless it is
        to be kept.
        """

    def retire(self, classifier: Classifier) -> None:
        """Close a classifier that was kept, once its windows are done."""


class Activation:
    """The active model of a device.

    Args:
        store: keeps the models, and the record of which is active.
        swap: takes the classifier that is to be active.
        start: starts a classifier without a model.
        fit: what a model must fit.
        rules: how long a model is on probation.
        turn: taken for a return that the device itself decides.

    Attributes:
        sha256: the active model; "" where there is none.
    """

    def __init__(
        self,
        store: ModelStore,
        swap: Swap,
        start: StartClassifier,
        fit: DeviceFit,
        rules: Rules,
        turn: Turn,
    ) -> None:
        self._store = store
        self._swap = swap
        self._start = start
        self._fit = fit
        self._rules = rules
        self._turn = turn
        self.sha256 = ""
        self._classifier: Classifier | None = None
        self._warm: Classifier | None = None
        self._probation: Probation | None = None
        self._watch: Watch | None = None
        self._unproven = False
        self._surviving: asyncio.TimerHandle | None = None
        self._recording = asyncio.Lock()
        self._verdict: asyncio.Task[None] | None = None
        self._closed = False
        swap.saw = self._saw

    @property
    def spec(self) -> ModelSpec | None:
        """What the active model says of itself; None where there is none."""
        return self._classifier.spec if self._classifier is not None else None

    @property
    def way_back(self) -> str:
        """The model to which the device can go back at once; "" where there is no probation."""
        return self._probation.previous if self._probation is not None else ""

    async def probation(self) -> Probation | None:
        """The newest probation, running or over."""
        running = self._probation
        if running is None or self._watch is None:
            return (await asyncio.to_thread(self._store.record)).probation
        return dataclasses.replace(running, window_count=self._watch.window_count)

    def check_free(self) -> None:
        """Whether another model can be put in the place of the active one.

        Raises:
            DeployInProgressError: it is on probation.
        """
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

    async def commit(
        self,
        steps: Steps,
        classifier: Classifier,
        model: bytes | None,
        peer: str,
        signature: ModelSignature | None = None,
    ) -> Place:
        """Store a model that has passed, or take the stored one (None), and swap it in.

        Raises:
            StoreFullError: it cannot be written down; all is as it was.
        """
        self._turn.commit()
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
                        await asyncio.to_thread(self._keep, undo, model, classifier, signature)
                classifier.reload_from(lambda: self._store.read(sha256))
                with steps.step("swap") as facts:
                    async with self._recording:
                        await asyncio.to_thread(self._record, undo, sha256, probation)
                    session_id, swap_sequence = self._swap.swap(
                        classifier, keep=probation is not None
                    )
                    facts |= _swapped(session_id, swap_sequence, probation)
            except BaseException:
                await classifier.close()
                raise
            undo.pop_all()
        self._warm = before if probation is not None else None
        self._now_active(classifier, probation, swap_sequence)
        return session_id, swap_sequence

    async def go_back(self, steps: Steps, verdict: Verdict) -> Place:
        """Go back to the model before.

        Raises:
            ModelNotFoundError: there is none.
            DeviceError: it does not start.
        """
        record = await asyncio.to_thread(self._store.record)
        failed, target = self.sha256 or record.active, self.way_back or record.previous
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
        self._turn.commit()
        assert verdict.cause is not None
        # Nobody is to go "back" by accident to a model that failed.
        before = failed if verdict.cause is ReturnCause.ROLLED_BACK else ""
        with steps.step("swap") as facts:
            over = self._over(record, ProbationState.RETURNED, verdict)
            new = dataclasses.replace(over, active=target, previous=before, starts=0)
            await self._change(lambda _record: new)
            session_id, swap_sequence = self._swap.swap(warm)
            facts |= _swapped(session_id, swap_sequence, None)
        self._now_active(warm, None, swap_sequence)
        return session_id, swap_sequence

    async def restore(self, steps: Steps, record: ActiveRecord) -> Place:
        """Bring back the active model of the record, or the one before it.

        Raises:
            DeviceError: neither starts.
        """
        sha256 = record.active
        await self._change(lambda now: dataclasses.replace(now, starts=record.starts + 1))
        if record.starts >= CRASHES and record.previous:
            reason = f"holterd was started with it {record.starts} times and ended each time"
            return await self.go_back(steps, Verdict(ReturnCause.CRASH_LOOP, reason))
        try:
            classifier = await self._started(steps, sha256)
        except (ModelRefusedError, OSError) as error:
            if not record.previous:
                raise
            return await self.go_back(steps, Verdict(ReturnCause.NOT_RESTORED, str(error)))
        try:
            probation = await self._resumed(record.probation)
        except BaseException:
            await classifier.close()
            raise
        place = self._swap.swap(classifier)
        self._now_active(classifier, probation, place[1])
        self._unproven = True
        self._surviving = asyncio.get_running_loop().call_later(
            _proof_seconds(classifier.spec), self._survived
        )
        return place

    def stop(self) -> None:
        """Take no verdict any more."""
        self._closed = True

    async def close(self) -> None:
        """Stop, and end the classifier that is kept.

        A probation that is running stays in the record, and the next start resumes it.
        """
        self.stop()
        if self._surviving is not None:
            self._surviving.cancel()
        if self._verdict is not None:
            await asyncio.wait([self._verdict])
        if self._warm is not None:
            self._swap.retire(self._warm)
            self._warm = None
        await self._prove_start()

    async def _resumed(self, probation: Probation | None) -> Probation | None:
        """A probation that was running, with the model before ready again; None for any other."""
        if probation is None or probation.state is not ProbationState.RUNNING:
            return None
        try:
            self._warm = await self._started(Steps(), probation.previous)
        except (DeviceError, OSError) as error:
            _log.error("there is no going back to %s: %s", probation.previous, error)
        return probation

    def _now_active(
        self, classifier: Classifier, probation: Probation | None, swap_sequence: int
    ) -> None:
        self._classifier, self.sha256 = classifier, classifier.sha256
        self._probation, self._unproven = probation, False
        rules = self._rules if probation is not None else None
        self._watch = Watch(rules, self._fit.hop_seconds(classifier.spec))
        _log.info("model %s is active from sequence %d on", self.sha256, swap_sequence)

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
        self._carry_out(work)

    def _carry_out(self, work: Coroutine[Any, Any, None]) -> None:
        self._verdict = asyncio.create_task(work, name="verdict")
        self._verdict.add_done_callback(self._concluded)

    def _survived(self) -> None:
        """A start that has lived so long is none that dies, even where no window had a class."""
        if self._unproven and self._verdict is None and not self._closed:
            self._carry_out(self._prove_start())

    def _concluded(self, task: asyncio.Task[None]) -> None:
        self._verdict = None
        if not task.cancelled() and (error := task.exception()):
            _log.error("a verdict could not be carried out: %s", error, exc_info=error)

    async def _conclude(self, classifier: Classifier, verdict: Verdict) -> None:
        await self._turn.wait_until_free()  # of one that is being refused, or goes back by itself
        if classifier is not self._classifier or self._closed:
            return
        if verdict.cause is None:
            await self._pass()
            return
        work = self.go_back(Steps(), verdict)
        try:
            await self._turn.take(classifier.sha256, "the device itself", work)
        except (DeviceError, OSError) as error:
            _log.error("model %s stays, as %s", classifier.sha256, error)

    async def _pass(self) -> None:
        """End a probation; the classifier before ends with it."""
        await self._change(lambda record: self._over(record, ProbationState.PASSED))
        _log.info("model %s has passed its probation", self.sha256)
        warm, self._warm, self._probation = self._warm, None, None
        assert self._classifier is not None
        self._watch = Watch(None, self._fit.hop_seconds(self._classifier.spec))
        if warm is not None:
            self._swap.retire(warm)

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
            except (StoreFullError, OSError) as error:
                _log.error("the record of the active model is the old one: %s", error)

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

    def _keep(
        self,
        undo: contextlib.ExitStack,
        model: bytes,
        classifier: Classifier,
        signature: ModelSignature | None,
    ) -> None:
        sha256 = classifier.sha256
        if all(stored.sha256 != sha256 for stored in self._store.models()):
            undo.callback(_try, self._store.remove, sha256)
        self._store.put(sha256, model, classifier.spec, signature)

    def _record(self, undo: contextlib.ExitStack, sha256: str, probation: Probation | None) -> None:
        before = self._store.record()
        # What runs, not what the record says: the disk may have refused a return.
        previous = self.sha256 or (before.previous if before.active == sha256 else before.active)
        undo.callback(_try, self._store.set_record, before)
        self._store.set_record(ActiveRecord(sha256, previous, probation))


def _proof_seconds(spec: ModelSpec) -> float:
    """How long a start must live to be none that dies: long enough for a few windows."""
    return max(PROOF_SECONDS, (spec.window + 3 * spec.hop) / spec.rate_hz)


def _swapped(session_id: int, swap_sequence: int, probation: Probation | None) -> dict[str, str]:
    """What the gate tells of a swap."""
    return {
        "session_id": str(session_id),
        "swap_sequence": str(swap_sequence),
        "probation": "none" if probation is None else "begins",
    }


def _try(undo: Callable[[_T], None], argument: _T) -> None:
    """Undo one thing; what a failing disk leaves, the next start removes or can live with."""
    try:
        undo(argument)
    except StoreFullError as error:
        _log.error("a failed deploy could not be undone: %s", error)
