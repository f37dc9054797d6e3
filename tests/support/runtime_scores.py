"""What the runtime of an environment says of a model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from conftest import ROOT

# Of tflite-runtime 2.14; `make test` makes it where that exists.
TFLITE_PYTHON = ROOT / ".venv-tflite" / "bin" / "python"

Array = np.ndarray[Any, np.dtype[Any]]


def scores_in(python: str | Path, model: Path, windows: Array, folder: Path) -> Array:
    """Scores (windows, labels), in a process of that interpreter; `folder` is for its files."""
    np.save(folder / "windows.npy", windows)
    job = {name: str(folder / f"{name}.npy") for name in ("windows", "scores")}
    done = subprocess.run(
        [python, ROOT / "tests" / "support" / "tflite_scores.py"],
        input=json.dumps([{"model": str(model), **job}]),
        capture_output=True,
        text=True,
        check=True,
    )
    (refused,) = json.loads(done.stdout)
    assert refused is None, refused
    scores: Array = np.load(folder / "scores.npy")
    return scores
