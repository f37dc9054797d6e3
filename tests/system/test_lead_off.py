"""Lead-off lines of a running holterd, on a chip that is simulated below gpiod."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc

from holter.v1 import sample_service_pb2, sample_service_pb2_grpc, stream_pb2
from holter_device.grid import Grid
from holter_device.testing import GpioChipServer, build_shim
from support.daemon import holterd, run

LO_PLUS = sample_service_pb2.LEAD_OFF_REASON_LO_PLUS
LO_MINUS = sample_service_pb2.LEAD_OFF_REASON_LO_MINUS
SETTLING = sample_service_pb2.LEAD_OFF_REASON_SETTLING
DEBOUNCE_NS = 1_000_000
SETTLE_FRAMES = 360
FLAGS = ("--simulate", "sinus", "--inputs", "A0,A1")
EARLIEST = stream_pb2.StreamStart(earliest=stream_pb2.StartEarliest())


def _samples(channel: grpc.aio.Channel) -> Any:
    stub = sample_service_pb2_grpc.SampleServiceStub(channel)
    return stub.StreamSamples(sample_service_pb2.StreamSamplesRequest(start=EARLIEST), timeout=60)


async def test_edges_of_the_lines_are_at_their_frames(tmp_path: Path) -> None:
    """Runs begin and end with the first frame at or after an edge, for the line's own channel.

    A line that was off when holterd started marks from frame 0; after the last one comes the time
    to settle, to the frame.
    """
    lines = "A1:LO+:17,A1:LO-:27"
    with GpioChipServer(tmp_path / "chip") as chip:
        chip.drive(27, high=True)
        env = chip.environment(build_shim(tmp_path, "gpio_shim"))
        async with (
            holterd(tmp_path, *FLAGS, "--lead-off-lines", lines, env=env) as daemon,
            grpc.aio.insecure_channel(daemon.address) as channel,
        ):
            call = _samples(channel)
            session = (await call.read()).session_started.session
            grid = Grid(session.start_monotonic_nanos, session.rate_hz)
            # Edges that are told ahead of their time are at their frames on a busy machine, too.
            plus_ns = max(time.monotonic_ns(), grid.start_ns) + 200_000_000
            minus_ns, end_ns = plus_ns + 100_000_000, plus_ns + 300_000_000
            chip.drive(17, high=True, time_ns=plus_ns + DEBOUNCE_NS)
            chip.drive(27, high=False, time_ns=minus_ns + DEBOUNCE_NS)
            chip.drive(17, high=False, time_ns=end_ns + DEBOUNCE_NS)
            plus, minus, end = map(grid.sequence_at, (plus_ns, minus_ns, end_ns))
            marks: dict[int, list[int]] = {}
            until, following = end + SETTLE_FRAMES + 10, 0
            while following < until:
                response = await call.read()
                if response.WhichOneof("event") != "sample_block":
                    continue
                block = response.sample_block
                following = block.first_sequence + block.frame_count
                for mark in block.lead_off_runs:
                    assert mark.channel_indexes == [1]
                    last = mark.first_sequence + mark.frame_count
                    marks |= {key: [*mark.reasons] for key in range(mark.first_sequence, last)}
            call.cancel()
            expected = {key: [LO_MINUS] for key in range(plus)}
            expected |= {key: [LO_PLUS, LO_MINUS] for key in range(plus, minus)}
            expected |= {key: [LO_PLUS] for key in range(minus, end)}
            expected |= {key: [SETTLING] for key in range(end, end + SETTLE_FRAMES)}
            assert marks == expected
            assert await daemon.stop() == 0


async def test_lines_that_are_not_there_are_one_sentence() -> None:
    """Without the chip holterd ends with what is wrong and what to set, and samples nothing."""
    status, out, err = await run("holterd", *FLAGS, "--lead-off-lines", "A0:LO+:17")
    assert (status, out) == (1, "")
    assert err.startswith("holterd: there is no GPIO chip /dev/gpiochip0")
    assert err.count("\n") == 1


async def test_lines_of_no_channel_are_bad_usage() -> None:
    """A line whose channel is not sampled is refused, with the channels that there are."""
    status, _, err = await run("holterd", *FLAGS, "--lead-off-lines", "A2:LO+:17")
    assert status == 2
    assert err == "holterd: lead_off_lines has 'A2:LO+:17', but the channels are A0, A1\n"
