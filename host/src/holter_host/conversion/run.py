"""The public functions: a SavedModel, or a plain .tflite, to one self-describing model file."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Literal

from holter.spec import SPEC_PATH
from holter_host.bundle import Bundle, read_bundle, write_bundle
from holter_host.conversion.options import ConversionOptions, find_options
from holter_host.conversion.process import Converter, Progress
from holter_host.errors import BadInputError

_HDF5_SUFFIXES = (".h5", ".hdf5")
_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")


def convert(
    saved_model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    options: ConversionOptions | None = None,
    progress: Progress | None = None,
    converter: Converter | None = None,
) -> Bundle:
    """Convert a SavedModel to a .tflite with builtin ops, prove it, and bundle it.

    The golden windows are run by the SavedModel in TensorFlow and by the result in LiteRT; a result
    that disagrees, has other ops, or has lost its weights is refused.

    Args:
        saved_model: the SavedModel's directory, or a .keras file of Keras 3.
        output: the model file to make or replace; untouched where the conversion fails.
        options: what the user says; what is left out is taken from model.toml in the SavedModel or
            beside it, then from the model itself.
        progress: is given a short sentence when a stage begins.
        converter: the process to use; one is started and ended where it is None.

    Returns:
        The bundle, as read back.

    Raises:
        BadInputError: the SavedModel, model.toml, an option or the output's path cannot be used.
        ConversionError: no faithful .tflite with builtin ops can be made of the SavedModel.
    """
    source = Path(saved_model)
    _check_saved_model(source)
    return _run("convert", source, Path(output), options, progress, converter)


def bundle_tflite(
    tflite: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    options: ConversionOptions | None = None,
    progress: Progress | None = None,
    converter: Converter | None = None,
) -> Bundle:
    """Make an existing .tflite deployable; its golden scores are its own, so "proven" is false.

    Args:
        tflite: the .tflite; an archive of others that is appended to it is replaced.
        output: as in `convert`.
        options: as in `convert`; model.toml is looked for beside the .tflite.
        progress: as in `convert`.
        converter: as in `convert`.

    Raises:
        BadInputError: the .tflite, model.toml, an option or the output's path cannot be used.
        ConversionError: LiteRT cannot run the .tflite.
    """
    source = Path(tflite)
    if source.is_dir():
        raise BadInputError(f"{source} is a directory; convert a SavedModel with: holter convert.")
    if not source.is_file():
        raise BadInputError(f"{source} does not exist; give the path of a .tflite.")
    if SPEC_PATH.encode() in source.read_bytes():
        raise BadInputError(
            f"{source} is a Holter model already; deploy it as it is, or show it with: "
            f"holter inspect {source}"
        )
    return _run("bundle", source, Path(output), options, progress, converter)


def _run(
    do: Literal["convert", "bundle"],
    source: Path,
    output: Path,
    options: ConversionOptions | None,
    progress: Progress | None,
    converter: Converter | None,
) -> Bundle:
    _check_output(output)
    chosen = options or ConversionOptions()
    options_file = find_options(source)
    if options_file is not None:
        if progress is not None:
            progress(f"Using {options_file}")
        chosen = chosen.over(ConversionOptions.from_toml(options_file))
    with tempfile.TemporaryDirectory(prefix="holter-convert-") as directory:
        made = Path(directory) / "model.tflite"
        request = {
            "do": do,
            "model": str(source),
            "default_name": default_name(source),
            "options": chosen.given(),
            "output": str(made),
        }
        if converter is None:
            with Converter() as own:
                own.run(request, progress)
        else:
            converter.run(request, progress)
        result = read_bundle(made)
    return write_bundle(result.tflite, result.spec, result.golden, result.report, output)


def default_name(model: Path) -> str:
    """What a model is called that nobody named: by its directory, or the one above a dull name."""
    path = model.absolute()
    if path.is_file():
        return path.stem[:100]
    is_dull = path.name in ("saved_model", "export", "model") or path.name.isdigit()
    return ((path.parent.name if is_dull else path.name) or "model")[:100]


def _check_saved_model(path: Path) -> None:
    """Refuse what can be seen not to be a SavedModel before TensorFlow is started for it."""
    if path.is_file():
        _check_file(path)
        return
    if not path.is_dir():
        raise BadInputError(f"{path} does not exist; give the directory of a SavedModel.")
    if any((path / name).is_file() for name in _SAVED_MODEL_FILES):
        return
    if (path / "checkpoint").is_file() or any(path.glob("*.index")):
        raise BadInputError(
            f"{path} is a checkpoint, which has weights and no graph; build the model, load the "
            "checkpoint, and write a SavedModel with model.export(DIRECTORY)."
        )
    within = sorted({file.parent for name in _SAVED_MODEL_FILES for file in path.glob(f"*/{name}")})
    hint = f", but {within[0]} does: give that" if within else ""
    raise BadInputError(f"{path} is not a SavedModel: it holds no saved_model.pb{hint}.")


def _check_file(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix == ".keras":
        if not zipfile.is_zipfile(path):
            raise BadInputError(
                f"{path} is not a .keras file, or is damaged; save the model again."
            )
        return
    if suffix in _HDF5_SUFFIXES:
        raise BadInputError(
            f"{path} is a Keras file in HDF5, not a SavedModel; load it with "
            "keras.models.load_model and write a SavedModel with model.export(DIRECTORY)."
        )
    hint = "use: holter bundle" if suffix == ".tflite" else "give its directory"
    raise BadInputError(f"{path} is a file, not a SavedModel directory; {hint}.")


def _check_output(path: Path) -> None:
    """Refuse an output that could not be written, before the work is done for it."""
    if path.is_dir():
        raise BadInputError(f"{path} is a directory; give the path of a file to write.")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise BadInputError(f"Cannot write {path}: the directory {parent} does not exist.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise BadInputError(f"Cannot write {path}: no permission in {parent}.")
