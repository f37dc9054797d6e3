"""The parent's end of a child process."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import NoReturn

import pytest

from holter_device.process import Child


async def _child(code: str) -> Child:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    return Child("test", process)


async def test_a_kill_leaves_the_exit_status_to_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill never polls the child: it would take the status of one that has just ended."""

    def poll(process: subprocess.Popen[bytes]) -> NoReturn:
        pytest.fail("the child was polled")

    child = await _child("import sys; sys.stdin.read()")
    monkeypatch.setattr(subprocess.Popen, "poll", poll)
    assert await child.kill() == -signal.SIGKILL
    assert await child.kill() == -signal.SIGKILL


async def test_a_child_that_has_ended_keeps_its_status() -> None:
    """A kill after the end of a child says how it ended."""
    child = await _child("import sys; sys.exit(3)")
    assert await child.stop(grace_seconds=60) == 3
    assert await child.kill() == 3
