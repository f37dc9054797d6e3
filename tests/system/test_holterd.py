"""holterd as a command: how it starts, serves and stops, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

import holter_host
from holter.v1 import (
    classification_service_pb2,
    classification_service_pb2_grpc,
    error_reason_pb2,
    sample_service_pb2,
    sample_service_pb2_grpc,
    stream_pb2,
)
from support.daemon import holterd, run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_streams_and_the_command(tmp_path: Path, number: int) -> None:
    """After SIGTERM or SIGINT a stream gets `end` with where to go on, and the status is 0."""
    async with (
        holterd(tmp_path, "--simulate", "bigeminy") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        next_sequence, stopped = 0, None
        stream = device.samples("earliest", reconnect=0)
        async for event in stream:
            if isinstance(event, holter_host.SampleBlock | holter_host.Gap):
                assert event.first_sequence == next_sequence
                next_sequence += event.frame_count
            if next_sequence >= 72 and stopped is None:
                stopped = asyncio.create_task(daemon.stop(number))
        assert stopped is not None
        assert stream.end is not None
        assert stream.end.reason is holter_host.StreamEndReason.STOPPING
        assert stream.end.next_sequence == next_sequence
        assert await stopped == 0
        assert daemon.children() == {}


async def test_a_signal_to_all_its_processes_stops_cleanly(tmp_path: Path) -> None:
    """A stop that reaches the children too, as systemd's does, is no crash of theirs."""
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        stream = device.samples("earliest", reconnect=0)
        stopped = None
        async for _ in stream:
            stopped = stopped or asyncio.create_task(daemon.stop_group())
        assert stopped is not None
        assert await stopped == 0
        assert stream.end is not None
        assert "WARNING" not in daemon.log()


async def test_frames_are_received_or_gaps(tmp_path: Path) -> None:
    """Within a session received + missing is the number of frames, and the stream tiles them."""
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--speed", "50") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        next_sequence = missing = 0
        async for event in device.samples("earliest"):
            if isinstance(event, holter_host.SampleBlock | holter_host.Gap):
                assert event.first_sequence == next_sequence
                next_sequence += event.frame_count
                missing += event.frame_count if isinstance(event, holter_host.Gap) else 0
            if next_sequence > 20_000:
                break
        quality = (await device.status()).quality
        assert missing == 0
        assert quality.missing_count == 0
        assert quality.received_count >= next_sequence


async def test_a_session_follows_a_session(tmp_path: Path) -> None:
    """A stream from the first session's start goes on in the second one, with the hole between."""
    for _ in range(2):
        async with (
            holterd(tmp_path, "--simulate", "sinus") as daemon,
            holter_host.connect(daemon.address) as device,
        ):
            async for event in device.samples("earliest"):
                if isinstance(event, holter_host.SampleBlock) and event.session_id == 2:
                    break
                enough = isinstance(event, holter_host.SampleBlock) and event.first_sequence > 36
                if enough and (await device.status()).session.session_id == 1:
                    break
            await daemon.stop()
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        sessions: list[holter_host.SessionStarted] = []
        next_sequence = 0
        async for event in device.samples("earliest"):
            if isinstance(event, holter_host.SessionStarted):
                sessions.append(event)
                assert event.previous_next_sequence == next_sequence
                next_sequence = 0
            else:
                assert event.first_sequence == next_sequence
                next_sequence += event.frame_count
            if len(sessions) == 3 and next_sequence:
                break
        assert [started.session.session_id for started in sessions] == [1, 2, 3]
        assert [started.previous_session_id for started in sessions] == [0, 1, 2]
        assert sessions[1].hole_nanos > 0
        assert sessions[1].hole_uncertainty_nanos == 0


async def test_a_replayed_source_ends(tmp_path: Path, short_record: Path) -> None:
    """When a record is over its streams end with SOURCE_ENDED, and the past is still served."""
    async with (
        holterd(tmp_path, "--replay", str(short_record), "--speed", "max") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        for _ in range(2):
            stream = device.samples("earliest")
            frames = 0
            async for event in stream:
                if isinstance(event, holter_host.SampleBlock):
                    frames += event.frame_count
            assert frames == 3600
            assert stream.end is not None
            assert stream.end.reason is holter_host.StreamEndReason.SOURCE_ENDED
            assert stream.end.next_sequence == 3600


async def test_health_and_no_model(tmp_path: Path) -> None:
    """Without a model holterd serves, says that there is none, and streams no windows."""
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--speed", "max") as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "holter.v1.ClassificationService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub = classification_service_pb2_grpc.ClassificationServiceStub(channel)
        request = classification_service_pb2.StreamClassificationsRequest(
            start=stream_pb2.StreamStart(earliest=stream_pb2.StartEarliest())
        )
        kinds = []
        async for response in stub.StreamClassifications(request, timeout=30):
            kinds.append(response.WhichOneof("event"))
            if kinds[-1] == "model_changed":
                assert response.model_changed.model_sha256 == ""
            if kinds[-1] == "heartbeat":
                break
        assert kinds == ["session_started", "model_changed", "heartbeat"]


@pytest.mark.parametrize(
    ("position", "reason", "facts"),
    [
        ({"session_id": 99}, "SESSION_NOT_FOUND", {"session_id"}),
        ({"session_id": 1, "log_id": "another"}, "LOG_NOT_FOUND", {"log_id"}),
        (
            {"session_id": 1, "sequence": 10**9},
            "SEQUENCE_OUT_OF_RANGE",
            {"sequence", "next_sequence"},
        ),
        ({"session_id": 1, "sequence": -1}, "INVALID_FIELD", {"field"}),
    ],
)
async def test_a_stream_cannot_start_anywhere(
    tmp_path: Path, position: dict[str, Any], reason: str, facts: set[str]
) -> None:
    """A start that does not exist is refused with its own reason in an ErrorInfo."""
    assert error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        stub = sample_service_pb2_grpc.SampleServiceStub(channel)
        request = sample_service_pb2.StreamSamplesRequest(
            start=stream_pb2.StreamStart(position=stream_pb2.LogPosition(**position))
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.StreamSamples(request, timeout=30).read()
        metadata = caught.value.trailing_metadata()
        assert metadata is not None
        details = bytes(metadata["grpc-status-details-bin"])
        (detail,) = status_pb2.Status.FromString(details).details
        info = error_details_pb2.ErrorInfo()
        assert detail.Unpack(info)
        assert (info.reason, info.domain) == (reason, "holter.v1")
        assert facts <= set(info.metadata)


async def test_one_data_directory_one_holterd(tmp_path: Path) -> None:
    """A second holterd on the same directory says who runs, and the first goes on."""
    async with holterd(tmp_path, "--simulate", "sinus") as daemon:
        data = str(tmp_path / "data")
        words = ("--simulate", "sinus", "--listen", "127.0.0.1:0", "--data-dir", data)
        status, out, err = await run("holterd", *words)
        assert (status, out) == (1, "")
        assert str(daemon.process.pid) in err
        assert "Traceback" not in err
        assert await daemon.stop() == 0


@pytest.mark.parametrize(
    ("flags", "status", "says"),
    [
        (["--simulate", "tango"], 2, "simulate"),
        (["--simulate", "sinus", "--speed", "fast"], 2, "speed"),
        (["--simulate", "sinus", "--replay", "x"], 2, "exclude"),
        (["--simulate", "sinus", "--rate", "0"], 2, "rate"),
        (["--inputs", "A0,A9"], 2, "inputs"),
        (["--bogus"], 2, "--bogus"),
        (["--config", "/nowhere/holterd.toml"], 2, "/nowhere/holterd.toml"),
        (["--replay", "/nowhere/100"], 1, "/nowhere/100"),
        (["--bus", "77"], 1, "/dev/i2c-77"),
        (["--simulate", "sinus", "--listen", "0.0.0.0:0"], 2, "--insecure"),
        (["--simulate", "sinus", "--listen", "nonsense"], 2, "HOST:PORT"),
        (["--simulate", "sinus", "--listen", "unix:/nowhere/holter.sock"], 1, "/nowhere"),
        (["--simulate", "sinus", "--seed", "-1"], 2, "seed"),
        (["--simulate", "sinus", "--child-launcher", "/nowhere/run"], 1, "/nowhere/run"),
        (["--simulate", "sinus", "--data-dir", "/proc/holter"], 1, "/proc/holter"),
        (["--simulate", "sinus", "--data-dir", "/dev/null"], 1, "/dev/null"),
    ],
)
async def test_what_cannot_be_used_is_one_sentence(
    tmp_path: Path, flags: list[str], status: int, says: str
) -> None:
    """A setting that cannot be used ends in one sentence that names it, and never a traceback."""
    given = {flag for flag in flags if flag.startswith("--")}
    if "--data-dir" not in given:
        flags = [*flags, "--data-dir", str(tmp_path)]
    if "--listen" not in given:
        flags = [*flags, "--listen", "127.0.0.1:0"]
    got, out, err = await run("holterd", *flags)
    assert (got, out) == (status, "")
    assert says in err
    assert err.startswith("holterd: ")
    assert err.count("\n") == 1, err


async def test_a_store_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    """A file in the place of the models is named, and no session begins."""
    tmp_path.joinpath("models").touch()
    flags = ("--simulate", "sinus", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path))
    status, out, err = await run("holterd", *flags)
    assert (status, out) == (1, "")
    assert err.startswith(f"holterd: the models in {tmp_path / 'models'}")
    assert err.count("\n") == 1, err


async def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    """A key that no setting has is refused with the file, the key and the keys that there are."""
    path = tmp_path / "holterd.toml"
    path.write_text("rate = 360\nsimulat = 'sinus'\n")
    status, _, err = await run("holterd", "--config", str(path))
    assert status == 2
    assert str(path) in err
    assert "'simulat'" in err
    assert "simulate" in err


async def test_an_address_in_use_is_refused(tmp_path: Path) -> None:
    """Two servers never share a port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        flags = ("--simulate", "sinus", "--listen", address, "--data-dir", str(tmp_path))
        status, _, err = await run("holterd", *flags)
    assert status == 1
    assert err.startswith(f"holterd: cannot listen on {address}")
    assert err.count("\n") == 1, err


def test_a_full_disk_is_one_sentence() -> None:
    """Where stdout cannot be written the command ends with 1 and says so in one sentence."""
    command = [sys.executable, "-m", "holter_device.cli", "config"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "holterd: cannot write the output: No space left on device\n"


async def test_several_addresses_are_served(tmp_path: Path) -> None:
    """Each address of --listen is served, and printed on a line of its own, in order."""
    path = tmp_path / "holter.sock"
    listen = f"localhost:0,unix:{path}"
    async with holterd(tmp_path, "--simulate", "sinus", "--listen", listen) as daemon:
        assert daemon.process.stdout is not None
        second = (await daemon.process.stdout.readline()).decode().split()
        assert second == ["listening", f"unix:{path}"]
        for address in (daemon.address, f"unix:{path}"):
            async with holter_host.connect(address) as device:
                assert (await device.status()).session.session_id == 1


async def test_a_unix_socket_is_served(tmp_path: Path) -> None:
    """holterd serves a Unix socket."""
    path = tmp_path / "holter.sock"
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--listen", f"unix:{path}") as daemon,
        holter_host.connect(f"unix:{path}") as device,
    ):
        assert daemon.address == f"unix:{path}"
        assert (await device.status()).source.kind == "simulate"


async def test_the_sampler_is_started_again(tmp_path: Path) -> None:
    """kill -9 of the sampler is a Gap(SAMPLER_RESTARTED) in the same session; frames go on."""
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        next_sequence, gap, killed = 0, None, False
        async for event in device.samples("earliest"):
            if isinstance(event, holter_host.SessionStarted):
                assert event.session.session_id == 1
                continue
            assert event.first_sequence == next_sequence
            next_sequence += event.frame_count
            if not killed and next_sequence > 36:
                os.kill(daemon.children()["sampler"], signal.SIGKILL)
                killed = True
            if isinstance(event, holter_host.Gap):
                gap = event
            elif gap is not None:
                break
        assert gap is not None
        assert gap.cause is holter_host.GapCause.SAMPLER_RESTARTED
