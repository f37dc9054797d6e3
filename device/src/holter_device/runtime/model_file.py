"""Reads a Holter model file. Its bytes are hostile: only a classifier process calls this."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Callable
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from holter.spec import GOLDEN_PATH, SPEC_PATH, ModelSpec, SpecError

from ..errors import ModelMalformedError

TFLITE_IDENTIFIER = b"TFL3"
MAX_SPEC_BYTES = 2**20
MAX_GOLDEN_COUNT = 64

_Shape = tuple[int, ...]
_HeaderReader = Callable[[BinaryIO], tuple[_Shape, bool, np.dtype[np.generic]]]
_HEADER_READERS: dict[tuple[int, int], _HeaderReader] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFile:
    """What a model file holds beside its graph.

    Attributes:
        spec: what the model takes and gives.
        windows: golden windows in the model's unit, float32 (count, window, channels).
        scores: their scores, float32 (count, labels).
    """

    spec: ModelSpec
    windows: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]


def read_model_file(model: bytes) -> ModelFile:
    """Read the archive behind the graph.

    Raises:
        ModelMalformedError: it is no .tflite, has no archive, or spec or golden windows are not
            what they must be.
        MemoryError: it unpacks to more than this process may have.
    """
    if model[4:8] != TFLITE_IDENTIFIER:
        raise malformed("it does not begin like a TensorFlow Lite model")
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            spec = ModelSpec.from_json(_read(archive, SPEC_PATH, MAX_SPEC_BYTES))
            with archive.open(GOLDEN_PATH) as file:
                windows, scores = _read_golden(cast("BinaryIO", file), spec)
    except (ModelMalformedError, MemoryError):
        raise
    except SpecError as error:
        raise malformed(f"its spec is not valid: {error}", key=error.key) from error
    except KeyError as error:
        raise malformed(
            f"{error.args[0]}: it was cut off, or is not made by `holter convert`"
        ) from error
    except zipfile.BadZipFile as error:
        raise malformed(
            "it has no Holter spec at its end, so it is a plain .tflite or was cut off; make a "
            "Holter model with `holter convert` or `holter bundle`"
        ) from error
    except Exception as error:  # zipfile raises a dozen more kinds on damaged archives
        raise malformed(f"its archive is damaged: {type(error).__name__}: {error}") from error
    return ModelFile(spec, windows, scores)


def malformed(detail: str, **facts: object) -> ModelMalformedError:
    """The error for a file that is no Holter model."""
    return ModelMalformedError(
        f"the file is not a usable Holter model: {detail}", detail=detail, **facts
    )


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with archive.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise malformed(f"{name} has more than {limit} bytes")
    return data


def _read_golden(
    file: BinaryIO, spec: ModelSpec
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    with zipfile.ZipFile(file) as arrays:
        windows = _read_array(arrays, "windows", (spec.window, spec.channel_count))
        scores = _read_array(arrays, "scores", (len(spec.labels),))
    if len(windows) != len(scores):
        raise malformed(f"it has {len(windows)} golden windows and {len(scores)} golden scores")
    return windows, scores


def _read_array(archive: zipfile.ZipFile, name: str, item: _Shape) -> npt.NDArray[np.float32]:
    """One array of an .npz, its header checked before any memory is taken for it."""
    with archive.open(f"{name}.npy") as opened:
        file = cast("BinaryIO", opened)
        version = np.lib.format.read_magic(file)
        if version not in _HEADER_READERS:
            raise malformed(f"the golden {name} are .npy of version {version}")
        shape, fortran, dtype = _HEADER_READERS[version](file)
        good = len(shape) == 1 + len(item) and 1 <= shape[0] <= MAX_GOLDEN_COUNT
        if not good or shape[1:] != item or fortran or dtype != np.dtype("<f4"):
            raise malformed(
                f"the golden {name} are {dtype} {shape}, not float32 (1 to {MAX_GOLDEN_COUNT}, "
                f"{', '.join(map(str, item))})"
            )
        size = int(np.prod(shape)) * 4
        data = file.read(size)
    if len(data) != size:
        raise malformed(f"the golden {name} are cut off")
    array = np.frombuffer(data, "<f4").reshape(shape)
    if not np.isfinite(array).all():
        raise malformed(f"the golden {name} hold values that are not finite")
    return array
