"""Puts models through the gate, keeps them, and swaps them in; one deploy at a time.

The order is: judged by the gate in a new classifier, stored durably, recorded as active, swapped.
Before "stored" a deploy that fails, or whose caller goes away, leaves no trace; from there on it is
carried through whoever goes away, so that nothing is half done.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging

from holter.signature import ModelSignature

from .activation import Activation, Place, Swap
from .classifier import StartClassifier
from .errors import DeviceError, ModelInUseError, ModelTooLargeError
from .gate import GateReport, Steps, check_digest, check_signature, judge
from .probation import ReturnCause, Rules, Verdict
from .runtime.fit import DeviceFit
from .signing import Trust
from .store import ActiveRecord, ModelState, ModelStore, Probation, StoredModel
from .turn import Turn

_log = logging.getLogger(__name__)


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


class Deployer:
    """Deploys and activates models.

    Args:
        store: keeps the models.
        swap: takes the classifier that is to be active.
        start: starts a classifier without a model.
        fit: what a model must fit.
        max_model_bytes: size of the largest file that is taken.
        rules: how long a model is on probation.
        trust: whose models are taken.
    """

    def __init__(
        self,
        store: ModelStore,
        swap: Swap,
        start: StartClassifier,
        fit: DeviceFit,
        max_model_bytes: int = 64 * 2**20,
        rules: Rules = Rules(),  # noqa: B008 (it cannot be changed)
        trust: Trust = Trust(),  # noqa: B008 (nor can this)
    ) -> None:
        self._store = store
        self._start = start
        self._fit = fit
        self._max_model_bytes = max_model_bytes
        self._trust = trust
        self._turn = Turn()
        self._active = Activation(store, swap, start, fit, rules, self._turn)

    async def deploy(
        self,
        model: bytes,
        sha256: str,
        *,
        signature: ModelSignature | None = None,
        validate_only: bool = False,
        peer: str = "",
    ) -> DeployOutcome:
        """Judge a model and, if it passes, store it and swap it in.

        Args:
            model: the whole file.
            sha256: its digest, in lower-case hex.
            signature: who vouches for it.
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
        work = self._deploy(model, sha256, signature, validate_only, peer)
        return await self._turn.take(sha256, peer, work)

    async def activate(self, sha256: str, *, peer: str = "") -> DeployOutcome:
        """Put a stored model through the gate again, and swap it in.

        During a probation only the model before can be activated: it is there still, so the device
        goes back to it at once.

        Raises:
            ModelNotFoundError: the store has none of this name.
            ModelRefusedError: as `deploy`.
        """
        return await self._turn.take(sha256, peer, self._activate(sha256, peer))

    async def delete(self, sha256: str, *, peer: str = "") -> StoredModel:
        """Forget a stored model.

        Returns:
            It, as it was.

        Raises:
            ModelNotFoundError: the store has none of this name.
            ModelInUseError: it is active, or the one to go back to.
            StoreFullError: the disk does not let it.
        """
        return await self._turn.take(sha256, peer, self._delete(sha256))

    async def models(self) -> tuple[StoredModel, ...]:
        """All models: the active one first, then by store_time, newest first."""
        return tuple(map(self._as_running, await asyncio.to_thread(self._store.models)))

    async def probation(self) -> Probation | None:
        """The newest probation, running or over."""
        return await self._active.probation()

    async def restore(self) -> StoredModel | None:
        """Bring back the active model of the store, when holterd starts.

        If that one has been started several times and died each time, or cannot be started, the
        model before takes its place. A probation that was running begins again.

        Returns:
            The active model, or None where there is none or none passes; the log then says why.
        """
        try:
            record = await asyncio.to_thread(self._store.record)
        except OSError as error:
            _log.error("there is no active model, as its record cannot be read: %s", error)
            return None
        if not record.active:
            return None
        work = self._restore(record)
        try:
            outcome = await self._turn.take(record.active, "the start of holterd", work)
        except (DeviceError, OSError) as error:
            _log.error(
                "there is no active model, as %s cannot be restored: %s", record.active, error
            )
            return None
        return outcome.model

    async def close(self) -> None:
        """Take nothing more. What runs and is not stored yet is given up, else carried through.

        A probation that is running is resumed by the next start.
        """
        self._active.stop()
        await self._turn.close()
        await self._active.close()

    async def _deploy(
        self,
        model: bytes,
        sha256: str,
        signature: ModelSignature | None,
        validate_only: bool,
        peer: str,
    ) -> DeployOutcome:
        steps = Steps()
        await check_digest(steps, model, sha256)
        if sha256 == self._active.sha256:
            return await self._already_active(steps, sha256)
        self._active.check_free()
        check_signature(steps, self._trust, sha256, signature)
        active = self._active.spec
        classifier = await judge(
            steps,
            self._start,
            model,
            sha256,
            self._fit,
            lambda spec: self._trust.check_version(spec, active),
        )
        if validate_only:
            await classifier.close()
            held = StoredModel(
                sha256=sha256, spec=classifier.spec, size_bytes=len(model), signature=signature
            )
            return DeployOutcome(model=held, report=steps.report())
        place = await self._active.commit(steps, classifier, model, peer, signature)
        return await self._outcome(steps, place)

    async def _activate(self, sha256: str, peer: str) -> DeployOutcome:
        steps = Steps()
        if sha256 == self._active.sha256:
            return await self._already_active(steps, sha256)
        if sha256 == self._active.way_back:
            reason = f"{peer or 'a client'} asked for the model before"
            verdict = Verdict(ReturnCause.ROLLED_BACK, reason)
            return await self._outcome(steps, await self._active.go_back(steps, verdict))
        self._active.check_free()
        with steps.step("digest") as facts:
            model = await asyncio.to_thread(self._store.read, sha256)
            facts["size_bytes"] = str(len(model))
        # An older version may come back: this device took it before, and somebody asks for it.
        stored = await asyncio.to_thread(self._store.get, sha256)
        check_signature(steps, self._trust, sha256, stored.signature)
        classifier = await judge(steps, self._start, model, sha256, self._fit)
        place = await self._active.commit(steps, classifier, None, peer)
        return await self._outcome(steps, place)

    async def _delete(self, sha256: str) -> StoredModel:
        model = self._as_running(await asyncio.to_thread(self._store.get, sha256))
        record = await asyncio.to_thread(self._store.record)
        if sha256 in (self._active.sha256, record.active, record.previous):
            active = sha256 == self._active.sha256 or sha256 == record.active
            role = "the active one" if active else "the one before the active one"
            raise ModelInUseError(
                f"model {sha256[:12]} is {role} on this device and stays; activate another one "
                "first",
                sha256=sha256,
                state=model.state.name,
            )
        self._turn.commit()
        await asyncio.to_thread(self._store.remove, sha256)
        _log.info("model %s is deleted", sha256)
        return model

    async def _restore(self, record: ActiveRecord) -> DeployOutcome:
        steps = Steps()
        return await self._outcome(steps, await self._active.restore(steps, record))

    async def _already_active(self, steps: Steps, sha256: str) -> DeployOutcome:
        model = await asyncio.to_thread(self._store.get, sha256)
        return DeployOutcome(
            model=self._as_running(model), report=steps.report(), already_active=True
        )

    async def _outcome(self, steps: Steps, place: Place) -> DeployOutcome:
        model = await asyncio.to_thread(self._store.get, self._active.sha256)
        return DeployOutcome(
            model=self._as_running(model),
            report=steps.report(),
            session_id=place[0],
            swap_sequence=place[1],
        )

    def _as_running(self, model: StoredModel) -> StoredModel:
        """With the state that holds: a recorded model that did not start is not active."""
        if model.sha256 == self._active.sha256:
            return dataclasses.replace(model, state=ModelState.ACTIVE)
        if model.state is ModelState.ACTIVE:
            return dataclasses.replace(model, state=ModelState.STORED)
        return model
