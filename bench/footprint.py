"""Memory of holterd with a model loaded, and its time from start to serving.

The floor is one Python process that imports what holterd and its classifier import: numpy,
grpc.aio and the LiteRT interpreter. Memory is PSS, in which a page that processes share is divided
among them, after the first windows were classified. Time runs from the start of a process to its
first line; holterd's comes when every call is answered and the model of its store is loaded. Both
start in turn, from compiled files as an installed wheel has them; the quietest start of each is
printed, and the floor's median of memory.

No goal was set for either; holterd is three interpreters that start one after the other, and the
bounds are to notice when that grows. This file imports none of the three libraries itself, else it
would carry a share of their pages.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from _common import BUILD, HOLTER, memory_bytes, model_file, python, report, run

from support.daemon import Daemon, holterd

ROUNDS = 7
WINDOWS = 3
MEMORY_BOUND = 4.0
START_BOUND = 5.0
FLOOR = "import numpy, grpc.aio, ai_edge_litert.interpreter; print('done', flush=True); input()"
FLAGS = ("--simulate", "bigeminy", "--log-level", "warning")
MIB = 2**20


def start_floor() -> tuple[float, dict[str, float]]:
    """Seconds to its first line, and its memory."""
    begin = time.perf_counter()
    with python("-c", FLOOR) as (process, _):
        return time.perf_counter() - begin, mebibytes(process.pid)


async def start_holterd(folder: Path) -> float:
    """Seconds to its first line."""
    begin = time.perf_counter()
    async with holterd(folder, *FLAGS) as daemon:
        seconds = time.perf_counter() - begin
        await daemon.stop()
    return seconds


async def memory(folder: Path) -> dict[str, dict[str, float]]:
    """Memory of each process, the model being at work; it stays in the store of `folder`."""
    async with holterd(folder, *FLAGS) as daemon:
        await holter(daemon, "deploy", str(model_file(hop=36)))
        await holter(daemon, "watch", "--classifications", "--count", str(WINDOWS))
        pids = {"holterd": daemon.process.pid, **daemon.children()}
        found = {name: mebibytes(pid) for name, pid in pids.items()}
        await daemon.stop()
    return found


async def holter(daemon: Daemon, *words: str) -> None:
    """Run a command of the host on the device."""
    await asyncio.to_thread(run, str(HOLTER), *words, "--device", daemon.address)


def mebibytes(pid: int) -> dict[str, float]:
    return {kind: round(size / MIB, 1) for kind, size in memory_bytes(pid).items()}


async def main() -> None:
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""
    os.environ["PYTHONPYCACHEPREFIX"] = str(BUILD / "compiled")  # filled by the first start
    with tempfile.TemporaryDirectory() as text:
        processes = await memory(Path(text))
        floors, ours = [], []
        start_floor()
        for _ in range(ROUNDS):
            floors.append(start_floor())
            ours.append(await start_holterd(Path(text)))
    pss = round(sum(process["pss"] for process in processes.values()), 1)
    floor_pss = statistics.median(sizes["pss"] for _, sizes in floors)
    seconds, floor_seconds = min(ours), min(seconds for seconds, _ in floors)
    report(
        "footprint",
        memory={
            "pss_mib": pss,
            "floor_pss_mib": floor_pss,
            "processes_mib": processes,
            "ratio": round(pss / floor_pss, 2),
            "goal": MEMORY_BOUND,
            "met": pss <= MEMORY_BOUND * floor_pss,
        },
        start={
            "seconds": round(seconds, 3),
            "floor_seconds": round(floor_seconds, 3),
            "ratio": round(seconds / floor_seconds, 2),
            "goal": START_BOUND,
            "met": seconds <= START_BOUND * floor_seconds,
        },
    )


if __name__ == "__main__":
    asyncio.run(main())
