"""What the wire promises of a real holterd: heartbeats, starts, deploys, health, limits."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

import holter_host
from holter.v1 import (
    classification_service_pb2,
    classification_service_pb2_grpc,
    device_service_pb2,
    device_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    sample_service_pb2,
    sample_service_pb2_grpc,
    stream_pb2,
)
from holter_device.windows import window_ends
from support.daemon import holterd
from support.tflite_models import WINDOW, averaging_model, endless_model


def _at(sequence: int) -> stream_pb2.StreamStart:
    """A place in the first session."""
    return stream_pb2.StreamStart(position=stream_pb2.LogPosition(session_id=1, sequence=sequence))


def _samples(channel: grpc.aio.Channel, start: stream_pb2.StreamStart) -> Any:
    stub = sample_service_pb2_grpc.SampleServiceStub(channel)
    return stub.StreamSamples(sample_service_pb2.StreamSamplesRequest(start=start), timeout=60)


def _classifications(channel: grpc.aio.Channel, start: stream_pb2.StreamStart) -> Any:
    stub = classification_service_pb2_grpc.ClassificationServiceStub(channel)
    request = classification_service_pb2.StreamClassificationsRequest(start=start)
    return stub.StreamClassifications(request, timeout=60)


def _memory_kb(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def _error(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo that an error carries."""
    metadata = error.trailing_metadata()
    assert metadata is not None
    status = status_pb2.Status.FromString(bytes(metadata["grpc-status-details-bin"]))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


async def _deploy(
    channel: grpc.aio.Channel, model: bytes, timeout: float = 60
) -> model_service_pb2.DeployModelResponse:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    digest = hashlib.sha256(model).hexdigest()
    request = model_service_pb2.DeployModelRequest(model=model, sha256=digest)
    response: model_service_pb2.DeployModelResponse = await stub.DeployModel(
        request, timeout=timeout
    )
    return response


async def test_a_heartbeat_tells_how_far_a_stream_of_samples_is(tmp_path: Path) -> None:
    """Everything below a heartbeat's next_sequence was sent before it, and nothing else."""
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        next_sequence = 0
        heartbeats = []
        async for response in _samples(channel, _at(0)):
            kind = response.WhichOneof("event")
            if kind == "sample_block":
                assert response.sample_block.first_sequence == next_sequence
                next_sequence += response.sample_block.frame_count
            elif kind == "heartbeat":
                assert response.heartbeat.session_id == 1
                assert response.heartbeat.next_sequence == next_sequence
                heartbeats.append(response.heartbeat)
            if len(heartbeats) == 2:
                break
        quality = heartbeats[-1].quality
        assert quality.received_count + quality.missing_count >= next_sequence > 0
        assert heartbeats[-1].utc.offset_nanos != 0


@pytest.mark.litert
async def test_a_heartbeat_tells_how_far_a_stream_of_windows_is(tmp_path: Path) -> None:
    """It is where the stream began, and after a window that window's last_sequence + 1."""
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        swapped = await _deploy(channel, averaging_model())
        next_sequence = swapped.swap_sequence
        heartbeats = 0
        async for response in _classifications(channel, _at(next_sequence)):
            kind = response.WhichOneof("event")
            if kind == "classification":
                next_sequence = response.classification.last_sequence + 1
            elif kind == "heartbeat":
                assert response.heartbeat.next_sequence == next_sequence
                heartbeats += 1
            if heartbeats == 2 and next_sequence > swapped.swap_sequence:
                break


@pytest.mark.litert
@pytest.mark.parametrize("stream", [_samples, _classifications])
async def test_what_retention_dropped_is_a_gap(
    tmp_path: Path, stream: Callable[[grpc.aio.Channel, stream_pb2.StreamStart], Any]
) -> None:
    """From a place that is dropped a stream opens with Gap(RETENTION) up to what is kept."""
    flags = ("--simulate", "sinus", "--speed", "max", "--retention-hours", "0.003")
    async with (
        holterd(tmp_path, *flags) as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        deployed = await _deploy(channel, averaging_model())
        while True:  # until retention has come by
            call = stream(channel, _at(deployed.swap_sequence))
            events = [await call.read() for _ in range(3)]
            if "gap" in [event.WhichOneof("event") for event in events]:
                break
            call.cancel()
        # Retention goes on while this is read, and then there are more gaps than one.
        wanted = "sample_block" if stream is _samples else "classification"
        while [event.WhichOneof("event") for event in events].count(wanted) < 2:
            events.append(await call.read())
        call.cancel()
        kinds = [event.WhichOneof("event") for event in events]
        assert kinds[0] == "session_started"
        assert events[0].session_started.session.session_id == 1
        # The model that is in force is told before the first window.
        told_first = [] if stream is _samples else ["model_changed"]
        assert kinds[1 : kinds.index("gap")] == told_first
        next_sequence = deployed.swap_sequence
        for event in events[kinds.index("gap") :]:
            match event.WhichOneof("event"):
                case "gap":
                    assert event.gap.first_sequence == next_sequence
                    assert event.gap.cause == stream_pb2.GAP_CAUSE_RETENTION
                    next_sequence += event.gap.frame_count
                case "sample_block":
                    assert event.sample_block.first_sequence == next_sequence
                    next_sequence += event.sample_block.frame_count
                case "classification":
                    ends = window_ends(WINDOW, WINDOW, next_sequence, next_sequence + WINDOW)
                    assert [event.classification.last_sequence] == list(ends)
                    next_sequence = event.classification.last_sequence + 1
        if stream is not _samples:
            assert events[1].model_changed.model_sha256 == deployed.model.sha256


async def test_a_stream_can_start_at_a_time(tmp_path: Path) -> None:
    """A start by time is the first frame at or after it, by the session's own estimate of UTC."""
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--speed", "50") as daemon,
        holter_host.connect(daemon.address) as device,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        async for event in device.samples("earliest"):
            if isinstance(event, holter_host.SampleBlock) and event.first_sequence > 3600:
                break
        session = (await device.status()).session
        utc_ns = session.start_monotonic_nanos + session.utc.offset_nanos + 5_000_000_000
        start = stream_pb2.StreamStart()
        start.time.FromNanoseconds(utc_ns)
        call = _samples(channel, start)
        assert (await call.read()).WhichOneof("event") == "session_started"
        assert (await call.read()).sample_block.first_sequence == 1800
        call.cancel()


@pytest.mark.parametrize("seconds", [-1, 11])
async def test_a_latency_out_of_range_is_refused(tmp_path: Path, seconds: int) -> None:
    """A max_latency that is not in 0 to 10 s is INVALID_FIELD."""
    request = sample_service_pb2.StreamSamplesRequest(
        max_latency=duration_pb2.Duration(seconds=seconds)
    )
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        stub = sample_service_pb2_grpc.SampleServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.StreamSamples(request, timeout=60).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert _error(caught.value).reason == "INVALID_FIELD"
    assert dict(_error(caught.value).metadata) == {"field": "max_latency"}


@pytest.mark.litert
async def test_one_deploy_at_a_time(tmp_path: Path) -> None:
    """A deploy during a deploy is ABORTED with who and since when; a caller that leaves ends it."""
    model = averaging_model()
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        endless = endless_model()
        first = asyncio.create_task(_deploy(channel, endless))
        while "classifier" not in daemon.children():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _deploy(channel, model)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        info = _error(caught.value)
        assert info.reason == "DEPLOY_IN_PROGRESS"
        assert info.metadata["sha256"] == hashlib.sha256(endless).hexdigest()
        assert info.metadata["peer"].startswith("ipv4:127.0.0.1:")
        assert datetime.datetime.fromisoformat(info.metadata["start_time"]).tzinfo
        first.cancel()
        while True:  # until holterd knows that its caller is gone
            try:
                assert (await _deploy(channel, model)).model.sha256
                break
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.ABORTED:
                    raise


async def test_health_tells_that_holterd_stops(tmp_path: Path) -> None:
    """Who watches a service's health sees NOT_SERVING before holterd is gone."""
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        request = health_pb2.HealthCheckRequest(service="holter.v1.ClassificationService")
        watching = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=60)
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(daemon.stop())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watching.cancel()
        assert await stopping == 0


async def test_an_open_address_is_served_with_a_warning(tmp_path: Path) -> None:
    """With --insecure an address that others reach is served, and the log warns of it."""
    flags = ("--simulate", "sinus", "--insecure", "--listen", "0.0.0.0:0")
    async with holterd(tmp_path, *flags) as daemon:
        host, _, port = daemon.address.rpartition(":")
        assert host == "0.0.0.0"
        assert "without encryption" in daemon.log()
        async with holter_host.connect(f"127.0.0.1:{port}") as device:
            assert (await device.status()).source.kind == "simulate"


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_client_may_ping(tmp_path: Path) -> None:
    """Pings more often than the client's every 20 s cost no connection."""
    options = [
        ("grpc.keepalive_time_ms", 12_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        grpc.aio.insecure_channel(daemon.address, options=options) as channel,
    ):
        device = device_service_pb2_grpc.DeviceServiceStub(channel)
        await device.GetDevice(device_service_pb2.GetDeviceRequest(), timeout=60)
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):  # the third ping too many would be the last
                await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_readers_that_do_not_read_cost_no_memory(tmp_path: Path) -> None:
    """While readers stand still and millions of frames pass, holterd's memory stays as it is."""
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--speed", "max") as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        calls = [_samples(channel, _at(0)) for _ in range(8)]
        for call in calls:
            await call.read()
        sizes = []
        device = device_service_pb2_grpc.DeviceServiceStub(channel)
        for frames in (20_000_000, 100_000_000):
            request = device_service_pb2.GetDeviceRequest()
            while (await device.GetDevice(request, timeout=60)).next_sequence < frames:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            sizes.append(_memory_kb(daemon.process.pid))
        for call in calls:
            call.cancel()
    assert sizes[1] - sizes[0] < 16_000  # kB; 80 MB of counts passed
