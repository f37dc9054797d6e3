"""The model file: one .tflite with a zip archive appended, named by the sha256 of all its bytes.

    bytes 0 to tflite_size   the TensorFlow Lite flatbuffer, unchanged
    from there to the end    a zip archive: holter/spec.json, holter/golden.npz,
                             holter/report.json, labels.txt

TensorFlow Lite reads the front and ignores the rest; zip tools read the end and ignore the front.
The same arguments always give the same bytes, so that a model keeps its name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from holter.signature import ModelSignature
from holter.spec import GOLDEN_PATH, LABELS_PATH, REPORT_PATH, SPEC_PATH, ModelSpec, SpecError
from holter_host._files import replacing
from holter_host.errors import BadInputError
from holter_host.signing import read_signature, signature_path

TFLITE_IDENTIFIER: Final = b"TFL3"
MAX_MEMBER_BYTES: Final = 64 * 2**20
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Windows and the scores that the model must give for them.

    Attributes:
        windows: float32, shape (count, window, channel_count), in the model's unit.
        scores: float32, shape (count, label_count).
    """

    windows: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """A model file that has been read and checked. Two are equal when their bytes are.

    Attributes:
        path: where it was read.
        sha256: the digest of the whole file in lower-case hex: the model's name.
        data: the whole file.
        tflite_size: how many bytes of it are the flatbuffer.
        spec: what the model takes and gives.
        report: how it was made and how faithful it is (report.json).
        golden: the windows that prove it.
        signature: who vouches for it, from the file beside it; None where there is none. Whether it
            is true is not looked at here; see `holter_host.signing`.
    """

    path: Path = dataclasses.field(compare=False)
    sha256: str
    data: bytes = dataclasses.field(repr=False, compare=False)
    tflite_size: int = dataclasses.field(compare=False)
    spec: ModelSpec = dataclasses.field(compare=False)
    report: Mapping[str, Any] = dataclasses.field(repr=False, compare=False)
    golden: Golden = dataclasses.field(repr=False, compare=False)
    signature: ModelSignature | None = dataclasses.field(default=None, compare=False)

    @property
    def tflite(self) -> bytes:
        """The flatbuffer alone."""
        return self.data[: self.tflite_size]


def write_bundle(
    tflite: bytes,
    spec: ModelSpec,
    golden: Golden,
    report: Mapping[str, Any],
    path: str | os.PathLike[str],
) -> Bundle:
    """Write a model file, all of it or nothing, and read it back.

    A signature beside it that is of another model goes with the file that it was for.

    Args:
        tflite: the flatbuffer; an archive that is appended to it already is left out.
        spec: what the model takes and gives.
        golden: the windows that prove it.
        report: what goes into report.json.
        path: the file to make or to replace.

    Raises:
        BadInputError: the parts do not fit each other, or the file cannot be written there.
        HolterError: the disk is full, or fails.
    """
    target = Path(path)
    data = _pack(tflite_part(tflite, str(target)), spec, golden, report)
    bundle = parse_bundle(data, target)
    with replacing(target) as file:
        file.write(data)
    try:
        signature = read_signature(target, bundle.sha256)
    except BadInputError:
        signature_path(target).unlink(missing_ok=True)
        return bundle
    return dataclasses.replace(bundle, signature=signature)


def read_bundle(path: str | os.PathLike[str], *, with_signature: bool = True) -> Bundle:
    """Read and check a model file, and read the signature beside it, if there is one.

    Args:
        path: the model file.
        with_signature: whether to look for the signature.

    Raises:
        BadInputError: there is no such file, it is not a .tflite, it has no archive of Holter's, or
            a part is damaged or does not fit the others; or the signature is of another model.
    """
    source = Path(path)
    if (source / "saved_model.pb").exists():
        raise BadInputError(
            f"{source} is a SavedModel; convert it first: holter convert {source} -o OUT.tflite"
        )
    try:
        data = source.read_bytes()
    except OSError as error:
        raise BadInputError(f"Cannot read {source}: {error.strerror or error}.") from error
    bundle = parse_bundle(data, source)
    if not with_signature:
        return bundle
    return dataclasses.replace(bundle, signature=read_signature(source, bundle.sha256))


def parse_bundle(data: bytes, path: Path) -> Bundle:
    """Check the bytes of a model file; `path` is what errors call it.

    Raises:
        BadInputError: as `read_bundle`.
    """
    size = len(tflite_part(data, str(path)))
    if size == len(data) and SPEC_PATH.encode() in data:
        raise BadInputError(f"{path} is damaged: the archive at its end cannot be read.")
    if size == len(data):
        raise BadInputError(
            f"{path} has no Holter spec at its end, so it is a plain .tflite or was cut off; make "
            f"a plain one deployable with: holter bundle {path} -o OUT.tflite"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: _member(archive, name) for name in (SPEC_PATH, GOLDEN_PATH)}
            report = json.loads(_member(archive, REPORT_PATH))
        spec = ModelSpec.from_json(members[SPEC_PATH])
        golden = _unpack_golden(members[GOLDEN_PATH])
        _check_golden(golden, spec)
        if not isinstance(report, dict):
            raise ValueError(f"{REPORT_PATH} is not a JSON object")
    except SpecError as error:
        raise BadInputError(f"The spec in {path} cannot be used: {error}.") from error
    except KeyError as error:
        raise BadInputError(
            f"{path} is not a Holter model: it holds no {error.args[0]}; make one with: "
            f"holter bundle {path} -o OUT.tflite"
        ) from error
    except Exception as error:  # a damaged archive raises a dozen types, none of them documented
        raise BadInputError(f"{path} is damaged: {error}.") from error
    digest = hashlib.sha256(data).hexdigest()
    return Bundle(path, digest, data, size, spec, report, golden)


def tflite_part(data: bytes, name: str) -> bytes:
    """The flatbuffer in front of whatever archive is appended; `name` is what errors call it.

    Raises:
        BadInputError: the bytes do not begin like a TensorFlow Lite model.
    """
    if data[4:8] != TFLITE_IDENTIFIER:
        raise BadInputError(
            f"{name} is not a TensorFlow Lite model: bytes 4 to 7 are not "
            f"{TFLITE_IDENTIFIER.decode()}."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            starts = [info.header_offset for info in archive.infolist()]
    except Exception:  # no archive, or one that cannot be read, which `parse_bundle` then says
        return data
    return data[: min(starts)] if starts and min(starts) >= 8 else data


def _pack(tflite: bytes, spec: ModelSpec, golden: Golden, report: Mapping[str, Any]) -> bytes:
    arrays = io.BytesIO()
    np.savez_compressed(arrays, windows=golden.windows, scores=golden.scores)
    members = {
        SPEC_PATH: spec.to_json().encode() + b"\n",
        GOLDEN_PATH: arrays.getvalue(),
        REPORT_PATH: json.dumps(report, indent=2, allow_nan=False).encode() + b"\n",
        LABELS_PATH: "".join(f"{label}\n" for label in spec.labels).encode(),
    }
    out = io.BytesIO()
    out.write(tflite)
    with zipfile.ZipFile(out, "a") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.external_attr = 0o644 << 16
            archive.writestr(info, content, zipfile.ZIP_STORED)
    return out.getvalue()


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise KeyError(name) from None
    if info.file_size > MAX_MEMBER_BYTES:
        raise ValueError(f"{name} says it has {info.file_size} bytes, over {MAX_MEMBER_BYTES}")
    return archive.read(info)


def _unpack_golden(content: bytes) -> Golden:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        total = sum(info.file_size for info in archive.infolist())
    if total > MAX_MEMBER_BYTES:
        raise ValueError(f"{GOLDEN_PATH} unpacks to {total} bytes, over {MAX_MEMBER_BYTES}")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        missing = {"windows", "scores"} - set(arrays.files)
        if missing:
            raise ValueError(f"{GOLDEN_PATH} has no array {' and no '.join(sorted(missing))}")
        return Golden(windows=arrays["windows"], scores=arrays["scores"])


def _check_golden(golden: Golden, spec: ModelSpec) -> None:
    count = len(golden.windows) if golden.windows.ndim else 0
    expected = {
        "windows": (golden.windows, (count, spec.window, spec.channel_count)),
        "scores": (golden.scores, (count, len(spec.labels))),
    }
    for name, (array, shape) in expected.items():
        if count < 1 or array.dtype != np.float32 or array.shape != shape:
            raise ValueError(
                f"the golden {name} are {array.dtype} of shape {list(array.shape)}, "
                f"not float32 of shape {['count', *shape[1:]]}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"the golden {name} hold a value that is not a number")
