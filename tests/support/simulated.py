"""Run the real holterd-sim as a process, as a user would."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path


@dataclasses.dataclass
class SimulatedFleet:
    """A running holterd-sim.

    Attributes:
        inventory: its fleet.toml.
        said: its first line.
        process: the process.
    """

    inventory: Path
    said: str
    process: asyncio.subprocess.Process

    def addresses(self, **labels: str) -> dict[str, str]:
        """The addresses of its devices by name, of those with these labels."""
        devices = tomllib.loads(self.inventory.read_text())["device"]
        return {
            device["name"]: device["address"]
            for device in devices
            if labels.items() <= device["labels"].items()
        }

    async def line(self) -> str:
        """The next line that it says; a change of faults is done when it is said."""
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode()

    async def change(self, number: signal.Signals) -> str:
        """Send SIGUSR1 (all offline devices come back) or SIGHUP, and wait until it is done."""
        self.process.send_signal(number)
        return await self.line()

    async def stop(self) -> int:
        """Send SIGTERM and wait; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@contextlib.asynccontextmanager
async def simulated_fleet(folder: Path, *flags: str) -> AsyncIterator[SimulatedFleet]:
    """Run holterd-sim on free ports, with its inventory in `folder`; killed at the end.

    Raises:
        AssertionError: it ended before it served; the message is what it said.
    """
    inventory, log_path = folder / "fleet.toml", folder / "holterd-sim.log"
    with log_path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "holter_device.simulation.cli",
            "--listen",
            "127.0.0.1:0",
            "--inventory",
            str(inventory),
            *flags,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert line.startswith("serving "), log_path.read_text()
        yield SimulatedFleet(inventory, line, process)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        # Its transport is closed here, so that no warning comes later.
        process._transport.close()  # type: ignore[attr-defined]
