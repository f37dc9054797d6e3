"""Laws of a device that trusts some keys: what is not signed by one of them does not get in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holter.signature import ModelSignature
from holter_device.classifier import ClassifierSettings, ProcessClassifier
from holter_device.config import Config
from holter_device.deploy import Deployer
from holter_device.errors import (
    ConfigError,
    ModelDowngradedError,
    ModelRefusedError,
    ModelUnsignedError,
    SignatureInvalidError,
    SignerUntrustedError,
)
from holter_device.gate import digest
from holter_device.probation import Rules
from holter_device.runtime.fit import DeviceFit
from holter_device.samples import Channel, SampleFormat
from holter_device.signing import Trust
from holter_device.simulation.store import MemoryModelStore, ModelFiles
from holter_device.store import FileModelStore, ModelStore
from support import tflite_models as models
from support.signatures import OTHER, TRUSTED

FIT = DeviceFit(360.0, (Channel("A0"),), SampleFormat.U8, 43200)
FIRST = models.averaging_model(version=1)
SECOND = models.averaging_model(version=2)
OLDER_OTHER = models.averaging_model(name="another", version=1)
TRUST = Trust([TRUSTED.text])


class Windower:
    """Takes classifiers as the pipeline does, without windows."""

    def __init__(self) -> None:
        self.closing: list[ProcessClassifier] = []
        self.active: ProcessClassifier | None = None

    def swap(self, classifier: ProcessClassifier, *, keep: bool = False) -> tuple[int, int]:
        """From the next tick on."""
        self.closing += [self.active] if self.active else []
        self.active = classifier
        return 1, 0


@pytest.fixture
async def deployer(tmp_path: Path) -> AsyncIterator[Deployer]:
    """A device that trusts TRUSTED, with a store at tmp_path."""
    async for made in _deployer(tmp_path, TRUST):
        yield made


async def _deployer(folder: Path, trust: Trust) -> AsyncIterator[Deployer]:
    windower = Windower()
    made = Deployer(
        FileModelStore(folder),
        windower,  # type: ignore[arg-type] (its classifiers are of one kind)
        lambda: ProcessClassifier.start(ClassifierSettings()),
        FIT,
        rules=Rules(0, 0),
        trust=trust,
    )
    yield made
    await made.close()
    for classifier in [*windower.closing, windower.active]:
        if classifier is not None:
            await classifier.close()


def _flipped(signature: ModelSignature) -> ModelSignature:
    value = bytes([signature.value[0] ^ 1]) + signature.value[1:]
    return dataclasses.replace(signature, value=value)


REFUSED: list[tuple[str, ModelSignature | None, type[ModelRefusedError]]] = [
    ("unsigned", None, ModelUnsignedError),
    ("another key's", OTHER.sign(FIRST), SignerUntrustedError),
    ("of another model", TRUSTED.sign(SECOND), SignatureInvalidError),
    ("altered", _flipped(TRUSTED.sign(FIRST)), SignatureInvalidError),
    (
        "another key's, under a trusted name",
        dataclasses.replace(OTHER.sign(FIRST), public_key=TRUSTED.sign(FIRST).public_key),
        SignatureInvalidError,
    ),
    (
        "of a key that is no point of the curve",
        dataclasses.replace(TRUSTED.sign(FIRST), public_key=b"\xff" * 32),
        SignatureInvalidError,
    ),
]


class TestTrust:
    def test_what_a_trusted_key_signed_is_taken(self) -> None:
        """Any of several keys will do."""
        Trust([OTHER.text, TRUSTED.text]).check(digest(FIRST), TRUSTED.sign(FIRST))

    @pytest.mark.parametrize(
        ("signature", "error"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
    )
    def test_anything_else_is_refused(
        self, signature: ModelSignature | None, error: type[ModelRefusedError]
    ) -> None:
        """Each with its own error, whose facts name the keys."""
        with pytest.raises(error) as caught:
            TRUST.check(digest(FIRST), signature)
        assert {"signer", "trusted_keys"} & set(caught.value.facts)

    def test_without_keys_any_model_is_taken(self) -> None:
        """A device that was not told otherwise."""
        assert not Trust()
        Trust().check_version(models.make_spec(version=1), models.make_spec(version=2))

    def test_versions_are_compared_under_one_name(self) -> None:
        """Lower is refused; the same, a higher one, and another name are not."""
        active = models.make_spec(version=2)
        for spec in (
            models.make_spec(version=2),
            models.make_spec(version=3),
            models.make_spec(name="another", version=1),
        ):
            TRUST.check_version(spec, active)
        TRUST.check_version(models.make_spec(version=1), None)
        with pytest.raises(ModelDowngradedError):
            TRUST.check_version(models.make_spec(version=1), active)

    def test_a_key_in_the_settings_is_a_key(self) -> None:
        """What is none is refused when holterd starts."""
        assert Config(trusted_keys=(TRUSTED.text,)).trusted_keys == (TRUSTED.text,)
        with pytest.raises(ConfigError, match="trusted_keys: 'nonsense' is no public key"):
            Config(trusted_keys=("nonsense",))

    def test_without_the_package_keys_are_refused_at_the_start(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The sentence says what to install; without keys nothing is missed."""
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        Trust()
        with pytest.raises(ConfigError, match="pip install 'holter-device\\[signing\\]'"):
            Trust([TRUSTED.text])


@pytest.mark.litert
class TestGate:
    async def test_a_signed_model_becomes_active(self, deployer: Deployer) -> None:
        """The step stands behind the digest and names the signer, and the model keeps it."""
        outcome = await deployer.deploy(FIRST, digest(FIRST), signature=TRUSTED.sign(FIRST))
        step = outcome.report.steps[1]
        assert (step.name, step.facts) == ("signature", {"signer": TRUSTED.text})
        (stored,) = await deployer.models()
        assert stored.signature == TRUSTED.sign(FIRST)

    async def test_what_is_refused_is_not_stored(self, deployer: Deployer, tmp_path: Path) -> None:
        """Nothing of it is in the store, and no model is active."""
        for _, signature, error in REFUSED:
            with pytest.raises(error):
                await deployer.deploy(FIRST, digest(FIRST), signature=signature)
        assert FileModelStore(tmp_path).models() == ()

    async def test_an_older_version_comes_back_only_from_the_store(
        self, deployer: Deployer
    ) -> None:
        """Sent, it is a downgrade; one that the device took before may be activated."""
        await deployer.deploy(FIRST, digest(FIRST), signature=TRUSTED.sign(FIRST))
        await deployer.deploy(SECOND, digest(SECOND), signature=TRUSTED.sign(SECOND))
        with pytest.raises(ModelDowngradedError) as caught:
            await deployer.deploy(FIRST, digest(FIRST), signature=TRUSTED.sign(FIRST))
        facts = {"model": "averages", "version": "1", "active_version": "2"}
        assert caught.value.facts == facts
        outcome = await deployer.activate(digest(FIRST))
        assert [step.name for step in outcome.report.steps][:2] == ["digest", "signature"]

    async def test_another_name_is_another_model(self, deployer: Deployer) -> None:
        """Its version is its own."""
        await deployer.deploy(SECOND, digest(SECOND), signature=TRUSTED.sign(SECOND))
        signature = TRUSTED.sign(OLDER_OTHER)
        await deployer.deploy(OLDER_OTHER, digest(OLDER_OTHER), signature=signature)

    async def test_what_was_stored_without_a_signature_is_not_activated(
        self, tmp_path: Path
    ) -> None:
        """Keys that come later hold for what is there, but for what is active already."""
        async for before in _deployer(tmp_path, Trust()):
            await before.deploy(FIRST, digest(FIRST))
            await before.deploy(SECOND, digest(SECOND))
        async for after in _deployer(tmp_path, TRUST):
            restored = await after.restore()
            assert restored is not None
            assert restored.sha256 == digest(SECOND)
            with pytest.raises(ModelUnsignedError):
                await after.activate(digest(FIRST))


@pytest.mark.parametrize(
    "make",
    [FileModelStore, lambda _: MemoryModelStore(ModelFiles())],
    ids=["file", "memory"],
)
def test_a_store_keeps_the_signature(make: type[FileModelStore], tmp_path: Path) -> None:
    """It is what came with the newest put."""
    store: ModelStore = make(tmp_path)
    spec = models.make_spec()
    store.put(digest(FIRST), FIRST, spec)
    assert store.get(digest(FIRST)).signature is None
    store.put(digest(FIRST), FIRST, spec, TRUSTED.sign(FIRST))
    assert store.get(digest(FIRST)).signature == TRUSTED.sign(FIRST)


def test_a_store_of_before_signatures_is_read(tmp_path: Path) -> None:
    """A model that was stored by an older holterd has none."""
    store = FileModelStore(tmp_path)
    store.put(digest(FIRST), FIRST, models.make_spec())
    path = tmp_path / f"{digest(FIRST)}.json"
    about = json.loads(path.read_text())
    del about["signature"]
    path.write_text(json.dumps(about))
    assert FileModelStore(tmp_path).get(digest(FIRST)).signature is None
