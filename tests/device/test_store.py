"""Laws of the model store: named by digest, complete or not there, whatever is cut off."""

import contextlib
import dataclasses
import errno
import functools
import gc
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from holter_device.errors import DigestMismatchError, ModelNotFoundError, StoreFullError
from holter_device.simulation.store import MemoryModelStore, ModelFiles
from holter_device.store import (
    ActiveRecord,
    FileModelStore,
    ModelState,
    ModelStore,
    Probation,
    ProbationState,
)
from support.tflite_models import make_spec

SPEC = make_spec()
OLD, NEW = b"the old model", b"the new model, which is longer"


MakeStore = Callable[[int], ModelStore]


def sha256(model: bytes) -> str:
    """The name of a model."""
    return hashlib.sha256(model).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> FileModelStore:
    """An empty store in tmp_path/models."""
    return FileModelStore(tmp_path / "models")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where `store` is."""
    return tmp_path / "models"


@pytest.fixture(params=["file", "memory"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Makes an empty store of each kind, with a size."""
    if request.param == "memory":
        return functools.partial(MemoryModelStore, ModelFiles())
    return functools.partial(FileModelStore, tmp_path / "models")


class TestContract:
    """What holds for every ModelStore."""

    def test_what_is_put_can_be_read(self, make_store: MakeStore) -> None:
        """A model that was put is there, with its spec, size and time, until it is removed."""
        store = make_store(0)
        stored = store.put(sha256(OLD), OLD, SPEC)
        assert store.read(sha256(OLD)) == OLD
        assert store.get(sha256(OLD)) == stored
        assert (stored.spec, stored.size_bytes) == (SPEC, len(OLD))
        assert stored.store_time_ns > 0
        assert stored.state is ModelState.STORED
        store.remove(sha256(OLD))
        store.remove(sha256(OLD))
        assert store.models() == ()

    def test_the_record(self, make_store: MakeStore) -> None:
        """The record is empty at first, then what was said last, with its probation."""
        store = make_store(0)
        assert store.record() == ActiveRecord()
        probation = Probation(sha256=sha256(NEW), previous=sha256(OLD))
        record = ActiveRecord(sha256(NEW), sha256(OLD), probation, 2)
        store.set_record(record)
        assert store.record() == record

    def test_it_has_a_size(self, make_store: MakeStore) -> None:
        """Beyond its size a store takes no model, changes nothing, and says what is taken."""
        store = make_store(len(OLD) + len(NEW) - 1)
        store.put(sha256(OLD), OLD, SPEC)
        store.put(sha256(OLD), OLD, SPEC)
        before = store.models()
        with pytest.raises(StoreFullError, match="holter delete") as caught:
            store.put(sha256(NEW), NEW, SPEC)
        assert str(len(OLD) + len(NEW) - 1) in caught.value.facts["detail"]
        assert store.models() == before
        store.remove(sha256(OLD))
        store.put(sha256(NEW), NEW, SPEC)

    def test_the_order_of_models(self, make_store: MakeStore) -> None:
        """The active one comes first, then the newest; each has its state."""
        store = make_store(0)
        for model in (b"1", b"2", b"3"):
            store.put(sha256(model), model, SPEC)
        store.set_record(ActiveRecord(sha256(b"1"), sha256(b"2")))
        assert [(model.sha256, model.state) for model in store.models()] == [
            (sha256(b"1"), ModelState.ACTIVE),
            (sha256(b"3"), ModelState.STORED),
            (sha256(b"2"), ModelState.PREVIOUS),
        ]

    @pytest.mark.parametrize("name", ["0" * 64, "", "../active", "A" * 64, "0" * 63 + "\n"])
    def test_unknown_names(self, make_store: MakeStore, tmp_path: Path, name: str) -> None:
        """A name that is no stored model's is not found, and never leaves the directory."""
        store = make_store(0)
        tmp_path.joinpath("active.json").write_text("{}")
        for call in (store.get, store.read):
            with pytest.raises(ModelNotFoundError) as caught:
                call(name)
            assert caught.value.facts == {"sha256": name}


class TestStore:
    def test_it_outlives_the_process(self, store: FileModelStore, directory: Path) -> None:
        """A store that is opened again has the same models and record."""
        store.put(sha256(OLD), OLD, SPEC)
        store.put(sha256(NEW), NEW, SPEC)
        store.set_record(ActiveRecord(sha256(NEW), sha256(OLD)))
        again = FileModelStore(directory)
        assert again.models() == store.models()
        assert again.record() == ActiveRecord(sha256(NEW), sha256(OLD))

    def test_the_record_keeps_a_probation(self, store: FileModelStore, directory: Path) -> None:
        """What is recorded of a probation and of starts is read back whole by the next process."""
        probation = Probation(
            sha256=sha256(NEW),
            previous=sha256(OLD),
            peer="ipv4:127.0.0.1:1",
            start_time_ns=1,
            state=ProbationState.RETURNED,
            end_time_ns=2,
            window_count=3,
            cause=4,
            reason="it was late",
        )
        record = ActiveRecord(sha256(OLD), "", probation, 2)
        store.set_record(record)
        assert FileModelStore(directory).record() == record

    def test_a_record_of_an_older_holterd(self, store: FileModelStore, directory: Path) -> None:
        """A record without probation and starts is read as one that has none."""
        store.set_record(ActiveRecord())
        old = {"active": sha256(OLD), "previous": ""}
        directory.joinpath("active.json").write_text(json.dumps(old))
        assert store.record() == ActiveRecord(sha256(OLD))

    def test_a_damaged_model_is_reported(self, store: FileModelStore, directory: Path) -> None:
        """Bytes that no longer have their digest are not given out; putting them anew heals."""
        store.put(sha256(OLD), OLD, SPEC)
        (directory / f"{sha256(OLD)}.tflite").write_bytes(NEW)
        with pytest.raises(DigestMismatchError) as caught:
            store.read(sha256(OLD))
        assert caught.value.facts == {"sha256": sha256(OLD), "actual_sha256": sha256(NEW)}
        store.put(sha256(OLD), OLD, SPEC)
        assert store.read(sha256(OLD)) == OLD

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"spec": "{}"}', "\0"])
    def test_a_damaged_description(self, store: FileModelStore, directory: Path, text: str) -> None:
        """A model whose description is damaged is as if not there; the others are."""
        store.put(sha256(OLD), OLD, SPEC)
        store.put(sha256(NEW), NEW, SPEC)
        (directory / f"{sha256(OLD)}.json").write_text(text)
        assert [model.sha256 for model in store.models()] == [sha256(NEW)]

    @pytest.mark.parametrize("text", ["", "[]", "{}", "\0"])
    def test_a_damaged_record(self, store: FileModelStore, directory: Path, text: str) -> None:
        """With a damaged record there is no active model."""
        (directory / "active.json").write_text(text)
        assert store.record() == FileModelStore(directory).record() == ActiveRecord()

    def test_what_reads_back_different_is_not_kept(
        self, store: FileModelStore, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A card that gives back other bytes than were written is a full store, and left clean."""
        monkeypatch.setattr("holter_device.store._digest", lambda path: sha256(NEW))
        with pytest.raises(StoreFullError, match="card may be failing"):
            store.put(sha256(OLD), OLD, SPEC)
        assert list(directory.iterdir()) == []


class PowerCutError(BaseException):
    """Stands for the end of the process."""


_CALLS = ((os, "fsync"), (Path, "rename"), (Path, "open"), (Path, "unlink"))


@contextlib.contextmanager
def fault_at(number: int, fault: Callable[[], BaseException]) -> Iterator[list[str]]:
    """Raise before the n-th call that changes the disk, and at each one after; names of calls."""
    calls: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in _CALLS:
            patch.setattr(owner, name, _failing(getattr(owner, name), name, calls, number, fault))
        yield calls


def _failing(
    call: Any, name: str, calls: list[str], number: int, fault: Callable[[], BaseException]
) -> Any:
    def replacement(*arguments: Any, **options: Any) -> Any:
        if name == "open" and "wb" not in arguments:
            return call(*arguments, **options)
        calls.append(name)
        if len(calls) >= number:
            raise fault()
        return call(*arguments, **options)

    return replacement


def no_space() -> OSError:
    """What a full disk says."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def put_and_activate(store: FileModelStore) -> None:
    """What a deploy writes."""
    store.put(sha256(NEW), NEW, SPEC)
    store.set_record(ActiveRecord(sha256(NEW), sha256(OLD)))


def count_of_calls(tmp_path: Path) -> int:
    """How many calls a deploy makes."""
    store = FileModelStore(tmp_path / "counted")
    with fault_at(10**9, PowerCutError) as calls:
        put_and_activate(store)
    return len(calls)


class TestCutOff:
    def test_a_process_that_ends_at_any_call(self, tmp_path: Path) -> None:
        """Whichever call was the last, the store opens clean, with the old or the new active."""
        count = count_of_calls(tmp_path)
        assert count >= 12  # 3 files: open, sync, rename, sync of the directory
        states = set()
        for number in range(1, count + 2):
            directory = tmp_path / str(number)
            store = FileModelStore(directory)
            store.put(sha256(OLD), OLD, SPEC)
            store.set_record(ActiveRecord(sha256(OLD)))
            with fault_at(number, PowerCutError), contextlib.suppress(PowerCutError):
                put_and_activate(store)
            again = FileModelStore(directory)
            active = again.record().active
            assert active in (sha256(OLD), sha256(NEW))
            assert again.read(sha256(OLD)) == OLD
            assert again.read(active) in (OLD, NEW)
            assert_clean(again, directory)
            states.add((active == sha256(NEW), len(again.models())))
        assert states == {(False, 1), (False, 2), (True, 2)}

    def test_a_disk_that_fails_at_any_call(self, tmp_path: Path) -> None:
        """An error of the disk is StoreFullError; once it is over the store opens whole."""
        for number in range(1, count_of_calls(tmp_path) + 1):
            directory = tmp_path / str(number)
            store = FileModelStore(directory)
            store.put(sha256(OLD), OLD, SPEC)
            store.set_record(ActiveRecord(sha256(OLD)))
            with fault_at(number, no_space), pytest.raises(StoreFullError) as caught:
                put_and_activate(store)
            assert caught.value.facts == {"detail": "No space left on device"}
            again = FileModelStore(directory)
            assert again.read(again.record().active) in (OLD, NEW)
            assert_clean(again, directory)


def assert_clean(store: FileModelStore, directory: Path) -> None:
    """No file is there that is not a whole model's or the record."""
    names = {
        f"{model.sha256}{suffix}" for model in store.models() for suffix in (".tflite", ".json")
    }
    assert {path.name for path in directory.iterdir()} - {"active.json"} == names


class StoreMachine(RuleBasedStateMachine):
    """A store against a dict."""

    make: Callable[[], ModelStore]

    def __init__(self) -> None:
        super().__init__()
        self.store = type(self).make()
        self.models: dict[str, bytes] = {}
        self.record = ActiveRecord()

    @rule(model=st.binary(max_size=3))
    def put(self, model: bytes) -> None:
        """Put one of a few models."""
        self.store.put(sha256(model), model, dataclasses.replace(SPEC, version=len(model)))
        self.models[sha256(model)] = model

    @rule(model=st.binary(max_size=3))
    def remove(self, model: bytes) -> None:
        """Remove one, there or not."""
        self.store.remove(sha256(model))
        self.models.pop(sha256(model), None)

    @rule(data=st.data())
    def activate(self, data: st.DataObject) -> None:
        """Make one of those that are there the active one."""
        if self.models:
            name = data.draw(st.sampled_from(sorted(self.models)))
            self.record = ActiveRecord(name, self.record.active)
            self.store.set_record(self.record)

    @invariant()
    def same(self) -> None:
        """Models, record and states are those of the dict."""
        found = {model.sha256: model for model in self.store.models()}
        assert {name: self.store.read(name) for name in found} == self.models
        assert self.store.record() == self.record
        for name, model in found.items():
            assert model.spec.version == len(self.models[name])
            assert (model.state is ModelState.ACTIVE) == (name == self.record.active)


class FileStoreMachine(StoreMachine):
    """A FileModelStore, which is cut off and opened again now and then."""

    directory: Path

    def __init__(self) -> None:
        for path in self.directory.glob("*"):
            path.unlink()
        super().__init__()

    @rule()
    def open_again(self) -> None:
        """Start again."""
        self.store = FileModelStore(self.directory)

    @rule(name=st.text("0123456789abcdef", min_size=64, max_size=64))
    def leave_temporary(self, name: str) -> None:
        """A write is cut off, and the store opened again."""
        (self.directory / f"{name}.tflite.tmp").write_bytes(b"half")
        self.open_again()
        assert not list(self.directory.glob("*.tmp"))


def _run(machine: type[StoreMachine], **attributes: Any) -> None:
    options = settings(max_examples=15, stateful_step_count=20, deadline=None)
    run_state_machine_as_test(type("Machine", (machine,), attributes), settings=options)


def test_any_order_of_calls(tmp_path: Path) -> None:
    """Whatever is called in whatever order, the store holds what a dict would."""
    make = functools.partial(FileModelStore, tmp_path)
    _run(FileStoreMachine, directory=tmp_path, make=make)


def test_any_order_of_calls_in_memory() -> None:
    """The same of a store in memory; files that no store has any more are forgotten."""
    files = ModelFiles()
    _run(StoreMachine, make=functools.partial(MemoryModelStore, files))
    gc.collect()
    assert not files


def test_description_is_json(store: FileModelStore, directory: Path) -> None:
    """What is known of a model is readable without this program."""
    store.put(sha256(OLD), OLD, SPEC)
    about = json.loads((directory / f"{sha256(OLD)}.json").read_text())
    assert json.loads(about["spec"])["name"] == SPEC.name
