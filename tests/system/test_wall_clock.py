"""A wall clock that is stepped while holterd runs, and what GetClock says of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import timestamp_pb2

from holter.v1 import (
    device_service_pb2,
    device_service_pb2_grpc,
    sample_service_pb2,
    sample_service_pb2_grpc,
    stream_pb2,
)
from holter_device.clock import boot_id
from support.daemon import holterd
from support.wall_clock import STA_UNSYNC, wall_clock

HOUR_NS = 3600 * 10**9
# Longer than a test, shorter than the step: retention by the wall clock would drop everything.
RETENTION = ("--retention-hours", "0.5", "--commit-interval", "0.1")
SECOND_FRAMES = 360
UNCERTAIN_NS = 10**9
EARLIEST = stream_pb2.StreamStart(earliest=stream_pb2.StartEarliest())


def _samples(channel: grpc.aio.Channel, start: stream_pb2.StreamStart) -> Any:
    stub = sample_service_pb2_grpc.SampleServiceStub(channel)
    return stub.StreamSamples(sample_service_pb2.StreamSamplesRequest(start=start), timeout=60)


async def _clock(channel: grpc.aio.Channel) -> device_service_pb2.GetClockResponse:
    stub = device_service_pb2_grpc.DeviceServiceStub(channel)
    response: device_service_pb2.GetClockResponse = await stub.GetClock(
        device_service_pb2.GetClockRequest(), timeout=10
    )
    return response


def _time(utc_ns: int) -> stream_pb2.StreamStart:
    instant = timestamp_pb2.Timestamp()
    instant.FromNanoseconds(utc_ns)
    return stream_pb2.StreamStart(time=instant)


class Story:
    """What a stream of samples told: it must be without a gap, each frame on the grid."""

    def __init__(self) -> None:
        self.session = stream_pb2.Session()
        self.next_sequence = 0
        self.utc: list[stream_pb2.UtcEstimate] = []

    def take(self, response: sample_service_pb2.StreamSamplesResponse) -> None:
        """Take the next event."""
        kind = response.WhichOneof("event")
        if kind == "session_started":
            self.session = response.session_started.session
        elif kind == "heartbeat":
            self.utc.append(response.heartbeat.utc)
        else:
            assert kind == "sample_block", response
            block = response.sample_block
            assert block.first_sequence == self.next_sequence
            start_ns = self.session.start_monotonic_nanos
            offset_ns = round(block.first_sequence * 1e9 / self.session.rate_hz)
            assert block.monotonic_time_nanos == start_ns + offset_ns
            self.next_sequence += block.frame_count


@pytest.mark.parametrize("step_ns", [HOUR_NS, -HOUR_NS], ids=["forward", "back"])
async def test_a_step_of_an_hour_changes_no_time_between_frames(
    tmp_path: Path, step_ns: int
) -> None:
    """Frames go on on their grid without a gap; only the UTC beside them follows the step.

    What a session said of its start stays as it was, nothing is dropped, and a start by time means
    the clock as it is now.
    """
    with wall_clock(tmp_path) as wall:
        async with (
            holterd(tmp_path, "--simulate", "sinus", *RETENTION, env=wall.environment) as daemon,
            grpc.aio.insecure_channel(daemon.address) as channel,
        ):
            story = Story()
            call = _samples(channel, EARLIEST)
            while not story.utc:
                story.take(await call.read())
            before, stepped_at = story.utc[-1], story.next_sequence
            wall.step(step_ns)
            while abs(story.utc[-1].offset_nanos - before.offset_nanos - step_ns) > UNCERTAIN_NS:
                story.take(await call.read())
            # Whatever is dropped or lost by the step would show in what comes now.
            until = stepped_at + 3 * SECOND_FRAMES
            while story.next_sequence < until:
                story.take(await call.read())
            call.cancel()

            again = Story()
            replay = _samples(channel, EARLIEST)
            while again.next_sequence < until:
                again.take(await replay.read())
            replay.cancel()
            assert again.session == story.session
            assert abs(story.session.utc.offset_nanos - before.offset_nanos) < UNCERTAIN_NS

            clock = await _clock(channel)
            wanted = stepped_at + SECOND_FRAMES
            utc_ns = story.session.start_monotonic_nanos + clock.utc.offset_nanos
            utc_ns += round(wanted * 1e9 / story.session.rate_hz)
            by_time = _samples(channel, _time(utc_ns))
            first = None
            while first is None:
                response = await by_time.read()
                if response.WhichOneof("event") == "sample_block":
                    first = response.sample_block.first_sequence
            by_time.cancel()
            assert abs(first - wanted) <= 2


async def test_get_clock_tells_both_clocks(tmp_path: Path) -> None:
    """It tells an instant between request and response on both clocks, and the kernel's word.

    Where the kernel knows of no time server, or does not say, the clock is not synchronized.
    """
    with wall_clock(tmp_path) as wall:
        async with (
            holterd(tmp_path, "--simulate", "sinus", env=wall.environment) as daemon,
            grpc.aio.insecure_channel(daemon.address) as channel,
        ):
            for max_error_us, status in ((2500, 0), (16_000_000, STA_UNSYNC), (-1, 0)):
                wall.say(max_error_us, status)
                mono, utc = time.monotonic_ns(), time.time_ns()
                clock = await _clock(channel)
                took = time.monotonic_ns() - mono
                assert mono <= clock.monotonic_time_nanos <= mono + took
                known_ns = max(0, max_error_us) * 1000
                assert known_ns <= clock.utc.uncertainty_nanos <= known_ns + took
                offset_ns = clock.utc.offset_nanos
                assert abs(offset_ns - (utc - mono)) <= clock.utc.uncertainty_nanos + took
                assert clock.utc.synchronized is (max_error_us == 2500)
                assert (clock.boot_id, clock.speed) == (boot_id(), 1)


async def test_get_clock_tells_simulated_time(tmp_path: Path) -> None:
    """At another speed the clock is the device's own, and runs as much faster as it says."""
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--speed", "20") as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        before = time.monotonic_ns()
        first = await _clock(channel)
        middle = time.monotonic_ns()
        await asyncio.wait_for(_samples(channel, EARLIEST).read(), 10)
        after = time.monotonic_ns()
        second = await _clock(channel)
        end = time.monotonic_ns()
        assert first.speed == second.speed == 20
        elapsed_ns = second.monotonic_time_nanos - first.monotonic_time_nanos
        assert 20 * (after - middle) <= elapsed_ns <= 20 * (end - before)
        assert first.utc == second.utc
