"""24 hours read back from holterd's log over gRPC, against the same bytes from a file.

The log has 31 104 000 samples of 1 input at 360 Hz, in rows as the commits of a day leave them. The
floor is a bare grpc.aio server that reads the same bytes from a flat file and sends them in
messages of the same size, each one `bytes` of protobuf; `raw` is the same without protobuf. Each
server is a process of its own; one client, which counts the bytes of what is no heartbeat and
parses nothing, reads all in turn; medians. The servers' CPU is told as well, which hardly depends
on what else the machine does. Before that every message of ours is parsed once, and
the counts are compared with what was recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from pathlib import Path

import grpc.aio
import numpy as np
from _common import cpu_ns, python, report
from _floor import METHOD

from holter.v1 import sample_service_pb2 as pb
from holter.v1 import stream_pb2
from holter_device.clock import MonotonicClock, UtcEstimate
from holter_device.grid import Grid
from holter_device.log import Log
from holter_device.samples import Block, Channel, SampleFormat
from support.daemon import holterd

GOAL = 0.7
GOAL_SECONDS = 3.0
ROUNDS = 5
RATE_HZ = 360
COUNTS = np.random.default_rng(1).integers(0, 256, 24 * 3600 * RATE_HZ, "u1").tobytes()
# A heartbeat is shorter; a block of the day, the last one too, is longer.
BLOCK_BYTES = 4096
SAMPLES = "/holter.v1.SampleService/StreamSamples"
FLOOR = str(Path(__file__).with_name("_floor.py"))
FROM_THE_START = pb.StreamSamplesRequest(
    start=stream_pb2.StreamStart(position=stream_pb2.LogPosition(session_id=1))
).SerializeToString()


async def fill(directory: Path) -> None:
    """Write the day into a log, and leave it as holterd would when it stops."""
    log = await Log.open(
        directory, retention_hours=168, commit_interval=3600, clock=MonotonicClock()
    )
    await log.begin_session(
        grid=Grid(0, RATE_HZ),
        channels=(Channel("A0"),),
        sample_format=SampleFormat.U8,
        boot_id="bench",
        utc=UtcEstimate(),
    )
    for first in range(0, len(COUNTS), RATE_HZ):
        log.append([Block(1, first, RATE_HZ, COUNTS[first : first + RATE_HZ])])
        await log.backpressure()
    await log.close()


async def check(address: str) -> list[int]:
    """Compare every sample; the bytes of each message that has some."""
    position = 0
    sizes = []
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_stream(SAMPLES)(FROM_THE_START)
        while position < len(COUNTS):
            message = await call.read()
            block = pb.StreamSamplesResponse.FromString(message).sample_block
            if block.frame_count:
                sizes.append(len(message))
                assert block.first_sequence == position
                assert block.counts == COUNTS[position : position + block.frame_count]
                position += block.frame_count
        call.cancel()
    assert min(sizes) >= BLOCK_BYTES
    return sizes


async def read(address: str, method: str, request: bytes, wanted: int) -> float:
    """Seconds from the request until messages of blocks with so many bytes have come."""
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        begin = time.perf_counter()
        call = channel.unary_stream(method)(request)
        size = 0
        while size < wanted:
            length = len(await call.read())
            size += length if length >= BLOCK_BYTES else 0
        seconds = time.perf_counter() - begin
        call.cancel()
    return seconds


async def main() -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "flat").write_bytes(COUNTS)
        await fill(folder / "data")
        async with contextlib.AsyncExitStack() as stack:
            daemon = await stack.enter_async_context(holterd(folder, "--simulate", "bigeminy"))
            floors = {
                kind: stack.enter_context(python(FLOOR, kind, str(folder / "flat")))
                for kind in ("file", "raw")
            }
            sizes = await check(daemon.address)
            size = round(statistics.median(sizes))
            request = json.dumps({"message_bytes": size}).encode()
            servers = {
                kind: (process.pid, address, METHOD, request, len(COUNTS))
                for kind, (process, address) in floors.items()
            }
            ours = (daemon.address, SAMPLES, FROM_THE_START, sum(sizes))
            servers["ours"] = (daemon.process.pid, *ours)
            seconds: dict[str, list[float]] = {kind: [] for kind in servers}
            cpu: dict[str, list[float]] = {kind: [] for kind in servers}
            for _ in range(ROUNDS):
                for kind, (pid, *what) in servers.items():
                    before = cpu_ns(pid)
                    seconds[kind].append(await read(*what))
                    cpu[kind].append((cpu_ns(pid) - before) / 1e9)
            await daemon.stop()
    our, floor_seconds, raw_seconds = (
        statistics.median(seconds[kind]) for kind in ("ours", "file", "raw")
    )
    report(
        "backfill",
        samples=len(COUNTS),
        messages=len(sizes),
        message_bytes=size,
        seconds=round(our, 3),
        samples_per_s=round(len(COUNTS) / our),
        floor_seconds=round(floor_seconds, 3),
        floor_samples_per_s=round(len(COUNTS) / floor_seconds),
        raw_seconds=round(raw_seconds, 3),
        server_cpu_seconds=round(statistics.median(cpu["ours"]), 3),
        floor_server_cpu_seconds=round(statistics.median(cpu["file"]), 3),
        ratio=round(floor_seconds / our, 3),
        raw_ratio=round(raw_seconds / our, 3),
        goal=GOAL,
        goal_seconds=GOAL_SECONDS,
        met=floor_seconds >= GOAL * our and our < GOAL_SECONDS,
    )


if __name__ == "__main__":
    asyncio.run(main())
