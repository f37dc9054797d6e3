"""CPU time and memory of a subscriber: holterd in real time, and live streams of 1 to 500 clients.

Each subscriber has a connection of its own and asks for nothing special, so that it gets a message
of 100 ms (36 frames at 360 Hz) ten times a second, and a heartbeat a second. All are in processes
of their own, whose CPU time is not counted; they read what one of fifty gets, and say how old the
newest frame of each of these messages is. Where a machine is too busy to send a message in time it
takes more frames along, so that there are fewer and larger ones: `messages_per_s` tells.

The floor is a bare grpc.aio server that sends one and the same message of as many bytes, already
built, to as many, from a timer each. Of both, what is told is of the whole server (holterd with its
sampler) less what it takes without any subscriber; the memory of few is lost in its noise, and not
told. No goal was set; the bound is to notice a change.

    python bench/subscribers.py [COUNT ...]
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
from _common import cpu_ns, memory_bytes, python, report
from _floor import METHOD

from holter.v1 import sample_service_pb2 as sample_pb
from holter.v1 import sample_service_pb2_grpc as sample_grpc
from support.daemon import holterd

COUNTS = (1, 10, 100, 500)
SECONDS = 5.0
SETTLE_SECONDS = 1.5
ROUNDS = 2
READ_EVERY = 50
PER_PROCESS = 250
MANY = 100
GOAL = 0.5
PERIOD_SECONDS = 0.1
SAMPLES = "/holter.v1.SampleService/StreamSamples"
FLOOR = str(Path(__file__).with_name("_floor.py"))
CHANNEL_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
KIB = 1024


@dataclasses.dataclass(frozen=True)
class Server:
    """A server: its processes, and what a subscriber asks of it."""

    pids: tuple[int, ...]
    address: str
    method: str
    request: bytes


@dataclasses.dataclass
class Subscribers:
    """A client's process: so many streams, each on its own connection."""

    count: int
    messages: int = 0
    ages_ns: list[int] = dataclasses.field(default_factory=list)

    async def run(self, address: str, method: str, request: bytes) -> None:
        """Subscribe; then, for each line on stdin, print what came since the one before."""
        async with contextlib.AsyncExitStack() as stack:
            for number in range(self.count):
                channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
                await stack.enter_async_context(channel)
                parsed = method == SAMPLES and number % READ_EVERY == 0
                reading = self._read(channel.unary_stream(method), request, parsed)
                stack.push_async_callback(_cancel, asyncio.create_task(reading))
            print("subscribed", flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                ages, self.ages_ns = self.ages_ns, []
                print(json.dumps({"messages": self.messages, "ages_ns": ages}), flush=True)
                self.messages = 0

    async def _read(self, method: Any, request: bytes, parsed: bool) -> None:
        call = method(request)
        while (message := await call.read()) is not grpc.aio.EOF:
            self.messages += 1
            if parsed:
                block = sample_pb.StreamSamplesResponse.FromString(message).sample_block
                if block.frame_count:
                    newest = block.monotonic_time_nanos + (block.frame_count - 1) * 1e9 / 360
                    self.ages_ns.append(time.monotonic_ns() - round(newest))


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


@contextlib.contextmanager
def subscribers(server: Server, count: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """Run the clients' processes; yields a function that asks what came since it asked before."""
    with contextlib.ExitStack() as stack:
        processes = []
        for begin in range(0, count, PER_PROCESS):
            mine = str(min(PER_PROCESS, count - begin))
            words = ("client", server.address, server.method, server.request.hex(), mine)
            process, line = stack.enter_context(python(__file__, *words))
            assert line == "subscribed", line
            processes.append(process)

        def ask() -> dict[str, Any]:
            told = []
            for process in processes:
                assert process.stdin is not None
                assert process.stdout is not None
                print(file=process.stdin, flush=True)
                told.append(json.loads(process.stdout.readline()))
            ages = [age for each in told for age in each["ages_ns"]]
            return {"messages": sum(each["messages"] for each in told), "ages_ns": ages}

        yield ask


@dataclasses.dataclass(frozen=True)
class Load:
    """What a server took in a second, and what its subscribers had."""

    cpu_us: float
    memory: int
    messages: float
    ages_ns: list[int]


def measure(server: Server, count: int) -> Load:
    """Load of a server with so many subscribers."""
    with contextlib.ExitStack() as stack:
        ask = stack.enter_context(subscribers(server, count))
        time.sleep(SETTLE_SECONDS)
        ask()
        cpu, begin = cpu_ns(*server.pids), time.perf_counter()
        time.sleep(SECONDS)
        seconds, cpu, told = time.perf_counter() - begin, cpu_ns(*server.pids) - cpu, ask()
        # Not PSS: it falls when the client's process shares the same libraries.
        memory = sum(memory_bytes(pid)["private"] for pid in server.pids)
    return Load(cpu / seconds / 1000, memory, told["messages"] / seconds, told["ages_ns"])


def figures(idle: Load, loads: list[Load], count: int) -> dict[str, float]:
    """What one subscriber costs, of the quietest round."""
    load = min(loads, key=lambda load: load.cpu_us)
    cpu = load.cpu_us - idle.cpu_us
    found = {
        "server_cpu_percent": round(load.cpu_us / 1e4, 1),
        "cpu_us_per_s_per_subscriber": round(cpu / count, 1),
        "cpu_us_per_message": round(cpu / load.messages, 1),
        "messages_per_s": round(load.messages, 1),
    }
    if count >= MANY:
        memory = load.memory - idle.memory
        found["memory_kib_per_subscriber"] = round(memory / count / KIB, 1)
    return found


def ages(loads: list[Load]) -> dict[str, float]:
    """How old the newest frame of a message was when it came, in ms, over all rounds."""
    found = sorted(age for load in loads for age in load.ages_ns)
    return {
        "newest_frame_age_p50_ms": round(statistics.median(found) / 1e6, 1),
        "newest_frame_age_p99_ms": round(found[len(found) * 99 // 100] / 1e6, 1),
        "newest_frame_age_max_ms": round(found[-1] / 1e6, 1),
    }


async def first_block(address: str) -> Any:
    """A message as a subscriber gets it."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = sample_grpc.SampleServiceStub(channel).StreamSamples(
            sample_pb.StreamSamplesRequest()
        )
        while True:
            message = await call.read()
            if message.sample_block.frame_count == 36:
                call.cancel()
                return message


async def main(counts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        async with holterd(folder, "--simulate", "bigeminy") as daemon:
            (folder / "messages").write_bytes(pickle.dumps([await first_block(daemon.address)]))
            with python(FLOOR, "pace", str(folder / "messages")) as (floor, floor_address):
                pids = (daemon.process.pid, *daemon.children().values())
                pace = json.dumps({"period_seconds": PERIOD_SECONDS}).encode()
                ours = Server(pids, daemon.address, SAMPLES, b"")
                bare = Server((floor.pid,), floor_address, METHOD, pace)
                report("subscribers", **await asyncio.to_thread(compare, ours, bare, counts))


def compare(ours: Server, bare: Server, counts: list[int]) -> dict[str, object]:
    """Both, in turn, with ever more subscribers."""
    idle = {server: measure(server, 0) for server in (ours, bare)}
    found: dict[str, object] = {"idle_cpu_percent": round(idle[ours].cpu_us / 1e4, 1)}
    for count in counts:
        rounds = [(measure(ours, count), measure(bare, count)) for _ in range(ROUNDS)]
        our = [load for load, _ in rounds]
        mine = figures(idle[ours], our, count) | ages(our)
        floor = figures(idle[bare], [load for _, load in rounds], count)
        ratio = floor["cpu_us_per_message"] / mine["cpu_us_per_message"]
        found[f"subscribers_{count}"] = {
            **mine,
            **{f"floor_{key}": value for key, value in floor.items()},
            "ratio": round(ratio, 3),
            "goal": GOAL,
            "met": ratio >= GOAL,
        }
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        address, method, request, count = sys.argv[2:]
        client = Subscribers(int(count))
        asyncio.run(client.run(address, method, bytes.fromhex(request)))
    else:
        asyncio.run(main([int(word) for word in sys.argv[1:]] or list(COUNTS)))
