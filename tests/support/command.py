"""The command `holter` run in the process of a test, and on a terminal of its own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

HOLTER = [sys.executable, "-c", "from holter_host.cli import main; main()"]


class Done(NamedTuple):
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The objects on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> Any:
        """The one object on stderr."""
        return json.loads(self.err)["error"]


Holter = Callable[..., Done]


def on_a_terminal(*arguments: object, lines: int = 24, columns: int = 100) -> Done:
    """Run it with stdout on a terminal of this size, and stderr beside it."""
    ours, theirs = pty.openpty()
    size = {"TERM": "xterm", "COLUMNS": str(columns), "LINES": str(lines)}
    process = subprocess.Popen(
        [*HOLTER, *map(str, arguments)],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, **size},
    )
    os.close(theirs)
    shown = b""
    with process, os.fdopen(ours, "rb", buffering=0) as terminal:
        try:
            while data := terminal.read(65536):
                shown += data
        except OSError:  # how a terminal ends on Linux
            pass
        _, said = process.communicate()
    return Done(process.returncode, shown.decode(), said.decode())
