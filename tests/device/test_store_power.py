"""A power cut after any step of the process that keeps models leaves the old or the new.

The steps are those of one run of store_writer.py, journalled once; see support/power.py.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from holter_device.store import FileModelStore
from support import store_writer
from support.logs import MEMORY
from support.power import Disk, Record, Step, build_shim, read_image, record, write_image
from support.store_writer import MODELS, NAMES, SIGNATURES

TESTS = str(Path(__file__).parents[1])
CUTS = {Step.WRITE, Step.TRUNCATE, Step.SYNC, Step.CREATE, Step.UNLINK, Step.RENAME, Step.SAY}
Image = dict[str, bytes | None]
VARIANTS: dict[str, Callable[[Disk, int], Image]] = {
    "synced": lambda disk, number: disk.synced(),
    "torn": lambda disk, number: disk.torn(),
    "shuffled": lambda disk, number: disk.shuffled(number),
}


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """One run's steps, which are complete: where they end are the very files."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, for the shim")
    root = tmp_path_factory.mktemp("power") / "root"
    root.mkdir()
    root.joinpath("data").mkdir()
    command = [sys.executable, store_writer.__file__, str(root / "data" / "models")]
    steps = record(root, command, build_shim(root.parent), {"PYTHONPATH": TESTS})
    disk = _disk()
    for step in steps:
        disk.do(step)
    assert disk.now() == read_image(root)
    return steps


def _disk() -> Disk:
    """A disk on which the data directory has long been."""
    disk = Disk()
    disk.names["data"] = disk.synced_names["data"] = -1
    disk.directories[-1] = "data"
    return disk


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cut_after_any_step(
    steps: list[Record], variant: str, record_property: Callable[[str, object], None]
) -> None:
    """The active model is the one that was told last, or the one that was being recorded; it and
    the one before it are whole, nothing is half there, and the store goes on."""
    disk, cuts = _disk(), 0
    for number, step in enumerate(steps):
        disk.do(step)
        if step.step not in CUTS:
            continue
        cuts += 1
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            write_image(VARIANTS[variant](disk, number), Path(folder) / "root")
            _check(Path(folder) / "root" / "data" / "models", disk.said)
    record_property("power_cuts", cuts)
    assert cuts > 60


def _check(directory: Path, said: bytes) -> None:
    told = [line.split() for line in said.decode().rpartition("\n")[0].splitlines()]
    last = [name for word, name in told if word == "active"][-1:]
    begun = [name for word, name in told if word == "begin"][-1:]
    store = FileModelStore(directory)
    record = store.record()
    assert record.active in {*(last or [""]), *begun}
    for name in filter(None, (record.active, record.previous)):
        assert store.read(name) == MODELS[NAMES.index(name)]
        assert store.get(name).spec.version == NAMES.index(name)
        assert store.get(name).signature == SIGNATURES[NAMES.index(name)]
    files = {path.name for path in directory.iterdir()} - {"active.json"}
    held = {model.sha256 for model in store.models()}
    assert files == {f"{name}{suffix}" for name in held for suffix in (".tflite", ".json")}
    for name in held:
        assert store.read(name) == MODELS[NAMES.index(name)]
    store.put(NAMES[3], MODELS[3], store_writer.make_spec(version=3))
    assert store.read(NAMES[3]) == MODELS[3]
