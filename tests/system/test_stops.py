"""How holterd ends: asked, killed, in the middle of things; and what it leaves behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import holter_host
from holter.v1 import model_service_pb2, model_service_pb2_grpc
from holter_device.windows import window_ends
from holter_host import Classification, UnclassifiableReason
from support.daemon import Daemon, holterd, run
from support.tflite_models import WINDOW as SHORT_WINDOW
from support.tflite_models import averaging_model, endless_model

WINDOW = 3600

pytestmark = pytest.mark.litert


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does, of which no event tells."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def _children(daemon: Daemon, *names: str) -> dict[str, int]:
    """The children, once there are these."""
    await _until(lambda: set(daemon.children()) == set(names))
    return daemon.children()


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_a_stop_ends_a_deploy(tmp_path: Path) -> None:
    """SIGTERM in the middle of a deploy: its caller is told, no child stays, nothing is stored."""
    model = endless_model()
    request = model_service_pb2.DeployModelRequest(
        model=model, sha256=hashlib.sha256(model).hexdigest()
    )
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        deploying = asyncio.ensure_future(stub.DeployModel(request, timeout=60))
        children = await _children(daemon, "sampler", "classifier")
        assert await daemon.stop() == 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await deploying
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "stopping" in str(caught.value.details())
        assert not any(map(_runs, children.values()))
        assert list(tmp_path.joinpath("data", "models").iterdir()) == []
        assert "Traceback" not in daemon.log()


async def test_health_tells_a_stop_at_its_beginning(tmp_path: Path) -> None:
    """While windows still wait for the model, calls are taken and health is NOT_SERVING already."""
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        holter_host.connect(daemon.address) as device,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        await device.deploy(averaging_model())
        request = health_pb2.HealthCheckRequest(service="holter.v1.ClassificationService")
        watching = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=60)
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        (classifier,) = [pid for name, pid in daemon.children().items() if name == "classifier"]
        os.kill(classifier, signal.SIGSTOP)
        begin = (await device.status()).next_sequence
        while (await device.status()).next_sequence < begin + 2 * SHORT_WINDOW:
            pass
        daemon.process.terminate()
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await device.status()).next_sequence > begin
        os.kill(classifier, signal.SIGCONT)
        watching.cancel()
        assert await daemon.process.wait() == 0


async def test_a_killed_holterd_leaves_no_child(tmp_path: Path) -> None:
    """After kill -9 its children end by themselves, one that is busy with a model too."""
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        deploying = asyncio.create_task(device.deploy(endless_model()))
        children = await _children(daemon, "sampler", "classifier")
        daemon.process.kill()
        await daemon.process.wait()
        deploying.cancel()
        await _until(lambda: not any(map(_runs, children.values())))


async def test_a_deploy_after_the_end_of_the_source(tmp_path: Path, short_record: Path) -> None:
    """When a record is over a model can still be deployed; the one before ends, and so does all."""
    async with (
        holterd(
            tmp_path, "--replay", str(short_record), "--speed", "max", "--probation-windows", "0"
        ) as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        async for _ in device.samples("earliest"):
            pass
        await device.deploy(averaging_model())
        first = (await _children(daemon, "classifier"))["classifier"]
        deployed = await device.deploy(averaging_model(bias=(1.0, 0.0, 0.0)))
        assert deployed.swap_sequence == 3600
        await _until(lambda: not _runs(first))
        found = await device.classify(np.zeros(40, np.uint8))
        assert found.model_sha256 == deployed.model.sha256
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log()
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        active = (await device.status()).active_model
        assert active is not None
        assert active.sha256 == deployed.model.sha256


async def _stored_frames(path: Path, sequence: int) -> None:
    """Wait until the first session has this frame on disk."""
    with sqlite3.connect(path) as database:
        while True:
            (key,) = database.execute("SELECT max(key + frame_count) FROM frames").fetchone()
            if key is not None and key > 1 << 40 | sequence:
                return
            await asyncio.sleep(0.02)


async def test_windows_that_were_lost_are_restarted(tmp_path: Path) -> None:
    """Windows that no model had classified when holterd was killed are there, as RESTARTED."""
    model = averaging_model(window=WINDOW, hop=WINDOW, input_shape=(1, WINDOW, 1))
    flags = ("--simulate", "sinus", "--speed", "50")
    async with (
        holterd(tmp_path, *flags) as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        deployed = await device.deploy(model)
        os.kill(daemon.children()["classifier"], signal.SIGSTOP)
        stopped_at = (await device.status()).next_sequence
        await _stored_frames(tmp_path / "data" / "holter.db", stopped_at + 3 * WINDOW)
        daemon.process.kill()
        await daemon.process.wait()
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        found: list[Classification] = []
        async for event in device.classifications("earliest"):
            if isinstance(event, holter_host.SessionStarted) and event.session.session_id == 2:
                next_sequence = event.previous_next_sequence
                break
            if isinstance(event, Classification):
                found.append(event)
    ends = list(window_ends(WINDOW, WINDOW, deployed.swap_sequence, next_sequence))
    assert [window.last_sequence for window in found] == ends
    lost = [window for window in found if window.last_sequence >= stopped_at + WINDOW]
    assert len(lost) >= 2
    for window in lost:
        assert window.unclassifiable_reason is UnclassifiableReason.RESTARTED
        assert window.model_sha256 == deployed.model.sha256


async def test_a_clean_stop_loses_no_window(tmp_path: Path) -> None:
    """A source that waits for the model is stopped with every window of its frames classified."""
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--speed", "max") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        deployed = await device.deploy(averaging_model())
        found: list[Classification] = []
        stopping = None
        async for event in device.classifications("live", reconnect=0):
            if isinstance(event, Classification):
                found.append(event)
                stopping = stopping or asyncio.create_task(daemon.stop())
        assert stopping is not None
        assert await stopping == 0
        assert found[0].last_sequence > deployed.swap_sequence
        assert all(window.label for window in found)
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        last = found[-1]
        start = holter_host.LogPosition(1, last.last_sequence)
        async for event in device.classifications(start):
            if isinstance(event, Classification):
                assert event == last
            if isinstance(event, holter_host.SessionStarted) and event.session.session_id == 2:
                assert 0 < event.previous_next_sequence - last.last_sequence <= 40
                break


@pytest.mark.parametrize("word", ["serve", "config"])
async def test_nobody_reads_what_it_says(tmp_path: Path, word: str) -> None:
    """Where stdout is closed holterd serves all the same, and its other commands end with 0."""
    reader, writer = os.pipe()
    os.close(reader)
    address = f"unix:{tmp_path / 'socket'}"
    flags = ("--simulate", "sinus", "--listen", address, "--data-dir", str(tmp_path / "data"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "holter_device.cli",
        word,
        *flags,
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    if word == "serve":
        await _until(tmp_path.joinpath("socket").exists)
        async with holter_host.connect(address) as device:
            assert (await device.status()).source.kind == "simulate"
        process.terminate()
    _, said = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in said


async def test_a_unix_socket_in_use_is_refused(tmp_path: Path) -> None:
    """A second holterd does not take the socket of one that serves; that of a dead one it does."""
    address = f"unix:{tmp_path / 'socket'}"
    async with holterd(tmp_path, "--simulate", "sinus", "--listen", address) as daemon:
        flags = ("--simulate", "sinus", "--listen", address, "--data-dir", str(tmp_path / "other"))
        status, out, err = await run("holterd", *flags)
        assert (status, out) == (1, "")
        assert err.count("\n") == 1
        assert address in err
        daemon.process.kill()
        await daemon.process.wait()
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--listen", address),
        holter_host.connect(address) as device,
    ):
        assert (await device.status()).session.session_id == 2
