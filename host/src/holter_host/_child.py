"""A child process that is asked by JSON lines: what conversion and evaluation share."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO, Any


def start(
    command: Sequence[str],
    *,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """The child, with pipes to ask it and to read its answers."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        encoding="utf-8",
        env=env,
    )


def send(process: subprocess.Popen[str], request: Mapping[str, Any]) -> None:
    """Ask it. Of a dead one nothing is said here: its stdout ends at once, see `death`."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()


def end(process: subprocess.Popen[str]) -> None:
    """End it, whatever it does. Safe to repeat."""
    process.kill()
    with contextlib.suppress(BrokenPipeError), process:
        process.wait()


def death(process: subprocess.Popen[str]) -> str:
    """How a child whose stdout has ended came to its end, as a part of a sentence."""
    code = process.wait()
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with status {code}"
