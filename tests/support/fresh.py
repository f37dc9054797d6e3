"""What code imports, seen in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys


def modules_after(code: str) -> set[str]:
    """The modules, by their full names, that are loaded after the code ran in a new interpreter.

    Raises:
        subprocess.CalledProcessError: the code failed.
    """
    script = f"import sys\n{code}\nprint()\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())
