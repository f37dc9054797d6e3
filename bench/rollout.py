"""What a rollout costs: a model of 1 MB to 1000 simulated devices, against a bare fan-out.

The floor is what anyone would write by hand on grpc.aio: 64 tasks that open a channel to a device,
call DeployModel with the one message that all of them send, and close it. It asks the devices
nothing, writes nothing down and retries nothing. The rollout is `Fleet.deploy`, which asks
ListModels before the deploy, and has every step of every device on disk (SQLite, synced) before the
next. Both deploy to the same devices (holterd-sim, no probation) in turn, one of two models each,
so that every deploy is a swap and the gate costs both the same. Each is in a process of its own,
and the quietest run of each is printed; the devices share the machine, and take most of it.

Memory is the host process's greatest resident set, for 100 devices and for all.

Goals: at most 1.3 times the floor; memory flat in the number of devices.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from _common import model_file, report, run

DEVICES = 1000
FEW = 100
CONCURRENCY = 64
ROUNDS = 4
GOAL = 1.3
MEMORY_GOAL = 1.1
MEBIBYTE = 2**20
SIM = Path(sys.executable).parent / "holterd-sim"


async def rollout(inventory: Path, model: Path, count: int) -> float:
    """Seconds of a rollout to so many devices."""
    from holter_host import Fleet, Inventory, RolloutState, load_inventory, read_bundle

    whole = load_inventory(inventory)
    fleet = Fleet(Inventory(whole.path, whole.devices[:count]), concurrency=CONCURRENCY)
    bundle = read_bundle(model)
    async with fleet:
        begin = time.perf_counter()
        state = await fleet.deploy(bundle, journal=model.with_suffix(".db")).run()
        seconds = time.perf_counter() - begin
    if state is not RolloutState.DONE:
        sys.exit(f"the rollout ended {state}")
    return seconds


async def floor(inventory: Path, model: Path, count: int) -> float:
    """Seconds of a bare fan-out to so many devices."""
    import hashlib
    import tomllib

    import grpc.aio

    from holter.v1.model_service_pb2 import DeployModelRequest
    from holter.v1.model_service_pb2_grpc import ModelServiceStub

    with inventory.open("rb") as toml, model.open("rb") as file:
        devices, data = tomllib.load(toml)["device"][:count], file.read()
    request = DeployModelRequest(model=data, sha256=hashlib.sha256(data).hexdigest())
    waiting = iter(devices)

    async def work() -> None:
        for device in waiting:
            options = [("grpc.max_send_message_length", -1)]
            async with grpc.aio.insecure_channel(device["address"], options=options) as channel:
                await ModelServiceStub(channel).DeployModel(request, timeout=120)

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return time.perf_counter() - begin


def measure(kind: str, inventory: str, model: str, count: str) -> None:
    """Do it in this process, and print what it took."""
    work = {"rollout": rollout, "floor": floor}[kind]
    seconds = asyncio.run(work(Path(inventory), Path(model), int(count)))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "peak_mib": usage.ru_maxrss / 1024}))


def measured(kind: str, inventory: Path, model: Path, count: int) -> dict[str, float]:
    """The same in a process of its own."""
    found = run(sys.executable, __file__, kind, str(inventory), str(model), str(count))
    return json.loads(found)


@contextlib.contextmanager
def devices(folder: Path, count: int) -> Iterator[Path]:
    """The inventory of so many simulated devices, which run meanwhile."""
    inventory = folder / "fleet.toml"
    command = [SIM, "--devices", str(count), "--listen", "127.0.0.1:0", "--inventory", inventory]
    command += ["--probation-seconds", "0", "--probation-windows", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline().startswith("serving"):
                sys.exit("holterd-sim did not start")
            yield inventory
        finally:
            process.terminate()


def models(folder: Path, count: int) -> Iterator[Path]:
    """So many models of 1 MB that differ: the reference model with a report of random digits."""
    from holter_host.bundle import read_bundle, write_bundle

    bundle = read_bundle(model_file(hop=3600))
    padding = random.Random(1).randbytes((MEBIBYTE - len(bundle.data)) // 2).hex()
    for number in range(count):
        path = folder / f"{number}.tflite"
        spec = dataclasses.replace(bundle.spec, name=f"bench {number}")
        write_bundle(bundle.tflite, spec, bundle.golden, {**bundle.report, "-": padding}, path)
        yield path


def main() -> None:
    """Both in turn, and then the rollout to few devices."""
    kinds = ("floor", "rollout")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = dict(zip(kinds, models(folder, len(kinds)), strict=True))
        with devices(folder, DEVICES) as inventory:
            measured("floor", inventory, files["rollout"], DEVICES)  # each device's first model
            runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
            for _ in range(ROUNDS):
                for kind in kinds:
                    runs[kind].append(measured(kind, inventory, files[kind], DEVICES))
            few: list[dict[str, float]] = []
            for _ in range(2):
                measured("floor", inventory, files["floor"], FEW)
                few.append(measured("rollout", inventory, files["rollout"], FEW))
        size = files["rollout"].stat().st_size
    best = {kind: min(found, key=lambda one: one["seconds"]) for kind, found in runs.items()}
    ratio = best["rollout"]["seconds"] / best["floor"]["seconds"]
    peaks = {
        f"rollout, {FEW} devices": max(one["peak_mib"] for one in few),
        **{f"{k}, {DEVICES} devices": max(o["peak_mib"] for o in r) for k, r in runs.items()},
    }
    growth = peaks[f"rollout, {DEVICES} devices"] / peaks[f"rollout, {FEW} devices"]
    report(
        "rollout",
        devices=DEVICES,
        model_bytes=size,
        concurrency=CONCURRENCY,
        seconds={kind: round(one["seconds"], 2) for kind, one in best.items()},
        host_cpu_s={kind: round(one["cpu_s"], 2) for kind, one in best.items()},
        ratio=round(ratio, 2),
        goal=GOAL,
        peak_mib={name: round(peak) for name, peak in peaks.items()},
        memory_ratio=round(growth, 2),
        memory_goal=MEMORY_GOAL,
        cores=os.cpu_count(),
    )
    if ratio > GOAL or growth > MEMORY_GOAL:
        sys.exit("over a goal")


if __name__ == "__main__":
    measure(*sys.argv[1:]) if sys.argv[1:] else main()
