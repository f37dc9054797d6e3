"""From a window's last sample to the client having its class, live.

The latency of a window is the time at which the client has the Classification less the grid time of
the window's last frame, both on CLOCK_MONOTONIC. The hop is 37 frames and the sampler's flush 9 (25
ms at 360 Hz), so that windows end at every place within a flush. The floor is one server process of
a few lines that does the same by hand: it wakes up at each flush of a grid, invokes the interpreter
on each window that ended and writes its scores to a bare grpc.aio stream. Both run at the same
time, half a flush apart, and the client of both is this process.

No goal was set; the bound, on what is added at the median, is to notice when that grows.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

import grpc.aio
import numpy as np
from _common import model_file, python, report
from _floor import METHOD

import holter_host
from support.daemon import holterd

WINDOWS = 150
HOP, WINDOW, FLUSH = 37, 3600, 9
RATE_HZ = 360.0
BOUND_MS = 5.0
FLOOR = str(Path(__file__).with_name("_floor.py"))


async def ours(address: str, session: asyncio.Future[holter_host.Session]) -> list[float]:
    """Latencies in ms; tells the session as soon as it is known."""
    latencies: list[float] = []
    async with holter_host.connect(address) as device:
        await device.deploy(model_file(hop=HOP))
        async for event in device.classifications():
            now_ns = time.monotonic_ns()
            if isinstance(event, holter_host.SessionStarted):
                session.set_result(event.session)
            if isinstance(event, holter_host.Classification):
                latencies.append((now_ns - event.monotonic_time_nanos) / 1e6)
            if len(latencies) == WINDOWS:
                break
    return latencies


async def floor(address: str, session: holter_host.Session) -> list[float]:
    """Latencies in ms, of windows that end half a flush after holterd's."""
    half_flush_ns = round(FLUSH / RATE_HZ / 2 * 1e9)
    grid = {
        "start_ns": session.start_monotonic_nanos + half_flush_ns,
        "rate_hz": RATE_HZ,
        "flush": FLUSH,
        "window": WINDOW,
        "hop": HOP,
        "count": WINDOWS,
    }
    latencies = []
    async with grpc.aio.insecure_channel(address) as channel:
        async for message in channel.unary_stream(METHOD)(json.dumps(grid).encode()):
            now_ns = time.monotonic_ns()
            latencies.append((now_ns - int.from_bytes(message[:8], "little")) / 1e6)
    return latencies


def quantiles(latencies: list[float], prefix: str = "") -> dict[str, float]:
    assert len(latencies) == WINDOWS
    values = np.quantile(latencies, [0.5, 0.95, 1])
    names = ("p50_ms", "p95_ms", "max_ms")
    return {prefix + n: round(float(v), 2) for n, v in zip(names, values, strict=True)}


async def main() -> None:
    model = model_file(hop=HOP)
    with (
        tempfile.TemporaryDirectory() as folder,
        python(FLOOR, "classify", str(model)) as (_, floor_address),
    ):
        async with holterd(Path(folder), "--simulate", "bigeminy") as daemon:
            session = asyncio.get_running_loop().create_future()
            running = asyncio.create_task(ours(daemon.address, session))
            bare = quantiles(await floor(floor_address, await session), "floor_")
            holter = quantiles(await running)
            await daemon.stop()
    added = holter["p50_ms"] - bare["floor_p50_ms"]
    report(
        "latency",
        windows=WINDOWS,
        **holter,
        **bare,
        ratio=round(holter["p50_ms"] / bare["floor_p50_ms"], 3),
        added_p50_ms=round(added, 2),
        goal_added_p50_ms=BOUND_MS,
        met=added <= BOUND_MS,
    )


if __name__ == "__main__":
    asyncio.run(main())
