"""What the system tests share: the reference model, converted once, and a device to run it on."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT

HOLTER = Path(sys.executable).parent / "holter"
MODEL = ROOT / "models" / "ecg-rhythm"


@pytest.fixture(scope="session")
def saved_model() -> Path:
    """The SavedModel of the reference model."""
    return MODEL / "saved_model"


@pytest.fixture(scope="session")
def model_settings() -> dict[str, Any]:
    """The model.toml of the reference model."""
    return tomllib.loads(MODEL.joinpath("model.toml").read_text())


@pytest.fixture(scope="session")
def model(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference model as `holter convert` makes it, with no flag."""
    out = tmp_path_factory.mktemp("model") / "rhythm.tflite"
    subprocess.run([HOLTER, "convert", saved_model, "-o", out], check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def other_model(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with another name and a hop of 1 s: another digest, other windows."""
    out = tmp_path_factory.mktemp("model") / "other.tflite"
    command = [HOLTER, "convert", saved_model, "-o", out, "--name", "other", "--hop", "360"]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def tflite_python() -> str:
    """The interpreter of an environment with tflite-runtime."""
    python = ROOT / ".venv-tflite" / "bin" / "python"
    if not python.exists():
        pytest.skip(
            "no .venv-tflite: `make test` makes it on Python 3.11, for which tflite-runtime exists"
        )
    return str(python)


@pytest.fixture(scope="session", params=["litert", "tflite"])
def runtime_python(request: pytest.FixtureRequest) -> str:
    """The interpreter of an environment with ai-edge-litert, then of one with tflite-runtime."""
    if request.param == "litert":
        return sys.executable
    python: str = request.getfixturevalue("tflite_python")
    return python
