"""Laws of probation: a model that does worse than the last goes, by itself, and loses no window."""

from __future__ import annotations

import asyncio
import errno
import math
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holter_device.classifier import Classifier, ClassifierFailedError, ScoresNotFiniteError
from holter_device.deploy import Deployer
from holter_device.errors import (
    ClassifierUnavailableError,
    DeployInProgressError,
    DeviceError,
    ModelMalformedError,
    ModelTimeoutError,
    StoreFullError,
)
from holter_device.gate import digest
from holter_device.grid import Grid
from holter_device.pipeline import Pipeline
from holter_device.probation import CRASHES, ReturnCause, Rules, Verdict, Watch
from holter_device.runtime.fit import DeviceFit
from holter_device.samples import (
    Block,
    Channel,
    Classification,
    ModelChange,
    SampleFormat,
    Session,
)
from holter_device.store import ActiveRecord, FileModelStore, ProbationState
from holter_device.windows import window_ends
from support.classifiers import ScriptedClassifier, counts_spec

FIT = DeviceFit(1.0, (Channel("A0"),), SampleFormat.U8, 120, speed=0.0)
OLD, NEW, THIRD = b"old", b"new", b"third"
WINDOWS = 4
NOT_FINITE = ScoresNotFiniteError("the model gave scores that are not finite")
FAILED = ClassifierFailedError("the model failed on a window")
ENDED = ClassifierUnavailableError("the classifier process was ended by SIGSEGV")
EXPIRED = ModelTimeoutError("too long")


class Device:
    """A deployer and a pipeline over a store, with scripted classifiers; frames come when fed."""

    def __init__(self, directory: Path) -> None:
        self.store = FileModelStore(directory)
        self.items: list[Classification | ModelChange] = []
        self.pipeline = Pipeline(self.items.extend, paced=True)
        self.started: list[ScriptedClassifier] = []
        self.refuse: dict[str, DeviceError] = {}
        self.fail: dict[str, DeviceError] = {}
        rules = Rules(0, WINDOWS)
        self.deployer = Deployer(self.store, self.pipeline, self.start, FIT, rules=rules)
        self.sequence = 0

    async def start(self) -> Classifier:
        """Start a classifier, which will fail as `refuse` and `fail` say of its model."""
        classifier = ScriptedClassifier(counts_spec(2, 2))
        classifier.refuse = self.refuse.get
        classifier.fail = lambda _counts: self.fail.get(classifier.sha256)
        self.started.append(classifier)
        return classifier

    def begin(self) -> None:
        """Begin the session."""
        grid = Grid(0, 1.0)
        self.pipeline.begin(Session(session_id=3, log_id="", grid=grid, channels=(Channel("A0"),)))

    async def feed(self, windows: int) -> None:
        """Let windows pass, one at a time, and what they bring about happen."""
        for _ in range(windows):
            await self.pipeline.feed([Block(3, self.sequence, 2, bytes(2))])
            self.sequence += 2
            await self.pipeline.drain()
            while (task := self.deployer._active._verdict) is not None:
                await asyncio.wait([task])
                await asyncio.sleep(0)
            await self.pipeline.drain()

    async def deploy(self, model: bytes) -> None:
        """Deploy it."""
        await self.deployer.deploy(model, digest(model), peer="a tester")

    def check_windows(self) -> None:
        """Each window has one classification, by the model of the newest change before its end."""
        found = [item for item in self.items if isinstance(item, Classification)]
        assert [c.last_sequence for c in found] == list(window_ends(2, 2, 0, self.sequence))
        changes = [item for item in self.items if isinstance(item, ModelChange)]
        for window in found:
            by = [c for c in changes if c.swap_sequence <= window.last_sequence]
            assert window.model_sha256 == by[-1].model_sha256

    @property
    def running(self) -> list[str]:
        """Models whose classifiers have not ended."""
        return [c.sha256 for c in self.started if not c.closed]

    async def close(self) -> None:
        """As holterd stops."""
        await self.deployer.close()
        await self.pipeline.drain()
        await self.pipeline.close()


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Device]:
    """A device on which NEW has taken the place of OLD, and is on probation."""
    device = Device(tmp_path)
    await device.deploy(OLD)
    device.begin()
    await device.feed(2)
    await device.deploy(NEW)
    yield device
    await device.close()
    assert device.running == []


class TestWatch:
    """What a model's windows say of it."""

    @pytest.mark.parametrize(
        ("error", "cause"),
        [
            (NOT_FINITE, ReturnCause.SCORES_NOT_FINITE),
            (FAILED, ReturnCause.MODEL_FAILED),
            (ENDED, ReturnCause.CLASSIFIER_ENDED),
            (EXPIRED, ReturnCause.DEADLINES_MISSED),
            (OSError("pipe"), ReturnCause.MODEL_FAILED),
        ],
    )
    def test_one_failure_is_enough(self, error: Exception, cause: ReturnCause) -> None:
        """On probation the first window that fails sends the device back, with why."""
        watch = Watch(Rules(0, 10), math.inf)
        assert watch.see(0.1, None) is None
        assert watch.see(0.1, error) == Verdict(cause, str(error))

    def test_the_longer_of_both(self) -> None:
        """It passes with the window that comes after both the time and the number of windows."""
        now = [0.0]
        watch = Watch(Rules(60, 3), 1.0, lambda: now[0])
        assert [watch.see(0.1, None) for _ in range(5)] == [None] * 5
        now[0] = 60.0
        assert watch.see(0.1, None) == Verdict()
        watch = Watch(Rules(60, 3), 1.0, lambda: now[0])
        now[0] = 200.0
        assert [watch.see(0.1, None) for _ in range(3)] == [None, None, Verdict()]

    def test_a_late_window_is_forgiven_and_more_are_not(self) -> None:
        """One late window, or one in ten, is the machine's; more are the model's."""
        watch = Watch(Rules(0, 100), 1.0)
        late = [watch.see(1.5 if n % 20 == 0 else 0.5, None) for n in range(60)]
        assert late == [None] * 60
        watch = Watch(Rules(0, 100), 1.0)
        assert watch.see(math.inf, None) is None
        verdict = watch.see(1.5, None)
        assert verdict is not None
        assert verdict.cause is ReturnCause.DEADLINES_MISSED
        assert "2 of 2 windows" in verdict.reason

    def test_after_probation_only_a_crash_loop_counts(self) -> None:
        """Later a model may fail; a process that ends on windows in a row is still too much."""
        watch = Watch(None, 1.0)
        for error in (NOT_FINITE, FAILED, ENDED, None, EXPIRED, ENDED):
            assert watch.see(9.0, error) is None
        verdict = watch.see(0.1, ENDED)
        assert verdict is not None
        assert verdict.cause is ReturnCause.CRASH_LOOP
        assert CRASHES == 3


class TestProbation:
    async def test_a_model_that_does_well_stays(self, device: Device) -> None:
        """After its windows it stays, the classifier before ends, and the record says passed."""
        assert device.running == [digest(OLD), digest(NEW)]
        probation = await device.deployer.probation()
        assert probation is not None
        assert (probation.sha256, probation.previous) == (digest(NEW), digest(OLD))
        assert (probation.state, probation.peer) == (ProbationState.RUNNING, "a tester")
        await device.feed(WINDOWS - 1)
        assert (await device.deployer.probation()).window_count == WINDOWS - 1  # type: ignore[union-attr]
        assert device.running == [digest(OLD), digest(NEW)]
        await device.feed(1)
        probation = await device.deployer.probation()
        assert probation is not None
        assert (probation.state, probation.cause) == (ProbationState.PASSED, 0)
        assert probation.end_time_ns >= probation.start_time_ns > 0
        assert device.running == [digest(NEW)]
        device.check_windows()

    @pytest.mark.parametrize(
        ("error", "cause"),
        [
            (NOT_FINITE, ReturnCause.SCORES_NOT_FINITE),
            (FAILED, ReturnCause.MODEL_FAILED),
            (ENDED, ReturnCause.CLASSIFIER_ENDED),
        ],
    )
    async def test_a_model_that_does_worse_goes(
        self, device: Device, error: DeviceError, cause: ReturnCause
    ) -> None:
        """The device goes back by a swap of its own, keeps why, and no window is missing."""
        await device.feed(1)
        device.fail[digest(NEW)] = error
        await device.feed(3)
        probation = await device.deployer.probation()
        assert probation is not None
        assert (probation.sha256, probation.state) == (digest(NEW), ProbationState.RETURNED)
        assert (probation.cause, probation.reason) == (cause, str(error))
        record = device.store.record()
        assert (record.active, record.previous) == (digest(OLD), "")
        assert record.probation == probation
        assert device.running == [digest(OLD)]
        assert len(device.started) == 2, "the classifier before was warm"
        device.check_windows()
        by_old = [c for c in device.items if isinstance(c, Classification)][-1]
        assert (by_old.model_sha256, by_old.reason) == (digest(OLD), None)

    async def test_the_record_is_in_place_before_the_return(
        self, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When the pipeline is given the model before, the record names it already."""
        seen, swap = [], device.pipeline.swap

        def look(classifier: Classifier | None, *, keep: bool = False) -> tuple[int, int]:
            seen.append(device.store.record().active)
            return swap(classifier, keep=keep)

        monkeypatch.setattr(device.pipeline, "swap", look)
        device.fail[digest(NEW)] = FAILED
        await device.feed(2)
        assert seen == [digest(OLD)]

    async def test_a_deploy_meanwhile_is_told_who_and_since_when(self, device: Device) -> None:
        """During a probation another model is refused; the active one again is still OK."""
        before = await device.deployer.probation()
        for call in (
            device.deployer.deploy(THIRD, digest(THIRD)),
            device.deployer.deploy(THIRD, digest(THIRD), validate_only=True),
        ):
            with pytest.raises(DeployInProgressError, match="on probation") as caught:
                await call
            assert caught.value.facts["sha256"] == digest(NEW)
            assert caught.value.facts["peer"] == "a tester"
        assert (await device.deployer.deploy(NEW, digest(NEW))).already_active
        assert await device.deployer.probation() == before
        await device.feed(WINDOWS)
        await device.deploy(THIRD)
        await device.feed(WINDOWS)
        device.check_windows()

    async def test_somebody_goes_back(self, device: Device) -> None:
        """Activating the model before ends a probation at once, with the warm classifier."""
        await device.feed(1)
        outcome = await device.deployer.activate(digest(OLD), peer="somebody")
        assert [step.name for step in outcome.report.steps] == ["swap"]
        assert outcome.swap_sequence == device.sequence
        probation = await device.deployer.probation()
        assert probation is not None
        assert probation.cause == ReturnCause.ROLLED_BACK
        assert "somebody" in probation.reason
        record = device.store.record()
        assert (record.active, record.previous) == (digest(OLD), digest(NEW))
        await device.feed(2)
        device.check_windows()
        assert len(device.started) == 2

    async def test_the_first_model_has_none(self, tmp_path: Path) -> None:
        """Where there is no model to go back to there is no probation, and a failure is borne."""
        device = Device(tmp_path / "first")
        await device.deploy(OLD)
        device.begin()
        assert await device.deployer.probation() is None
        device.fail[digest(OLD)] = ENDED
        await device.feed(2 * CRASHES)
        assert device.store.record().active == digest(OLD)
        device.check_windows()
        await device.close()

    async def test_a_return_that_could_not_be_recorded(
        self, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the disk was full then, the next probation goes back to what ran before it."""
        device.fail[digest(NEW)] = FAILED
        with monkeypatch.context() as patch:
            patch.setattr(device.store, "set_record", _no_space)
            await device.feed(2)
        assert device.running == [digest(OLD)]
        await device.deploy(THIRD)
        record = device.store.record()
        assert (record.active, record.previous) == (digest(THIRD), digest(OLD))
        device.fail[digest(THIRD)] = FAILED
        await device.feed(2)
        assert device.running == [digest(OLD)]
        assert device.store.record().active == digest(OLD)
        await device.feed(2)
        device.check_windows()


def _no_space(_record: ActiveRecord) -> None:
    raise StoreFullError("no space")


def fail_to_read(device: Device, monkeypatch: pytest.MonkeyPatch, sha256: str) -> None:
    """Let reading this model's file be an error of the disk."""
    read = FileModelStore.read

    def reading(store: FileModelStore, name: str) -> bytes:
        if name == sha256:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(store, name)

    monkeypatch.setattr(FileModelStore, "read", reading)


class TestRestart:
    async def again(self, device: Device) -> Device:
        """The device after its power was cut: nothing of the run before was closed."""
        again = Device(device.store._directory)
        again.fail, again.refuse = device.fail, device.refuse
        await again.deployer.restore()
        again.begin()
        return again

    async def test_it_resumes(self, device: Device) -> None:
        """A start during a probation goes on with it, and can still go back at once."""
        await device.feed(WINDOWS - 1)
        again = await self.again(device)
        assert again.running == [digest(NEW), digest(OLD)]
        probation = await again.deployer.probation()
        assert probation is not None
        assert (probation.state, probation.window_count) == (ProbationState.RUNNING, 0)
        again.fail[digest(NEW)] = NOT_FINITE
        await again.feed(2)
        assert again.running == [digest(OLD)]
        assert again.store.record().active == digest(OLD)
        again.check_windows()
        await again.close()
        device.fail.clear()

    async def test_a_stop_leaves_it_running(self, device: Device) -> None:
        """A clean stop neither passes nor ends a probation, and closes both classifiers."""
        again = await self.again(device)
        await again.close()
        assert again.running == []
        probation = again.store.record().probation
        assert probation is not None
        assert probation.state is ProbationState.RUNNING

    async def test_starts_that_die(self, device: Device) -> None:
        """After three starts without a window the model before is active, and the reason kept."""
        await device.feed(WINDOWS)
        for _ in range(CRASHES):
            again = await self.again(device)
            assert again.store.record().active == digest(NEW)
        again = await self.again(device)
        record = again.store.record()
        assert (record.active, record.starts) == (digest(OLD), 0)
        assert record.probation is not None
        assert record.probation.cause == ReturnCause.CRASH_LOOP
        assert "3 times" in record.probation.reason
        await again.feed(1)
        again.check_windows()
        await again.close()

    async def test_a_start_that_lives_long_is_none_that_dies(
        self, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the electrodes off no window has a class: then living on is proof enough."""
        monkeypatch.setattr("holter_device.activation._proof_seconds", lambda _spec: 0.0)
        await device.feed(WINDOWS)
        for _ in range(2 * CRASHES):
            again = await self.again(device)
            for _ in range(3):  # the timer is due
                await asyncio.sleep(0)
            if (task := again.deployer._active._verdict) is not None:
                await asyncio.wait([task])
            assert again.store.record().starts == 0
        assert again.store.record().active == digest(NEW)

    async def test_a_card_that_cannot_be_read(
        self, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An active model whose file gives an error of the disk gives way to the one before."""
        await device.feed(WINDOWS)
        fail_to_read(device, monkeypatch, digest(NEW))
        again = await self.again(device)
        record = again.store.record()
        assert record.active == digest(OLD)
        assert record.probation is not None
        assert record.probation.cause == ReturnCause.NOT_RESTORED
        assert "Input/output error" in record.probation.reason
        await again.close()

    async def test_the_way_back_cannot_be_read(
        self, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A start in a probation whose model before cannot be read has the active model all the
        same."""
        fail_to_read(device, monkeypatch, digest(OLD))
        again = await self.again(device)
        assert again.running == [digest(NEW)]
        await again.feed(1)
        again.check_windows()
        await again.close()

    async def test_a_record_that_cannot_be_read(
        self, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Then no model is active, samples go on, and the record is not written over."""
        before = device.store.record()

        def fail(store: FileModelStore) -> ActiveRecord:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(FileModelStore, "record", fail)
            again = await self.again(device)
            assert again.running == []
            await again.close()
        assert device.store.record() == before

    @pytest.mark.parametrize("how", ["window", "stop"])
    async def test_starts_that_do_not_die(self, device: Device, how: str) -> None:
        """A start that classified a window, or that ended with a stop, is not counted."""
        await device.feed(WINDOWS)
        for _ in range(2 * CRASHES):
            again = await self.again(device)
            if how == "window":
                await again.feed(1)
            else:
                await again.close()
            assert again.store.record().starts == 0
        assert again.store.record().active == digest(NEW)

    async def test_a_model_that_cannot_be_restored(self, device: Device) -> None:
        """An active model that is refused at a start gives way to the one before, with why."""
        await device.feed(WINDOWS)
        device.refuse[digest(NEW)] = ModelMalformedError("the card has lost it")
        again = await self.again(device)
        record = again.store.record()
        assert record.active == digest(OLD)
        assert record.probation is not None
        assert record.probation.cause == ReturnCause.NOT_RESTORED
        assert "the card has lost it" in record.probation.reason
        await again.close()

    async def test_a_process_that_ends_again_and_again(self, device: Device) -> None:
        """Long after its probation a model whose process ends on three windows in a row goes."""
        await device.feed(WINDOWS)
        device.fail[digest(NEW)] = ENDED
        await device.feed(CRASHES - 1)
        assert device.store.record().active == digest(NEW)
        await device.feed(2)
        record = device.store.record()
        assert record.active == digest(OLD)
        assert record.probation is not None
        assert record.probation.cause == ReturnCause.CRASH_LOOP
        assert device.running == [digest(OLD)]
        device.check_windows()
