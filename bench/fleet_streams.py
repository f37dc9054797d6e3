"""Live streams of many devices into one host process: how many devices a core can take.

Each device sends a message of 100 ms (36 frames at 360 Hz) ten times a second, and a heartbeat each
second. They are played by one process that listens on a port for each and has its messages built;
they send one after another, as devices that know nothing of each other do. Whoever reads is
measured by its CPU time, when all have been connected for a while:

- ours: `Fleet.samples()`, merged, each event with its device's name and clock;
- floor: bare grpc.aio, a channel and a call for each device, messages parsed and counted;
- both again over 2 processes, each with half of the devices, whose CPU time is added up.

Of each the quietest round counts. `devices_a_core` is how many would take all of one core, by the
CPU time of a message (with its part of the heartbeats): where the player is late it sends more of
them in the seconds that are measured.

    python bench/fleet_streams.py [DEVICES]
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import Any

import grpc.aio
from _common import BUILD, cpu_ns, python, report

import holter_host
from holter.v1 import device_service_pb2 as device_pb
from holter.v1 import sample_service_pb2 as sample_pb
from holter.v1 import stream_pb2 as stream_pb

DEVICES = 200
WORKERS = 2
ROUNDS = 3
SECONDS = 5.0
SETTLE_SECONDS = 3.0
GOAL = 0.7
PERIOD_SECONDS = 0.1
FRAMES = 36
RATE_HZ = 360.0
SAMPLES = "/holter.v1.SampleService/StreamSamples"


class Player:
    """Plays all devices: each call gets the session, and then what the time brings."""

    def __init__(self) -> None:
        self._start = time.monotonic_ns()
        self._calls = 0
        self._utc = stream_pb.UtcEstimate(offset_nanos=time.time_ns() - self._start)
        self._session = stream_pb.Session(
            session_id=1,
            log_id="bench",
            rate_hz=RATE_HZ,
            start_monotonic_nanos=self._start,
            channels=[stream_pb.Channel(name="A0", volts_per_count=3.3 / 256, gain=1100)],
            sample_format=stream_pb.SAMPLE_FORMAT_U8,
            boot_id="boot",
            utc=self._utc,
        )

    async def get_clock(self, request: bytes, context: Any) -> bytes:
        clock = device_pb.GetClockResponse(
            monotonic_time_nanos=time.monotonic_ns(), utc=self._utc, boot_id="boot", speed=1
        )
        return clock.SerializeToString()

    async def stream(self, request: bytes, context: Any) -> None:
        loop = asyncio.get_running_loop()
        phase = self._calls * 0.618034 % 1 * PERIOD_SECONDS
        self._calls += 1
        number = int((time.monotonic_ns() - self._start) / 1e9 / PERIOD_SECONDS)
        due = loop.time() + phase
        started = stream_pb.SessionStarted(session=self._session)
        await context.write(_message(session_started=started))
        while True:
            due += PERIOD_SECONDS
            await asyncio.sleep(max(0.0, due - loop.time()))
            await context.write(_message(sample_block=self._block(number)))
            number += 1
            if number % 10 == 0:
                beat = stream_pb.Heartbeat(
                    session_id=1, next_sequence=number * FRAMES, utc=self._utc
                )
                await context.write(_message(heartbeat=beat))

    def _block(self, number: int) -> sample_pb.SampleBlock:
        nanos = self._start + round(number * FRAMES * 1e9 / RATE_HZ)
        return sample_pb.SampleBlock(
            session_id=1,
            first_sequence=number * FRAMES,
            frame_count=FRAMES,
            channel_count=1,
            monotonic_time_nanos=nanos,
            counts=bytes(range(FRAMES)),
            sample_format=stream_pb.SAMPLE_FORMAT_U8,
        )


def _message(**event: Any) -> bytes:
    return sample_pb.StreamSamplesResponse(**event).SerializeToString()


async def play(count: int) -> None:
    """Listen on so many ports; print them."""
    player = Player()
    services = {
        "holter.v1.SampleService": {
            "StreamSamples": grpc.unary_stream_rpc_method_handler(player.stream)
        },
        "holter.v1.DeviceService": {
            "GetClock": grpc.unary_unary_rpc_method_handler(player.get_clock)
        },
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(*each) for each in services.items())
    )
    ports = [server.add_insecure_port("127.0.0.1:0") for _ in range(count)]
    await server.start()
    print(*ports, flush=True)
    await server.wait_for_termination()


class Reader:
    """A client's process; for each line on stdin it prints the messages since the one before."""

    def __init__(self, ports: list[str]) -> None:
        self._addresses = [f"127.0.0.1:{port}" for port in ports]
        self._messages = 0

    async def run(self, kind: str) -> None:
        reading = asyncio.create_task(self._ours() if kind == "ours" else self._bare())
        print("reading", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(self._messages, flush=True)
            self._messages = 0
        reading.cancel()
        await asyncio.wait({reading})

    async def _ours(self) -> None:
        devices = (holter_host.FleetDevice(address, address) for address in self._addresses)
        async with holter_host.Fleet(holter_host.Inventory("bench", tuple(devices))) as fleet:
            async for event in fleet.samples():
                self._messages += isinstance(event.event, holter_host.SampleBlock)

    async def _bare(self) -> None:
        async with asyncio.TaskGroup() as group:
            for address in self._addresses:
                group.create_task(self._read(address))

    async def _read(self, address: str) -> None:
        parse = sample_pb.StreamSamplesResponse.FromString
        async with grpc.aio.insecure_channel(address) as channel:
            call: Any = channel.unary_stream(SAMPLES, response_deserializer=parse)(b"")
            while (message := await call.read()) is not grpc.aio.EOF:
                self._messages += message.HasField("sample_block")


def measure(kind: str, ports: list[str], workers: int) -> tuple[float, float]:
    """CPU time of a message, in microseconds, and the messages a second of a device."""
    with contextlib.ExitStack() as stack:
        processes = []
        for worker in range(workers):
            words = ("read", kind, *ports[worker::workers])
            process, line = stack.enter_context(python(__file__, *words))
            assert line == "reading", line
            processes.append(process)
        pids = [process.pid for process in processes]
        time.sleep(SETTLE_SECONDS)
        for process in processes:
            told(process)
        cpu, begin = cpu_ns(*pids), time.perf_counter()
        time.sleep(SECONDS)
        cpu, messages = cpu_ns(*pids) - cpu, sum(map(told, processes))
        seconds = time.perf_counter() - begin
    return cpu / messages / 1000, messages / seconds / len(ports)


def told(process: Any) -> int:
    """How many messages came since it was asked before."""
    print(file=process.stdin, flush=True)
    return int(process.stdout.readline())


def main(count: int) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    figures: dict[str, object] = {"devices": count}
    with python(__file__, "play", str(count)) as (_, line):
        ports = line.split()
        for workers in (1, WORKERS):
            found: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
            for _ in range(ROUNDS):
                for kind, rounds in found.items():
                    rounds.append(measure(kind, ports, workers))
            ours, bare = (min(rounds) for rounds in found.values())
            ratio = bare[0] / ours[0]
            figures[f"workers_{workers}"] = {
                "devices_a_core": round(1e6 * PERIOD_SECONDS / ours[0]),
                "floor_devices_a_core": round(1e6 * PERIOD_SECONDS / bare[0]),
                "cpu_us_a_message": round(ours[0], 1),
                "floor_cpu_us_a_message": round(bare[0], 1),
                "messages_per_s_a_device": round(ours[1], 2),
                "floor_messages_per_s_a_device": round(bare[1], 2),
                "ratio": round(ratio, 3),
                "goal": GOAL,
                "met": ratio >= GOAL,
            }
    report("fleet_streams", **figures)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["play", count]:
            asyncio.run(play(int(count)))
        case ["read", kind, *ports]:
            asyncio.run(Reader(ports).run(kind))
        case rest:
            main(int(rest[0]) if rest else DEVICES)
