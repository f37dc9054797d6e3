"""Run the real holterd as a process, as a user would."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path


@dataclasses.dataclass
class Daemon:
    """A running holterd.

    Attributes:
        address: what its first line said.
        process: the process.
        log_path: where its stderr goes.
    """

    address: str
    process: asyncio.subprocess.Process
    log_path: Path

    def log(self) -> str:
        """What it said on stderr so far."""
        return self.log_path.read_text()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; its exit status."""
        self.process.send_signal(number)
        return await self.process.wait()

    async def stop_group(self) -> int:
        """Send SIGTERM to it and to its children at once, as systemd does; its exit status."""
        os.killpg(self.process.pid, signal.SIGTERM)
        return await self.process.wait()

    def children(self) -> dict[str, int]:
        """The pids of its child processes by their name, e.g. {"sampler": 123}."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
                words = path.joinpath("cmdline").read_bytes().split(b"\0")
                if parent == self.process.pid and b"-m" in words:
                    name = words[words.index(b"-m") + 1].decode().rpartition(".")[2]
                    found[name] = int(path.name)
        return found


@contextlib.asynccontextmanager
async def holterd(
    folder: Path,
    *flags: str,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
    launcher: Sequence[str] = (),
) -> AsyncIterator[Daemon]:
    """Run holterd on a free port with its data below `folder`; killed at the end if it still runs.

    The words of `launcher` come before its command; they must end in an exec.

    Raises:
        AssertionError: it ended before it listened; the message is what it said.
    """
    log_path = folder / "holterd.log"
    with log_path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *launcher,
            python,
            "-m",
            "holter_device.cli",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            str(folder / "data"),
            *flags,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert line.startswith("listening "), log_path.read_text()
        yield Daemon(line.split()[1], process, log_path)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        # Its transport is closed here, so that no warning comes later.
        process._transport.close()  # type: ignore[attr-defined]


async def run(*words: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run a command of Holter's to its end: its status, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / words[0]),
        *words[1:],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()
