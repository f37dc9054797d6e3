"""The three wheels, built once from the tree as it is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT
from support.venvs import PIP

NAMES = ("proto", "device", "host")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of "proto", "device" and "host"; built from copies, so the tree stays as it is."""
    folder = tmp_path_factory.mktemp("wheels")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    copies = [shutil.copytree(ROOT / name, folder / name, ignore=ignored) for name in NAMES]
    out = folder / "out"
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out]
    subprocess.run([*PIP, "wheel", *flags, *copies], check=True)
    return {name: next(out.glob(f"holter_{name}-*.whl")) for name in NAMES}
