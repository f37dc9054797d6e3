"""Messages a second of one client from holterd, against bare grpc.aio with the same messages.

A live stream sends a few messages a second, whatever the server can do; what is bound by messages
is a backlog, read by who comes back. So a log is filled at full speed, and a holterd that samples
beside it in real time serves it from its file. The floor is a server that has the same messages in
a list. One client, which does not parse, reads both in turn; the quietest round of each is printed.

- classifications: one message a window, about 120 bytes;
- samples: 1 input at 360 Hz in messages of 64 KiB, each joined of more than a hundred rows of the
  log: bound by bytes and rows, not by messages, and so far below what is ready in a list;
- live: 100 streams of one client at 1 input and 360 Hz, each with a message of 9 samples as soon as
  the sampler brings it, 40 a second. Nobody waits for the server there, so that what counts is its
  CPU time a message, of the whole of holterd; the floor sends the like from a timer a stream.

Bytes on the wire a sample are of live streams at 1 input and 360 Hz, heartbeats included: `message`
counts the messages and gRPC's 5 bytes before each, `tcp` what a relay saw the server send.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import pickle
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
from _common import cpu_ns, model_file, python, report
from _floor import METHOD
from google.protobuf import duration_pb2

import holter_host
from holter.v1 import classification_service_pb2 as classification_pb
from holter.v1 import sample_service_pb2 as sample_pb
from holter.v1 import sample_service_pb2_grpc as sample_grpc
from holter.v1 import stream_pb2
from support.daemon import holterd

GOAL = 0.7
ROUNDS = 21
WIRE_SECONDS = 10
GRPC_PREFIX_BYTES = 5
LIVE_STREAMS = 100
LIVE_SECONDS = 2
LIVE_ROUNDS = 3
LIVE_PERIOD_SECONDS = 0.025
FLOOR = str(Path(__file__).with_name("_floor.py"))
SAMPLES = "/holter.v1.SampleService/StreamSamples"
CLASSIFICATIONS = "/holter.v1.ClassificationService/StreamClassifications"

Round = tuple[float, float]  # messages a second, the server's CPU time a message in microseconds


@dataclasses.dataclass(frozen=True)
class Case:
    """A backlog: the stream's method, and how many messages of about which size are read."""

    method: str
    count: int
    size: int

    @property
    def request(self) -> bytes:
        """From the first frame that the log has; the field is the same in both streams."""
        earliest = stream_pb2.StreamStart(earliest=stream_pb2.StartEarliest())
        return sample_pb.StreamSamplesRequest(start=earliest).SerializeToString()

    def parse(self, message: bytes) -> Any:
        """A message as protobuf has it."""
        if self.method == SAMPLES:
            return sample_pb.StreamSamplesResponse.FromString(message)
        return classification_pb.StreamClassificationsResponse.FromString(message)


CASES = {
    "classifications": Case(CLASSIFICATIONS, count=8000, size=120),
    "samples": Case(SAMPLES, count=300, size=1 << 16),
}


async def messages(address: str, method: str, request: bytes) -> AsyncIterator[bytes]:
    """A stream's messages as they are on the wire."""
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        call = channel.unary_stream(method)(request)
        while (message := await call.read()) is not grpc.aio.EOF:
            yield message


async def read(address: str, case: Case) -> list[bytes]:
    """The first messages of a case."""
    async with contextlib.aclosing(messages(address, case.method, case.request)) as stream:
        return [await anext(stream) for _ in range(case.count)]


async def fill(folder: Path, case: Case) -> None:
    """Have holterd sample at full speed until its log has messages enough."""
    async with holterd(folder, "--simulate", "bigeminy", "--speed", "max") as daemon:
        if case.method == CLASSIFICATIONS:
            async with holter_host.connect(daemon.address) as device:
                await device.deploy(model_file(hop=36))
        size = 0
        stream = messages(daemon.address, case.method, case.request)
        async with contextlib.aclosing(stream):
            while size < 1.2 * case.count * case.size:
                size += len(await anext(stream))
        await daemon.stop()


async def rate(address: str, pid: int, case: Case) -> Round:
    """Messages a second, and the server's CPU time a message in microseconds."""
    stream = messages(address, case.method, case.request)
    async with contextlib.aclosing(stream):
        await anext(stream)  # connected, and the server at work
        cpu, begin = cpu_ns(pid), time.perf_counter()
        for _ in range(case.count - 1):
            await anext(stream)
        seconds, cpu = time.perf_counter() - begin, cpu_ns(pid) - cpu
    return (case.count - 1) / seconds, cpu / (case.count - 1) / 1000


async def compare(folder: Path, case: Case) -> dict[str, object]:
    """Read a backlog from holterd and from the floor, in turn."""
    await fill(folder, case)
    async with holterd(folder, "--simulate", "bigeminy") as daemon:
        recorded = [case.parse(message) for message in await read(daemon.address, case)]
        kinds = [message.WhichOneof("event") for message in recorded]
        most = "sample_block" if case.method == SAMPLES else "classification"
        assert kinds.count(most) > 0.9 * case.count, f"{kinds.count(most)} of {case.count}"
        (folder / "messages").write_bytes(pickle.dumps(recorded))
        ours, bare = [], []
        with python(FLOOR, "replay", str(folder / "messages")) as (floor, floor_address):
            replayed = dataclasses.replace(case, method=METHOD)
            for _ in range(ROUNDS):
                ours.append(await rate(daemon.address, daemon.process.pid, case))
                bare.append(await rate(floor_address, floor.pid, replayed))
    return {
        "message_bytes": round(statistics.median(message.ByteSize() for message in recorded)),
        **compared(ours, bare),
    }


def compared(ours: list[Round], bare: list[Round]) -> dict[str, object]:
    """The rates of the quietest rounds, and their ratio."""
    our_rate, bare_rate = max(rate for rate, _ in ours), max(rate for rate, _ in bare)
    return {
        "messages_per_s": round(our_rate),
        "floor_messages_per_s": round(bare_rate),
        "server_cpu_us_per_message": round(min(cpu for _, cpu in ours), 1),
        "floor_cpu_us_per_message": round(min(cpu for _, cpu in bare), 1),
        "ratio": round(our_rate / bare_rate, 3),
        "goal": GOAL,
        "met": our_rate >= GOAL * bare_rate,
    }


async def live(folder: Path) -> dict[str, object]:
    """CPU time a message of many live streams, of holterd and of the floor, in turn."""
    request = sample_pb.StreamSamplesRequest(max_latency=duration_pb2.Duration())
    pace = json.dumps({"period_seconds": LIVE_PERIOD_SECONDS}).encode()
    async with holterd(folder, "--simulate", "bigeminy") as daemon:
        stream = messages(daemon.address, SAMPLES, request.SerializeToString())
        async with contextlib.aclosing(stream):
            first = [await anext(stream) for _ in range(10)]
        message = sample_pb.StreamSamplesResponse.FromString(first[-1])
        (folder / "messages").write_bytes(pickle.dumps([message]))
        with python(FLOOR, "pace", str(folder / "messages")) as (floor, floor_address):
            pids = (daemon.process.pid, *daemon.children().values())
            ours, bare = [], []
            for _ in range(LIVE_ROUNDS):
                data = request.SerializeToString()
                ours.append(await live_cost(daemon.address, pids, SAMPLES, data))
                bare.append(await live_cost(floor_address, (floor.pid,), METHOD, pace))
    our_cpu, bare_cpu = min(cpu for _, cpu in ours), min(cpu for _, cpu in bare)
    return {
        "streams": LIVE_STREAMS,
        "message_bytes": len(first[-1]),
        "messages_per_s": round(max(rate for rate, _ in ours)),
        "server_cpu_us_per_message": round(our_cpu, 1),
        "floor_cpu_us_per_message": round(bare_cpu, 1),
        "ratio": round(bare_cpu / our_cpu, 3),
        "goal": GOAL,
        "met": bare_cpu >= GOAL * our_cpu,
    }


async def live_cost(address: str, pids: tuple[int, ...], method: str, request: bytes) -> Round:
    """Messages a second of all streams, and the CPU time a message in microseconds."""
    count = 0

    async def drain(call: grpc.aio.UnaryStreamCall[bytes, bytes]) -> None:
        nonlocal count
        with contextlib.suppress(asyncio.CancelledError):
            while await call.read() is not grpc.aio.EOF:
                count += 1

    async with grpc.aio.insecure_channel(address) as channel:
        calls = [channel.unary_stream(method)(request) for _ in range(LIVE_STREAMS)]
        draining = [asyncio.create_task(drain(call)) for call in calls]
        await asyncio.sleep(1)  # until all have begun
        cpu, begin, before = cpu_ns(*pids), time.perf_counter(), count
        await asyncio.sleep(LIVE_SECONDS)
        cpu, seconds, received = cpu_ns(*pids) - cpu, time.perf_counter() - begin, count - before
        for call in calls:
            call.cancel()
        await asyncio.gather(*draining)
    return received / seconds, cpu / received / 1000


@contextlib.asynccontextmanager
async def relay(address: str) -> AsyncIterator[tuple[str, list[int]]]:
    """A relay to an address; yields its own, and the sizes of what came from the other end."""
    host, _, port = address.rpartition(":")
    sizes: list[int] = []

    async def pump(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, seen: list[int]
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 16):
                seen.append(len(data))
                sink.write(data)
                await sink.drain()
        sink.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, back, []), pump(there, writer, sizes))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        name = server.sockets[0].getsockname()
        yield f"{name[0]}:{name[1]}", sizes


async def wire(address: str, max_latency_ms: int) -> dict[str, float]:
    """Bytes a sample of a live stream, from its second block to the last one."""
    request = sample_pb.StreamSamplesRequest(
        max_latency=duration_pb2.Duration(
            seconds=max_latency_ms // 1000, nanos=max_latency_ms % 1000 * 1_000_000
        )
    )
    frames = message_bytes = tcp_begin = 0
    async with relay(address) as (through, sizes), grpc.aio.insecure_channel(through) as channel:
        call = sample_grpc.SampleServiceStub(channel).StreamSamples(request)
        async for message in call:
            if tcp_begin:
                message_bytes += GRPC_PREFIX_BYTES + message.ByteSize()
                frames += message.sample_block.frame_count
            elif message.HasField("sample_block"):
                tcp_begin = sum(sizes)
            if frames >= WIRE_SECONDS * 360 and message.HasField("sample_block"):
                break
        tcp_bytes = sum(sizes) - tcp_begin
        call.cancel()
    return {
        "message_bytes_per_sample": round(message_bytes / frames, 3),
        "tcp_bytes_per_sample": round(tcp_bytes / frames, 3),
    }


async def main() -> None:
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for name, case in CASES.items():
            (folder / name).mkdir()
            figures[name] = await compare(folder / name, case)
        (folder / "live").mkdir()
        figures["live"] = await live(folder / "live")
        (folder / "wire").mkdir()
        async with holterd(folder / "wire", "--simulate", "bigeminy") as daemon:
            second, tenth = await asyncio.gather(
                wire(daemon.address, 1000), wire(daemon.address, 100)
            )
    report("stream", **figures, wire_at_1_s=second, wire_at_100_ms=tenth)


if __name__ == "__main__":
    asyncio.run(main())
