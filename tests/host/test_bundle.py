"""Laws of the model file."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holter.spec import ModelSpec
from holter_host.bundle import Golden, parse_bundle, read_bundle, tflite_part, write_bundle
from holter_host.errors import BadInputError

FLATBUFFER = b"\x1c\x00\x00\x00TFL3" + bytes(range(256)) * 4


def make_spec(**changes: Any) -> ModelSpec:
    """A spec that fits `make_golden`."""
    values: dict[str, Any] = {
        "name": "toy",
        "rate_hz": 360.0,
        "window": 20,
        "hop": 20,
        "unit": "counts",
        "labels": ("N", "S", "V"),
        "input": "x",
        "output": "y",
        "input_shape": (1, 20, 1),
    }
    return ModelSpec(**{**values, **changes})


def make_golden(windows: tuple[int, ...] = (8, 20, 1), scores: tuple[int, ...] = (8, 3)) -> Golden:
    """Random windows and scores."""
    rng = np.random.default_rng(1)
    return Golden(
        rng.normal(0, 1, windows).astype(np.float32), rng.random(scores).astype(np.float32)
    )


@pytest.fixture
def bundle_bytes(tmp_path: Path) -> bytes:
    """A whole model file."""
    path = tmp_path / "made.tflite"
    write_bundle(FLATBUFFER, make_spec(), make_golden(), {"proven": True}, path)
    return path.read_bytes()


def zipped(members: dict[str, bytes]) -> bytes:
    """The flatbuffer with an archive of these members."""
    out = io.BytesIO(FLATBUFFER)
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def members_of(data: bytes) -> dict[str, bytes]:
    """What the archive at the end holds."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """A bundle that was written reads back with the same parts, named by its digest."""
    spec, golden = make_spec(version=7, channels=("MLII",)), make_golden()
    path = tmp_path / "out.tflite"
    written = write_bundle(FLATBUFFER, spec, golden, {"proven": False, "ops": []}, path)
    read = read_bundle(path)
    assert read == written
    assert read.spec == spec
    assert read.report == {"proven": False, "ops": []}
    assert read.tflite == FLATBUFFER
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(read.golden.windows, golden.windows)
    np.testing.assert_array_equal(read.golden.scores, golden.scores)


def test_the_flatbuffer_stands_unchanged_in_front(bundle_bytes: bytes) -> None:
    """The file begins with the .tflite byte for byte, and ends with an archive for zip tools."""
    assert bundle_bytes.startswith(FLATBUFFER)
    members = members_of(bundle_bytes)
    assert list(members) == [
        "holter/spec.json",
        "holter/golden.npz",
        "holter/report.json",
        "labels.txt",
    ]
    assert members["labels.txt"] == b"N\nS\nV\n"


def test_the_same_parts_give_the_same_bytes(tmp_path: Path, bundle_bytes: bytes) -> None:
    """Two bundles of the same parts are the same file, whenever and wherever they are made."""
    other = tmp_path / "elsewhere" / "named-otherwise.tflite"
    other.parent.mkdir()
    write_bundle(FLATBUFFER, make_spec(), make_golden(), {"proven": True}, other)
    assert other.read_bytes() == bundle_bytes


def test_an_old_archive_is_replaced(tmp_path: Path, bundle_bytes: bytes) -> None:
    """Bundling bytes that have an archive gives what bundling the bare flatbuffer gives."""
    path = tmp_path / "again.tflite"
    write_bundle(bundle_bytes, make_spec(), make_golden(), {"proven": True}, path)
    assert path.read_bytes() == bundle_bytes
    assert tflite_part(bundle_bytes, "-") == FLATBUFFER


def test_parts_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    """Golden windows of another length are refused, and the file that was there stays."""
    path = tmp_path / "out.tflite"
    path.write_text("old")
    with pytest.raises(BadInputError, match=r"golden windows are float32 of shape \[8, 19, 1\]"):
        write_bundle(FLATBUFFER, make_spec(), make_golden(windows=(8, 19, 1)), {}, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.tflite"]


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A path that cannot be written is one sentence with the system's reason."""
    with pytest.raises(BadInputError, match=r"Cannot write .*No such file or directory"):
        write_bundle(FLATBUFFER, make_spec(), make_golden(), {}, tmp_path / "no" / "out.tflite")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A missing file is one sentence with its path."""
    with pytest.raises(BadInputError, match=r"Cannot read .*gone\.tflite: No such file"):
        read_bundle(tmp_path / "gone.tflite")


def test_a_plain_tflite_names_the_remedy() -> None:
    """A .tflite without an archive, or with a stranger's, is sent to `holter bundle`."""
    for data in (FLATBUFFER, zipped({"labels.txt": b"a\n"})):
        with pytest.raises(BadInputError, match="holter bundle plain"):
            parse_bundle(data, Path("plain"))


def test_a_saved_model_names_the_remedy(tmp_path: Path) -> None:
    """The directory of a SavedModel is told from other directories, with the way to convert it."""
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(BadInputError, match=f"holter convert {tmp_path} -o"):
        read_bundle(tmp_path)


def test_something_else_is_not_a_model() -> None:
    """Bytes that do not begin like a .tflite are refused, archive or not."""
    with pytest.raises(BadInputError, match="not a TensorFlow Lite model"):
        parse_bundle(zipped({})[20:], Path("other"))


def bad_members() -> dict[str, tuple[str, bytes, str]]:
    """For each kind of damage: the member, its content, and words of the error."""
    spec = json.loads(make_spec().to_json())
    npz = io.BytesIO()
    np.savez(npz, windows=np.zeros((8, 20, 1), np.float32))
    nan = io.BytesIO()
    np.savez(
        nan,
        windows=np.full((8, 20, 1), np.nan, np.float32),
        scores=np.zeros((8, 3), np.float32),
    )
    pickled = io.BytesIO()
    np.savez(pickled, windows=np.array([{}], object), scores=np.zeros((8, 3), np.float32))
    return {
        "spec not JSON": ("holter/spec.json", b"{", "not JSON"),
        "spec not UTF-8": ("holter/spec.json", b"\xff\xfe\x00", "spec"),
        "spec of the future": (
            "holter/spec.json",
            json.dumps({**spec, "spec_version": 9}).encode(),
            "spec_version is 9",
        ),
        "unknown key": (
            "holter/spec.json",
            json.dumps({**spec, "colour": 1}).encode(),
            "unknown key 'colour'",
        ),
        "no scores": ("holter/golden.npz", npz.getvalue(), "no array scores"),
        "nan": ("holter/golden.npz", nan.getvalue(), "not a number"),
        "pickled": ("holter/golden.npz", pickled.getvalue(), "damaged"),
        "golden no zip": ("holter/golden.npz", b"zip", "damaged"),
        "report not JSON": ("holter/report.json", b"", "damaged"),
        "report no object": ("holter/report.json", b"[]", "not a JSON object"),
    }


@pytest.mark.parametrize("name", bad_members())
def test_a_bad_member_is_one_sentence(bundle_bytes: bytes, name: str) -> None:
    """Each part that cannot be read is named, with the path of the file."""
    member, content, words = bad_members()[name]
    data = zipped({**members_of(bundle_bytes), member: content})
    with pytest.raises(BadInputError, match=words) as caught:
        parse_bundle(data, Path("bad.tflite"))
    assert "bad.tflite" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_member_that_claims_too_much_is_not_unpacked(bundle_bytes: bytes) -> None:
    """A golden archive that unpacks to more than 64 MiB is refused before it is unpacked."""
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("windows.npy", bytes(65 * 2**20))
    data = zipped({**members_of(bundle_bytes), "holter/golden.npz": bomb.getvalue()})
    with pytest.raises(BadInputError, match="unpacks to 68157440 bytes"):
        parse_bundle(data, Path("bomb"))


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_is_never_another_exception(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file that is cut or changed anywhere is read or refused with BadInputError."""
    path = tmp_path_factory.getbasetemp() / "damage.tflite"
    if not path.exists():
        write_bundle(FLATBUFFER, make_spec(), make_golden(), {"proven": True}, path)
    whole = path.read_bytes()
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)), label="cut")])
    for _ in range(data.draw(st.integers(0, 3), label="flips") if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = parse_bundle(bytes(damaged), path)
    except BadInputError:
        return
    assert read.sha256 == hashlib.sha256(damaged).hexdigest()
