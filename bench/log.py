"""What the log costs: appending, writing, and reading 24 hours back; and the card, by the hour.

What is written an hour is what the log's thread gave to write(), as the kernel counts it: the WAL,
and the pages that are written back from it. The floor of writing is the same bytes in a flat file,
with an fdatasync a commit; the floor of reading is that file, in chunks of 64 KiB. Ours and the
floor take turns in the same run; medians.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from holter_device.clock import MonotonicClock, UtcEstimate
from holter_device.grid import Grid
from holter_device.log import End, EndReason, Log, StartEarliest, StartLive
from holter_device.samples import Block, Channel, Classification, SampleFormat

RATE_HZ = 360
DAY_SECONDS = 24 * 3600
COUNTS = np.random.default_rng(1).integers(0, 256, DAY_SECONDS * RATE_HZ, "u1").tobytes()
CHUNK_BYTES = 64 << 10
LIVE_FRAMES = 9  # what the sampler brings every 25 ms
LIVE_SECONDS = 1200
FOLLOWED_SECONDS = 120
READERS = 100
COMMIT_INTERVALS = (1, 5, 30, 60)
ROUNDS = 5


async def open_log(directory: Path, retention_hours: float = 168) -> Log:
    log = await Log.open(
        directory, retention_hours=retention_hours, commit_interval=3600, clock=MonotonicClock()
    )
    await log.begin_session(
        grid=Grid(0, RATE_HZ),
        channels=(Channel("A0"),),
        sample_format=SampleFormat.U8,
        boot_id="bench",
        utc=UtcEstimate(),
    )
    return log


def block(first: int, count: int) -> Block:
    return Block(1, first, count, COUNTS[first : first + count])


async def wear(directory: Path, seconds: int, windows: bool) -> float:
    """Megabytes that the log writes in an hour with a commit every so many seconds.

    Two hours are recorded, and the second of them is counted: then the log is full, and drops as
    it writes. `windows` adds a classification of five labels a second.
    """
    log = await open_log(directory, retention_hours=0.5)
    before = 0
    for second in range(2 * 3600):
        if second == 3600:
            before = log.recording.written_bytes
        first = second * RATE_HZ
        log.append([block(first, RATE_HZ)])
        if windows:
            log.append([classification(first + RATE_HZ - 1)])
        if (second + 1) % seconds == 0:
            await log.commit()
    written = log.recording.written_bytes - before
    await log.close()
    return round(written / 1e6, 1)


def classification(last: int) -> Classification:
    labels = ("N", "S", "V", "F", "Q")
    first = max(0, last - 3599)
    return Classification(
        session_id=1,
        first_sequence=first,
        last_sequence=last,
        model_sha256="0" * 64,
        labels=labels,
        scores=(0.2,) * len(labels),
        inference_ns=1_000_000,
    )


async def live(directory: Path) -> dict[str, float]:
    """CPU time of an append with nobody and with 100 live readers."""
    log = await open_log(directory)
    frames = (LIVE_SECONDS + FOLLOWED_SECONDS) * RATE_HZ
    blocks = [block(first, LIVE_FRAMES) for first in range(0, frames, LIVE_FRAMES)]
    alone = LIVE_SECONDS * RATE_HZ // LIVE_FRAMES
    per_second = RATE_HZ // LIVE_FRAMES
    cpu = 0
    for index, item in enumerate(blocks[:alone], 1):
        begin = time.thread_time_ns()
        log.append([item])
        cpu += time.thread_time_ns() - begin
        if index % per_second == 0:
            await log.commit()

    async def read() -> int:
        cursor, count = await log.samples(StartLive(), max_latency=0.1), 0
        while not isinstance((items := await cursor.next())[-1], End):
            count += sum(item.frame_count for item in items if isinstance(item, Block))
        return count

    readers = [asyncio.create_task(read()) for _ in range(READERS)]
    await asyncio.sleep(0.1)
    begin = time.process_time_ns()
    for item in blocks[alone:]:
        log.append([item])
        await asyncio.sleep(0)
    log.finish(EndReason.STOPPING)
    followed = sum(await asyncio.gather(*readers))
    reader_cpu = time.process_time_ns() - begin
    assert followed == READERS * FOLLOWED_SECONDS * RATE_HZ
    await log.close()
    return {
        "append_us": round(cpu / alone / 1000, 2),
        "reader_cpu_percent": round(100 * reader_cpu / 1e9 / FOLLOWED_SECONDS / READERS, 3),
    }


async def write_day(directory: Path) -> tuple[float, int]:
    """Seconds to append 24 hours and have them in the file, and how many commits it took."""
    log = await open_log(directory)
    begin = time.perf_counter()
    for first in range(0, len(COUNTS), RATE_HZ):
        log.append([block(first, RATE_HZ)])
        if first % (RATE_HZ * 600) == 0:
            await log.backpressure()
            await asyncio.sleep(0)
    await log.commit()
    seconds = time.perf_counter() - begin
    commits = log._committed.level
    await log.close()
    return seconds, commits


def write_flat(path: Path, commits: int) -> float:
    begin = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for chunk in np.array_split(np.frombuffer(COUNTS, "u1"), commits):
            file.write(chunk.data)
            os.fdatasync(file.fileno())
    return time.perf_counter() - begin


async def read_day(log: Log) -> tuple[float, float]:
    """Seconds, and CPU seconds of all threads, to read 24 hours by a cursor."""
    digest, seconds, cpu = hashlib.blake2b(), 0.0, 0.0
    cursor = await log.samples(StartEarliest(), max_latency=0)
    while True:
        begin, cpu_begin = time.perf_counter(), time.process_time()
        items = await cursor.next(timeout=0)
        seconds += time.perf_counter() - begin
        cpu += time.process_time() - cpu_begin
        if not items:
            break
        for item in items:
            if isinstance(item, Block):
                digest.update(item.counts)
    assert digest.digest() == hashlib.blake2b(COUNTS).digest()
    return seconds, cpu


def read_flat(path: Path) -> float:
    """Seconds to read the same bytes from the flat file."""
    begin = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK_BYTES):
            pass
    return time.perf_counter() - begin


async def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        directory, flat = Path(root), Path(root) / "flat"
        result: dict[str, object] = {**await live(directory / "live")}
        for name, windows in (("frames", False), ("frames_and_windows", True)):
            result[f"written_mb_an_hour_{name}"] = {
                f"commit_interval_{seconds}": await wear(
                    directory / f"{name}{seconds}", seconds, windows
                )
                for seconds in COMMIT_INTERVALS
            }
        writes: list[tuple[float, float]] = []
        for number in range(ROUNDS):
            ours, commits = await write_day(directory / f"day{number}")
            writes.append((ours, write_flat(flat, commits)))
        log = await Log.open(
            directory / "day0", retention_hours=168, commit_interval=3600, clock=MonotonicClock()
        )
        reads = [(*await read_day(log), read_flat(flat)) for _ in range(ROUNDS)]
        await log.close()
    samples = len(COUNTS)
    write, write_floor = (statistics.median(column) for column in zip(*writes, strict=True))
    read, read_cpu, read_floor = (statistics.median(column) for column in zip(*reads, strict=True))
    print(
        json.dumps(
            {
                "bench": "log",
                **result,
                "write_samples_a_second": round(samples / write),
                "write_floor_samples_a_second": round(samples / write_floor),
                "read_24h_seconds": round(read, 3),
                "read_24h_cpu_seconds": round(read_cpu, 3),
                "read_24h_floor_seconds": round(read_floor, 3),
                "read_samples_a_second": round(samples / read),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
