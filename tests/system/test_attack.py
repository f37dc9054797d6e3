"""What no model may do to a device: swaps and attacks by the hundred, and every window is there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import holter_host
from holter_host import Classification, ModelChanged, ModelRefusedError
from support.daemon import Daemon, holterd
from support.damaged import damaged
from support.tflite_models import WINDOW, averaging_model

pytestmark = pytest.mark.litert

OLD = averaging_model(name="old")
NEW = averaging_model(name="new", bias=(1.0, 0.0, 0.0))
REASONS = {
    "harmless",
    *("MODEL_MALFORMED", "MODEL_UNFIT", "GOLDEN_MISMATCH", "MODEL_CRASHED", "MODEL_TIMEOUT"),
    *("OP_UNSUPPORTED", "OP_VERSION_UNSUPPORTED", "FLEX_OP_UNSUPPORTED", "CUSTOM_OP_UNSUPPORTED"),
    *("MODEL_TOO_SLOW", "MODEL_MEMORY_EXCEEDED"),
}
RSS_GROWTH_MIB = 16


def _rss_mib(daemon: Daemon) -> float:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


async def _check_windows(device: holter_host.Device, until: int) -> list[ModelChanged]:
    """Each window to `until` is there once, by the model of the newest change; the changes."""
    changes: list[ModelChanged] = []
    last = -1
    async for event in device.classifications("earliest"):
        if isinstance(event, ModelChanged):
            changes.append(event)
        elif isinstance(event, Classification):
            if last >= 0:
                assert event.last_sequence == last + WINDOW
            last = event.last_sequence
            by = [change for change in changes if change.swap_sequence <= last][-1]
            assert event.model_sha256 == by.model_sha256
            if last >= until:
                return changes
    raise AssertionError("the stream ended")


async def _swap_often(folder: Path, count: int) -> None:
    async with (
        holterd(folder, "--simulate", "sinus", "--probation-seconds", "3600") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        swaps, memory = [await device.deploy(OLD)], 0.0
        for number in range(count // 2):
            swaps.append(await device.deploy(NEW))
            swaps.append(await device.rollback())
            if number == count // 8:
                memory = _rss_mib(daemon)
        assert _rss_mib(daemon) < memory + RSS_GROWTH_MIB
        changes = await _check_windows(device, swaps[-1].swap_sequence + WINDOW)
        # Of two swaps at one frame the second is the one that counts.
        told = {swap.swap_sequence: swap.model.sha256 for swap in swaps}
        assert {c.swap_sequence: c.model_sha256 for c in changes if c.model_sha256} == told
        assert len(daemon.children()) <= 3
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log()


async def _refusal(device: holter_host.Device, model: bytes) -> str:
    """Why a model is refused, or that it is harmless."""
    try:
        await device.deploy(model, validate_only=True)
    except ModelRefusedError as error:
        return error.reason
    return "harmless"


async def _attack(folder: Path, count: int, python: str = sys.executable) -> dict[str, int]:
    found: dict[str, int] = {}
    flags = ("--simulate", "sinus", "--model-timeout", "5")
    async with (
        holterd(folder, *flags, python=python) as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        active = (await device.deploy(OLD)).model.sha256
        before = await device.status()
        for what, model in damaged(NEW, count):
            reason = await _refusal(device, model)
            assert reason in REASONS, what
            found[reason] = found.get(reason, 0) + 1
        after = await device.status()
        assert (after.session, after.active_model) == (before.session, before.active_model)
        changes = await _check_windows(device, after.next_sequence)
        assert {change.model_sha256 for change in changes} - {""} == {active}
        assert set(daemon.children()) == {"sampler", "classifier"}
        assert [model.sha256 for model in await device.models()] == [active]
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log()
    return found


async def test_a_hundred_swaps(tmp_path: Path) -> None:
    """Through 100 swaps, deploys and ways back, no window is missing or ambiguous; memory is flat.

    Each deploy loads, proves and stores a model while windows go on; each way back is at once.
    """
    await _swap_often(tmp_path, 100)


async def test_damaged_models(tmp_path: Path) -> None:
    """60 damaged files: each is refused with a reason, or is harmless, and windows go on."""
    found = await _attack(tmp_path, 60)
    print(f"\n{found}")
    assert sum(found.values()) == 60
    assert found["MODEL_MALFORMED"] > 20


async def test_damaged_models_that_crash(tmp_path: Path, tflite_python: str) -> None:
    """The same with tflite-runtime, which does not verify a model and dies of many."""
    found = await _attack(tmp_path, 30, tflite_python)
    print(f"\n{found}")
    assert sum(found.values()) == 30
    assert found["MODEL_CRASHED"] > 0


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_a_thousand_swaps(tmp_path: Path) -> None:
    """The same for 1000 swaps."""
    await _swap_often(tmp_path, 1000)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_many_damaged_models(tmp_path: Path) -> None:
    """The same for 600 files."""
    found = await _attack(tmp_path, 600)
    print(f"\n{found}")
    assert sum(found.values()) == 600


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_many_damaged_models_that_crash(tmp_path: Path, tflite_python: str) -> None:
    """The same with tflite-runtime for 300 files."""
    found = await _attack(tmp_path, 300, tflite_python)
    print(f"\n{found}")
    assert sum(found.values()) == 300
    assert found["MODEL_CRASHED"] > 10
