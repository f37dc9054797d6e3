"""Deploys that meet each other, a client that vanishes, and a disk that is full."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import holter_host
from holter_host import Classification, DeployInProgressError, ModelRefusedError
from support.daemon import Daemon, holterd, run
from support.disk import fill, small_disk
from support.tflite_models import averaging_model, endless_model

pytestmark = pytest.mark.litert

OLD = averaging_model(name="old")
NEW = averaging_model(name="new", bias=(1.0, 0.0, 0.0))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    yield from small_disk(tmp_path / "disk", "4m")


async def _children(daemon: Daemon, *names: str) -> None:
    """Wait until these are its children."""
    async with asyncio.timeout(60):
        while sorted(daemon.children()) != sorted(names):  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.02)


async def _deployed(device: holter_host.Device, model: Path) -> holter_host.DeployResult:
    """Deploy it, as soon as the deploy before has taken note of the end of its classifier."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await device.deploy(model)
            except DeployInProgressError:
                await asyncio.sleep(0.02)


async def test_a_client_that_vanishes(tmp_path: Path) -> None:
    """While its deploy is judged another is refused with who and since when; once the client is
    killed its classifier is gone, nothing is stored, and the next deploy has its turn."""
    path = tmp_path / "endless.tflite"
    path.write_bytes(endless_model())
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--model-timeout", "60") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        command = str(Path(sys.executable).parent / "holter")
        words = (command, "deploy", str(path), "--device", daemon.address)
        client = await asyncio.create_subprocess_exec(*words)
        await _children(daemon, "sampler", "classifier")
        model = tmp_path / "new.tflite"
        model.write_bytes(NEW)
        at = ("--device", daemon.address, "--json")
        code, out, err = await run("holter", "deploy", str(model), *at)
        assert (code, out) == (1, "")
        error = json.loads(err)["error"]
        assert error["reason"] == "DEPLOY_IN_PROGRESS"
        sha256 = holter_host.read_bundle(path).sha256
        assert error["metadata"]["sha256"] == sha256
        assert error["metadata"]["peer"].startswith("ipv4:127.0.0.1:")
        assert error["metadata"]["start_time"].endswith("+00:00")

        client.kill()
        await client.wait()
        await _children(daemon, "sampler")
        assert list(tmp_path.joinpath("data", "models").iterdir()) == []
        deployed = await _deployed(device, model)
        assert [held.sha256 for held in await device.models()] == [deployed.model.sha256]
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log()


async def test_a_disk_that_is_full(disk: Path) -> None:
    """A model that passes and finds no room on the disk is STORE_FULL; the old one classifies on,
    nothing of the new one stays, and with room again it is taken."""
    flags = ("--simulate", "sinus", "--probation-seconds", "3600", "--data-dir", str(disk / "data"))
    async with (
        holterd(disk.parent, *flags) as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        old = (await device.deploy(OLD)).model.sha256
        fill(disk / "ballast")
        with pytest.raises(ModelRefusedError) as caught:
            await device.deploy(NEW)
        assert caught.value.reason == "STORE_FULL"
        assert "No space left" in caught.value.metadata["detail"]
        files = {path.name for path in (disk / "data" / "models").iterdir()}
        assert files == {f"{old}.tflite", f"{old}.json", "active.json"}
        assert [held.sha256 for held in await device.models()] == [old]
        async for event in device.classifications():
            if isinstance(event, Classification):
                assert event.model_sha256 == old
                break
        (disk / "ballast").unlink()
        assert (await device.deploy(NEW)).swap_sequence > 0
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log()
