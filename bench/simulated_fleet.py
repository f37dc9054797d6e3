"""What a device of `holterd-sim` costs: memory and CPU, of one process with many of them.

- ours: idle, then with the reference model (a window every 10 s), then with a reader of a tenth of
  the devices as well, each with blocks of 100 ms;
- floor: as many bare grpc.aio servers, a port each, and a timer a second for each: what is left
  when a device does nothing.

Memory is what the process has more than with one device. `ratio` is the floor's memory by ours;
there is no goal, but a thousand devices are to fit into a few GB and two cores.

    python bench/simulated_fleet.py [DEVICES]
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
from _common import cpu_ns, memory_bytes, model_file, python, report

import holter_host

DEVICES = 500
SECONDS = 20.0
# A device's tail is full after a minute and a quarter.
SETTLE_SECONDS = 80.0


async def floor(count: int) -> None:
    """Listen on so many ports, and do nothing."""
    servers = []
    for _ in range(count):
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)

    loop = asyncio.get_running_loop()

    def tick() -> None:
        loop.call_later(1, tick)

    for _ in range(count):
        tick()
    print("ready", flush=True)
    await servers[0].wait_for_termination()


@contextlib.asynccontextmanager
async def fleet(folder: Path, count: int) -> AsyncIterator[tuple[Any, int]]:
    """A simulated fleet in one process: it, and that process's pid."""
    from support.simulated import simulated_fleet

    async with simulated_fleet(folder, "--devices", str(count), "--processes", "1") as running:
        yield running, child_of(running.process.pid)


def child_of(pid: int) -> int:
    """The pid of a process's only child."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


async def cpu_us(pid: int, count: int) -> float:
    """CPU time a device and second, in microseconds."""
    cpu, begin = cpu_ns(pid), time.perf_counter()
    await asyncio.sleep(SECONDS)
    return round((cpu_ns(pid) - cpu) / (time.perf_counter() - begin) / count / 1000, 1)


async def main(count: int) -> None:
    """Measure the floor, then a fleet of one, then ours."""
    with python(__file__, "floor", "1") as (process, _):
        base = memory_bytes(process.pid)["private"]
    with python(__file__, "floor", str(count)) as (process, _):
        bare = (memory_bytes(process.pid)["private"] - base) / (count - 1)
        bare_cpu = await cpu_us(process.pid, count)
    with tempfile.TemporaryDirectory() as folder:
        async with fleet(Path(folder), 1) as (_, pid):
            base = memory_bytes(pid)["private"]
        async with fleet(Path(folder), count) as (running, pid):
            figures = await ours(running, pid, count, base)
    report(
        "simulated_fleet",
        devices=count,
        **figures,
        floor_kib_a_device=round(bare / 1024, 1),
        floor_cpu_us_a_device_second=bare_cpu,
        ratio=round(bare / 1024 / figures["kib_a_device"], 3),
    )


async def ours(running: Any, pid: int, count: int, base: int) -> dict[str, float]:
    """The figures of a fleet, idle, with a model, and with readers."""
    await asyncio.sleep(SETTLE_SECONDS)
    figures = {"idle_cpu_us_a_device_second": await cpu_us(pid, count)}
    model = model_file(hop=3600).read_bytes()
    async with holter_host.Fleet.load(running.inventory, timeout=60.0) as devices:
        begin = time.perf_counter()
        async for outcome in devices.each(lambda device: device.deploy(model)):
            assert outcome.ok, outcome.error
        figures["deploy_ms_a_device"] = round((time.perf_counter() - begin) / count * 1000, 2)
    await asyncio.sleep(SETTLE_SECONDS)
    figures["model_cpu_us_a_device_second"] = await cpu_us(pid, count)
    figures["kib_a_device"] = round((memory_bytes(pid)["private"] - base) / (count - 1) / 1024, 1)
    addresses = list(running.addresses().values())[: count // 10]
    async with contextlib.AsyncExitStack() as stack:
        for address in addresses:
            device = await stack.enter_async_context(holter_host.connect(address))
            reading = asyncio.create_task(_read(device))
            stack.callback(reading.cancel)
        await asyncio.sleep(3)
        with_readers = await cpu_us(pid, count)
    extra = (with_readers - figures["model_cpu_us_a_device_second"]) * count / len(addresses)
    return figures | {"more_cpu_us_a_reader_second": round(extra, 1)}


async def _read(device: holter_host.Device) -> None:
    async for _ in device.samples():
        pass


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["floor", count]:
            asyncio.run(floor(int(count)))
        case rest:
            asyncio.run(main(int(rest[0]) if rest else DEVICES))
