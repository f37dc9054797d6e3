"""A model that passes the gate and does worse on the ECG: the device goes back, by itself."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

import holter_host
from holter_host import (
    Classification,
    DeployInProgressError,
    ModelChanged,
    ModelState,
    ProbationState,
    ReturnCause,
    SampleBlock,
)
from support.daemon import holterd, run
from support.tflite_models import WINDOW, averaging_model, overflowing_model

pytestmark = pytest.mark.litert

FLAGS = ("--simulate", "sinus", "--probation-seconds", "0", "--probation-windows", "6")
LONG = ("--simulate", "sinus", "--probation-seconds", "3600")
OLD = averaging_model(name="old")
NEW = averaging_model(name="new", bias=(1.0, 0.0, 0.0))


async def _events(device: holter_host.Device, changes: int, windows: int) -> list[object]:
    """The stream from the earliest on, to so many windows after so many changes of model."""
    events: list[object] = []
    async for event in device.classifications("earliest"):
        events.append(event)
        changes -= isinstance(event, ModelChanged) and bool(event.model_sha256)
        if changes <= 0:
            windows -= isinstance(event, Classification)
        if windows <= 0:
            return events
    raise AssertionError("the stream ended")


async def test_a_model_that_gives_no_numbers_goes(tmp_path: Path) -> None:
    """`deploy --wait` of a model whose scores overflow says so with 1; no window is lost."""
    path = tmp_path / "bad.tflite"
    path.write_bytes(overflowing_model())
    async with holterd(tmp_path, *FLAGS) as daemon, holter_host.connect(daemon.address) as device:
        old = (await device.deploy(OLD)).model.sha256
        at = ("--device", daemon.address)
        code, out, err = await run("holter", "deploy", str(path), "--wait", "--json", *at)
        assert (code, err) == (1, "")
        probation = json.loads(out)["probation"]
        bad = json.loads(out)["model"]["sha256"]
        assert (probation["sha256"], probation["previous_sha256"]) == (bad, old)
        assert (probation["state"], probation["return_cause"]) == ("RETURNED", "SCORES_NOT_FINITE")
        code, out, _ = await run("holter", "models", *at)
        assert code == 0
        assert "went back" in out
        assert "scores not finite" in out
        assert "not finite" in out.splitlines()[-1]
        states = {model.sha256: model.state for model in await device.models()}
        assert states == {old: ModelState.ACTIVE, bad: ModelState.STORED}

        events = await _events(device, 3, 8)
        changes = [event for event in events if isinstance(event, ModelChanged)]
        assert [c.model_sha256 for c in changes if c.model_sha256] == [old, bad, old]
        windows = [event for event in events if isinstance(event, Classification)]
        ends = [window.last_sequence for window in windows]
        assert ends == list(range(ends[0], ends[0] + len(ends) * WINDOW, WINDOW))
        for window in windows:
            by = [c for c in changes if c.swap_sequence <= window.last_sequence][-1]
            assert window.model_sha256 == by.model_sha256
            assert bool(window.label) is (window.model_sha256 == old)


async def test_a_good_model_stays_and_somebody_goes_back(tmp_path: Path) -> None:
    """`deploy --wait` of a good model is 0; `rollback` later goes through the gate again."""
    path = tmp_path / "new.tflite"
    path.write_bytes(NEW)
    async with holterd(tmp_path, *FLAGS) as daemon, holter_host.connect(daemon.address) as device:
        old = (await device.deploy(OLD)).model.sha256
        assert await device.verdict(old) is None
        at = ("--device", daemon.address)
        code, out, _ = await run("holter", "deploy", str(path), "--wait", *at)
        assert code == 0
        assert "has passed its probation" in out
        assert set(daemon.children()) == {"sampler", "classifier"}
        code, out, _ = await run("holter", "rollback", "--json", *at)
        assert code == 0
        assert json.loads(out)["model"]["sha256"] == old
        assert json.loads(out)["gate_report"]["steps"][0]["name"] == "digest"
        verdict = await device.verdict(old)
        assert verdict is not None
        assert verdict.state is ProbationState.PASSED


async def test_a_store_that_is_full(tmp_path: Path) -> None:
    """A model for which there is no room is refused by name, until another one is deleted."""
    small = [averaging_model(name="m", version=version) for version in range(4)]
    mib = str((3 * len(small[0]) + 100) / 2**20)
    none = ("--simulate", "sinus", "--probation-windows", "0", "--probation-seconds", "0")
    async with (
        holterd(tmp_path, *none, "--models-mib", mib) as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        names = [(await device.deploy(model)).model.sha256 for model in small[:3]]
        with pytest.raises(holter_host.ModelRefusedError) as caught:
            await device.deploy(small[3])
        assert caught.value.reason == "STORE_FULL"
        at = ("--device", daemon.address)
        for kept in names[1:]:
            code, _, err = await run("holter", "delete", kept[:12], *at)
            assert code == 1
            assert "stays" in err
        code, out, _ = await run("holter", "delete", names[0][:12], *at)
        assert (code, out[:8]) == (0, "deleted:")
        await device.deploy(small[3])
        assert len(await device.models()) == 3


async def test_a_deploy_and_a_way_back_during_a_probation(tmp_path: Path) -> None:
    """A third model is refused with who and since when; `rollback` is one swap, at once."""
    async with holterd(tmp_path, *LONG) as daemon, holter_host.connect(daemon.address) as device:
        old = (await device.deploy(OLD)).model.sha256
        new = (await device.deploy(NEW)).model.sha256
        assert (await device.deploy(NEW)).already_active
        with pytest.raises(DeployInProgressError) as caught:
            await device.deploy(overflowing_model())
        assert caught.value.metadata.keys() == {"sha256", "peer", "start_time"}
        assert caught.value.metadata["sha256"] == new
        back = await device.rollback()
        assert back.model.sha256 == old
        assert [step.name for step in back.gate_report.steps] == ["swap"]
        probation = await device.probation()
        assert probation is not None
        assert probation.return_cause is ReturnCause.ROLLED_BACK
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log()


async def test_a_device_that_dies_again_and_again(tmp_path: Path) -> None:
    """A probation outlives kill -9; after three starts that die the model before is active."""
    # A window takes 10 s, and none of these starts lives so long: no window clears the count.
    slow = {"window": 3600, "hop": 3600, "input_shape": (1, 3600, 1)}
    async with holterd(tmp_path, *LONG) as daemon, holter_host.connect(daemon.address) as device:
        old = (await device.deploy(averaging_model(name="old", **slow))).model.sha256
        new = (await device.deploy(averaging_model(name="new", **slow))).model.sha256
        await daemon.stop(signal.SIGKILL)
    for start in range(4):
        async with holterd(tmp_path, *LONG) as daemon:
            async with holter_host.connect(daemon.address) as device:
                probation = await device.probation()
                active = (await device.models())[0].sha256
            await daemon.stop(signal.SIGKILL)
        assert probation is not None
        if start < 3:
            assert (active, probation.state) == (new, ProbationState.RUNNING)
        else:
            assert (active, probation.state) == (old, ProbationState.RETURNED)
            assert probation.return_cause is ReturnCause.CRASH_LOOP


async def test_a_deploy_while_no_frame_comes(tmp_path: Path) -> None:
    """With the sampler held still a swap is fixed at once, at the next frame; windows follow."""
    async with holterd(tmp_path, *LONG) as daemon, holter_host.connect(daemon.address) as device:
        await device.deploy(OLD)
        async for event in device.samples("earliest"):
            if isinstance(event, SampleBlock):  # so that the swap has a sequence above 0
                break
        sampler = daemon.children()["sampler"]
        os.kill(sampler, signal.SIGSTOP)
        deployed = await device.deploy(NEW)
        back = await device.rollback()
        os.kill(sampler, signal.SIGCONT)
        assert back.swap_sequence >= deployed.swap_sequence > 0
        async for event in device.classifications():
            if isinstance(event, Classification) and event.last_sequence >= back.swap_sequence:
                assert event.model_sha256 == back.model.sha256
                break
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log()
