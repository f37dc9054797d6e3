"""Small environments of their own, made by the pip that runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def make_venv(folder: Path, *requirements: str | Path, python: str = sys.executable) -> Path:
    """An environment below `folder` with these requirements and what they need; its bin directory.

    Args:
        folder: where it is made.
        requirements: as the arguments of pip install.
        python: the interpreter that it is for.

    Raises:
        subprocess.CalledProcessError: pip failed; its words are on stderr.
    """
    if python == sys.executable:
        venv.create(folder, with_pip=False, symlinks=True)
    else:
        subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    bin_path = folder / "bin"
    pip = [*PIP, "--python", bin_path / "python", "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, *requirements], check=True)
    return bin_path


def run(*words: str | Path) -> tuple[int, str, str]:
    """Run a command as a user would, away from the source tree: its status, stdout and stderr."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd="/", env=environment
    )
    return done.returncode, done.stdout, done.stderr
