"""Reads a .keras file: Keras loads it and exports it as a SavedModel.

Imports Keras, so only the conversion child imports this module.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import keras

from holter_host.errors import BadInputError

_REMEDY: Final = (
    "load it where that is defined, and write a SavedModel with model.export(DIRECTORY)"
)
_UNKNOWN: Final = re.compile(r"Could not locate (?:class|function) '([^']+)'")


def export(path: Path, directory: Path) -> None:
    """Write the model of a .keras file as a SavedModel.

    Nothing of Python is loaded from the file (Keras's safe mode), so a model with a Lambda layer or
    a class of its own is refused.

    Raises:
        BadInputError: Keras cannot load the file, or needs Python code for it.
    """
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever a layer's own code raises
        raise BadInputError(_sentence(path, str(error), type(error).__name__)) from error
    try:
        model.export(str(directory), verbose=False)
    except Exception as error:
        raise BadInputError(
            f"Keras cannot export {path}: {type(error).__name__}: {_first(str(error))}"
        ) from error


def _sentence(path: Path, text: str, kind: str) -> str:
    unknown = _UNKNOWN.search(text)
    if unknown:
        return f"{path} uses {unknown[1]}, which is not part of Keras; {_REMEDY}."
    if "safe_mode" in text or "unsafe" in text:
        return f"{path} holds Python code (a Lambda layer), which is not run; {_REMEDY}."
    return f"Keras cannot load {path}: {kind}: {_first(text)}"


def _first(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")[
        :300
    ]
