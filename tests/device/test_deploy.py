"""Laws of deploys: one at a time, whole or not at all, the active model never worse for it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from holter_device.classifier import Classifier, ClassifierSettings, ProcessClassifier
from holter_device.deploy import Deployer
from holter_device.errors import (
    ClassifierUnavailableError,
    DeployInProgressError,
    DigestMismatchError,
    ModelInUseError,
    ModelMalformedError,
    ModelNotFoundError,
    ModelTooLargeError,
    StoreFullError,
)
from holter_device.gate import digest
from holter_device.probation import Rules
from holter_device.runtime.fit import DeviceFit
from holter_device.samples import Channel, SampleFormat
from holter_device.store import ActiveRecord, FileModelStore, ModelState
from support import tflite_models as models

pytestmark = pytest.mark.litert

FIT = DeviceFit(360.0, (Channel("A0"),), SampleFormat.U8, 43200)
OLD = models.averaging_model(name="old")
NEW = models.averaging_model(name="new", bias=(1.0, 1.0, 1.0))
MAX_BYTES = 100_000
JUDGED = ["digest", "spec", "ops", "load", "golden", "latency", "memory"]


class Windower:
    """Takes classifiers as the pipeline does, without windows."""

    def __init__(self) -> None:
        self.active: Classifier | None = None
        self.swaps = 0
        self.closing: list[Classifier] = []
        self.before_swap: Callable[[], None] = lambda: None
        self.saw: Callable[[Classifier, float, Exception | None], None]

    def retire(self, classifier: Classifier) -> None:
        """Close it later."""
        self.closing.append(classifier)

    def swap(self, classifier: Classifier | None, *, keep: bool = False) -> tuple[int, int]:
        """From the next tick on."""
        self.before_swap()
        if self.active is not None and not keep:
            self.closing.append(self.active)
        self.active = classifier
        self.swaps += 1
        return 7, 1000 * self.swaps


class Device:
    """A deployer with a store, a windower, and what was started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = FileModelStore(directory)
        self.windower = Windower()
        self.started: list[ProcessClassifier] = []
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.starting = asyncio.Event()
        self.has_started = asyncio.Event()
        rules = Rules(0, 0)
        self.deployer = Deployer(self.store, self.windower, self.start, FIT, MAX_BYTES, rules)

    async def start(self) -> ProcessClassifier:
        """Start a classifier, when it may start."""
        self.starting.set()
        await self.may_start.wait()
        self.started.append(await ProcessClassifier.start(ClassifierSettings()))
        self.has_started.set()
        return self.started[-1]

    def hold(self) -> None:
        """Let the next deploy wait before its classifier."""
        self.may_start.clear()
        self.starting.clear()
        self.has_started.clear()

    async def first_score(self) -> float:
        """What the active model says of zeros: its bias."""
        assert self.windower.active is not None
        return (await self.windower.active.classify_counts(bytes(models.WINDOW), 60.0)).scores[0]

    def files(self) -> set[str]:
        """Names in the store."""
        return {path.name for path in self.directory.iterdir()}

    def running(self) -> list[ProcessClassifier]:
        """The classifiers that have not ended."""
        return [classifier for classifier in self.started if not classifier.ended]


def files_of(*of: bytes) -> set[str]:
    """Names of the files of models in a store."""
    return {f"{digest(model)}{suffix}" for model in of for suffix in (".tflite", ".json")}


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Device]:
    """A device without a model."""
    device = Device(tmp_path / "models")
    yield device
    await device.deployer.close()
    for classifier in device.started:
        await classifier.close()


@pytest.fixture
async def active(device: Device) -> Device:
    """A device with OLD active."""
    await device.deployer.deploy(OLD, digest(OLD))
    return device


class TestDeploy:
    async def test_a_good_model_becomes_active(self, device: Device) -> None:
        """A model that passes is stored, recorded, and swapped in, and the outcome says so."""
        outcome = await device.deployer.deploy(NEW, digest(NEW), peer="someone")
        assert (outcome.session_id, outcome.swap_sequence) == (7, 1000)
        assert not outcome.already_active
        names = [step.name for step in outcome.report.steps]
        assert names == [*JUDGED, "store", "swap"]
        swap = {"session_id": "7", "swap_sequence": "1000", "probation": "none"}
        assert outcome.report.steps[-1].facts == swap
        assert outcome.model.state is ModelState.ACTIVE
        assert outcome.model.spec.name == "new"
        assert await device.deployer.models() == (outcome.model,)
        assert device.store.record() == ActiveRecord(digest(NEW), "")
        assert await device.first_score() == 1.0

    async def test_it_is_durable_before_it_classifies(self, active: Device) -> None:
        """When the windower is given the model, file and record are in place already."""
        seen = []
        active.windower.before_swap = lambda: seen.append(
            (active.store.record(), active.store.read(digest(NEW)))
        )
        await active.deployer.deploy(NEW, digest(NEW))
        assert seen == [(ActiveRecord(digest(NEW), digest(OLD)), NEW)]

    async def test_the_model_before_is_kept(self, active: Device) -> None:
        """After a second deploy the first model is the previous one, and still stored."""
        await active.deployer.deploy(NEW, digest(NEW))
        states = {model.sha256: model.state for model in await active.deployer.models()}
        assert states == {digest(NEW): ModelState.ACTIVE, digest(OLD): ModelState.PREVIOUS}

    async def test_the_active_model_again(self, active: Device) -> None:
        """Deploying the active model is OK and does nothing."""
        outcome = await active.deployer.deploy(OLD, digest(OLD))
        assert outcome.already_active
        assert outcome.model.state is ModelState.ACTIVE
        assert (active.windower.swaps, len(active.started)) == (1, 1)

    async def test_validate_only(self, active: Device) -> None:
        """A model that is only judged is neither stored nor swapped, and its process ends."""
        before = active.files()
        outcome = await active.deployer.deploy(NEW, digest(NEW), validate_only=True)
        assert [step.name for step in outcome.report.steps] == JUDGED
        assert (outcome.session_id, outcome.swap_sequence) == (0, 0)
        assert (outcome.model.sha256, outcome.model.store_time_ns) == (digest(NEW), 0)
        assert active.files() == before
        assert active.windower.swaps == 1
        assert len(active.running()) == 1

    async def test_a_dead_classifier_comes_back_from_the_store(self, active: Device) -> None:
        """The bytes of a deployed model are read from the store when its process has ended."""
        classifier = active.started[0]
        os.kill(classifier.pid, signal.SIGKILL)
        with pytest.raises(ClassifierUnavailableError):
            await active.first_score()
        (active.directory / f"{digest(OLD)}.tflite").write_bytes(NEW)
        with pytest.raises(DigestMismatchError, match="deploy it again"):
            await classifier.revive()
        (active.directory / f"{digest(OLD)}.tflite").write_bytes(OLD)
        await classifier.revive()
        assert await active.first_score() == 0.0


class TestRefused:
    @pytest.mark.parametrize(
        ("model", "sha256", "error"),
        [
            (NEW, digest(OLD)[::-1], DigestMismatchError),
            (NEW[:1500], digest(NEW[:1500]), ModelMalformedError),
            (bytes(MAX_BYTES + 1), "", ModelTooLargeError),
        ],
        ids=["digest", "malformed", "size"],
    )
    async def test_nothing_changes(
        self, active: Device, model: bytes, sha256: str, error: type[Exception]
    ) -> None:
        """After a refusal files, active model and processes are what they were."""
        before = active.files(), await active.deployer.models()
        with pytest.raises(error):
            await active.deployer.deploy(model, sha256)
        assert (active.files(), await active.deployer.models()) == before
        assert len(active.running()) == 1
        assert await active.first_score() == 0.0

    async def test_too_large_says_both_sizes(self, device: Device) -> None:
        """A file over the limit is refused with its size and the limit."""
        with pytest.raises(ModelTooLargeError) as caught:
            await device.deployer.deploy(bytes(MAX_BYTES + 1), "")
        facts = {"size_bytes": str(MAX_BYTES + 1), "max_bytes": str(MAX_BYTES)}
        assert caught.value.facts == facts

    @pytest.mark.parametrize("call", ["put", "set_record"])
    async def test_a_full_disk(
        self, active: Device, call: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A model that cannot be written down is refused, and leaves no file and no process."""
        before = active.files()
        original = getattr(active.store, call)

        def fail_once(*arguments: object) -> None:
            monkeypatch.setattr(active.store, call, original)
            raise StoreFullError("no space")

        monkeypatch.setattr(active.store, call, fail_once)
        with pytest.raises(StoreFullError):
            await active.deployer.deploy(NEW, digest(NEW))
        assert active.files() == before
        assert active.store.record() == ActiveRecord(digest(OLD), "")
        assert len(active.running()) == 1
        assert await active.first_score() == 0.0

    async def test_a_swap_that_fails(self, active: Device) -> None:
        """If the windower cannot take the model, record and files are what they were."""
        before = active.files()

        def fail() -> None:
            raise RuntimeError("no swap")

        active.windower.before_swap = fail
        with pytest.raises(RuntimeError, match="no swap"):
            await active.deployer.deploy(NEW, digest(NEW))
        assert active.files() == before
        assert active.store.record() == ActiveRecord(digest(OLD), "")
        assert len(active.running()) == 1


class TestAtOnce:
    async def test_a_second_deploy_is_told_who_holds_it(self, active: Device) -> None:
        """While one deploy runs another is refused with who and since when; then it is free."""
        active.hold()
        first = asyncio.create_task(active.deployer.deploy(NEW, digest(NEW), peer="ipv4:1.2.3.4"))
        await active.starting.wait()
        for second in (
            active.deployer.deploy(OLD, digest(OLD)),
            active.deployer.deploy(NEW, digest(NEW), validate_only=True),
            active.deployer.activate(digest(OLD)),
        ):
            with pytest.raises(DeployInProgressError) as caught:
                await second
            assert caught.value.facts["sha256"] == digest(NEW)
            assert caught.value.facts["peer"] == "ipv4:1.2.3.4"
            assert caught.value.facts["start_time"].endswith("+00:00")
        active.may_start.set()
        assert (await first).model.state is ModelState.ACTIVE
        assert (await active.deployer.deploy(OLD, digest(OLD))).swap_sequence == 3000

    @pytest.mark.parametrize("point", ["digest", "start", "load"])
    async def test_a_caller_that_goes_away(self, active: Device, point: str) -> None:
        """A deploy whose caller goes away before it is stored leaves nothing, and frees the way."""
        before = active.files()
        active.hold()
        deploy = asyncio.create_task(active.deployer.deploy(NEW, digest(NEW)))
        if point != "digest":
            await active.starting.wait()
        if point == "load":
            active.may_start.set()
            await active.has_started.wait()
        await asyncio.sleep(0)
        deploy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deploy
        active.may_start.set()
        assert active.files() == before
        assert active.windower.swaps == 1
        assert len(active.running()) == 1
        assert (await active.deployer.deploy(NEW, digest(NEW))).swap_sequence == 2000

    async def test_a_caller_that_goes_away_while_it_is_stored(
        self, active: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From the store on a deploy is carried through, whoever goes away."""
        loop = asyncio.get_running_loop()
        put = active.store.put
        deploy: asyncio.Task[object]

        def put_while_the_caller_leaves(*arguments: Any) -> object:
            loop.call_soon_threadsafe(deploy.cancel)
            return put(*arguments)

        monkeypatch.setattr(active.store, "put", put_while_the_caller_leaves)
        deploy = asyncio.create_task(active.deployer.deploy(NEW, digest(NEW)))
        with pytest.raises(asyncio.CancelledError):
            await deploy
        assert active.store.record().active == digest(NEW)
        assert active.windower.swaps == 2
        assert await active.first_score() == 1.0

    async def test_closing_gives_up_what_runs(self, active: Device) -> None:
        """Closing the deployer ends a deploy that is not stored yet, and says so."""
        before = active.files()
        active.hold()
        deploy = asyncio.create_task(active.deployer.deploy(NEW, digest(NEW)))
        await active.starting.wait()
        await active.deployer.close()
        with pytest.raises(ClassifierUnavailableError, match="stopping"):
            await deploy
        assert active.files() == before

    async def test_nothing_begins_after_closing(self, active: Device) -> None:
        """While windows are still drained a new deploy is told that the device is stopping."""
        before = active.files()
        await active.deployer.close()
        for call in (
            active.deployer.deploy(NEW, digest(NEW)),
            active.deployer.activate(digest(OLD)),
            active.deployer.delete(digest(OLD)),
        ):
            with pytest.raises(ClassifierUnavailableError, match="stopping"):
                await call
        assert active.files() == before
        assert len(active.running()) == 1


class TestActivate:
    async def test_a_stored_model(self, active: Device) -> None:
        """A stored model goes through the gate again and becomes active."""
        await active.deployer.deploy(NEW, digest(NEW))
        outcome = await active.deployer.activate(digest(OLD))
        names = [step.name for step in outcome.report.steps]
        assert names == [*JUDGED, "swap"]
        assert outcome.swap_sequence == 3000
        assert active.store.record() == ActiveRecord(digest(OLD), digest(NEW))
        assert await active.first_score() == 0.0

    async def test_the_active_one(self, active: Device) -> None:
        """Activating the active model does nothing."""
        assert (await active.deployer.activate(digest(OLD))).already_active
        assert active.windower.swaps == 1

    @pytest.mark.parametrize("sha256", ["0" * 64, "../../etc/passwd"])
    async def test_one_that_is_not_there(self, active: Device, sha256: str) -> None:
        """A name that the store does not have is not found."""
        with pytest.raises(ModelNotFoundError):
            await active.deployer.activate(sha256)

    async def test_a_damaged_one(self, active: Device) -> None:
        """A stored model whose bytes were damaged is not run."""
        await active.deployer.deploy(NEW, digest(NEW))
        (active.directory / f"{digest(OLD)}.tflite").write_bytes(b"damaged")
        with pytest.raises(DigestMismatchError):
            await active.deployer.activate(digest(OLD))
        assert await active.first_score() == 1.0


class TestDelete:
    async def test_only_what_is_not_needed(self, active: Device) -> None:
        """The active model and the one before it stay; another is gone, its files with it."""
        third = models.averaging_model(name="third")
        await active.deployer.deploy(NEW, digest(NEW))
        await active.deployer.deploy(third, digest(third))
        for kept, state in ((third, "ACTIVE"), (NEW, "PREVIOUS")):
            with pytest.raises(ModelInUseError) as caught:
                await active.deployer.delete(digest(kept))
            assert caught.value.facts == {"sha256": digest(kept), "state": state}
        assert (await active.deployer.delete(digest(OLD))).spec.name == "old"
        assert active.files() == files_of(NEW, third) | {"active.json"}
        with pytest.raises(ModelNotFoundError):
            await active.deployer.delete(digest(OLD))


class TestRestore:
    async def test_the_active_model_comes_back(self, active: Device, device: Device) -> None:
        """A holterd that starts again has the model that was active."""
        again = Device(active.directory)
        try:
            model = await again.deployer.restore()
            assert model is not None
            assert (model.sha256, model.state) == (digest(OLD), ModelState.ACTIVE)
            assert await again.first_score() == 0.0
            assert (await again.deployer.deploy(OLD, digest(OLD))).already_active
        finally:
            for classifier in again.started:
                await classifier.close()

    async def test_nothing_to_restore(self, device: Device) -> None:
        """Without an active model nothing is started."""
        assert await device.deployer.restore() is None
        assert device.started == []

    @pytest.mark.parametrize("content", [None, b"damaged"])
    async def test_one_that_does_not_pass(
        self, device: Device, content: bytes | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An active model that is damaged or gone is logged; none is active, and a deploy heals."""
        device.store.put(digest(OLD), OLD, models.make_spec(name="old"))
        device.store.set_record(ActiveRecord(digest(OLD)))
        path = device.directory / f"{digest(OLD)}.tflite"
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert await device.deployer.restore() is None
        assert digest(OLD) in caplog.text
        assert device.windower.active is None
        states = [model.state for model in await device.deployer.models()]
        assert ModelState.ACTIVE not in states
        outcome = await device.deployer.deploy(OLD, digest(OLD))
        assert not outcome.already_active
        assert device.files() == files_of(OLD) | {"active.json"}
        assert await device.first_score() == 0.0
