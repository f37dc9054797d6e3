"""What a device says of its windows: the same as TensorFlow, and by the right model."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import holter_host
from conftest import ROOT
from holter_device.windows import window_ends
from holter_host import Classification, ModelChanged, SampleBlock
from support.daemon import Daemon, holterd

WINDOWS = 12


async def _counts(device: holter_host.Device, frames: int) -> npt.NDArray[Any]:
    """The first frames of the session's channel, none missing."""
    parts: list[npt.NDArray[Any]] = []
    async for event in device.samples("earliest"):
        assert not isinstance(event, holter_host.Gap)
        if isinstance(event, SampleBlock):
            parts.append(event.counts[:, 0])
        if sum(map(len, parts)) >= frames:
            break
    return np.concatenate(parts)[:frames]


async def _classifications(device: holter_host.Device, count: int) -> list[Classification]:
    found: list[Classification] = []
    async for event in device.classifications("earliest"):
        if isinstance(event, Classification):
            found.append(event)
        if len(found) == count:
            break
    return found


def _scores(
    saved_model: Path, folder: Path, windows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """What TensorFlow says of windows, in a process of its own."""
    np.save(folder / "windows.npy", windows)
    words = ["-m", "support.saved_model_scores", str(saved_model)]
    paths = [str(folder / "windows.npy"), str(folder / "scores.npy")]
    subprocess.run(
        [sys.executable, *words, *paths], check=True, capture_output=True, cwd=ROOT / "tests"
    )
    scores: npt.NDArray[np.float32] = np.load(folder / "scores.npy")
    return scores


@pytest.mark.tensorflow
@pytest.mark.timeout(300)
async def test_a_device_says_what_tensorflow_says(
    tmp_path: Path, mitdb: Path, model: Path, saved_model: Path, runtime_python: str
) -> None:
    """Window by window, label and scores are those of the SavedModel on the streamed counts."""
    flags = ("--replay", str(mitdb / "208"), "--speed", "100")
    if runtime_python != sys.executable:
        # The environment with tflite-runtime has no wfdb, and needs none.
        flags = ("--simulate", "bigeminy", "--speed", "100")
    async with (
        holterd(tmp_path, *flags, python=runtime_python) as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        deployed = await device.deploy(model)
        first_end = next(
            iter(window_ends(3600, 3600, deployed.swap_sequence, deployed.swap_sequence + 7200))
        )
        found = await _classifications(device, WINDOWS)
        assert [c.last_sequence for c in found] == [first_end + 3600 * k for k in range(WINDOWS)]
        counts = await _counts(device, found[-1].last_sequence + 1)
        runtime = (await device.status()).runtime
    assert runtime is not None
    expected_name = "ai-edge-litert" if runtime_python == sys.executable else "tflite-runtime"
    assert runtime.name == expected_name
    windows = np.stack([counts[c.first_sequence : c.last_sequence + 1] for c in found])
    millivolts = (windows * (3.3 / 256) - 1.65) / 1100 * 1000
    mean, deviation = millivolts.mean(axis=1), millivolts.std(axis=1)
    taken = (millivolts - mean[:, None]) / np.maximum(deviation, 1e-6)[:, None]
    expected = await asyncio.to_thread(_scores, saved_model, tmp_path, taken.astype(np.float32))
    scores = np.array([[score.value for score in c.scores] for c in found])
    assert np.abs(scores - expected).max() < 1e-4
    labels = [score.label for score in found[0].scores]
    assert [c.label for c in found] == [labels[k] for k in expected.argmax(axis=1)]


async def _follow_until(device: holter_host.Device, sequence: int) -> list[Any]:
    """Events of the classification stream until three windows end at `sequence` or later."""
    events: list[Any] = []
    after = 0
    async for event in device.classifications("earliest"):
        events.append(event)
        after += isinstance(event, Classification) and event.last_sequence >= sequence
        if after == 3:
            break
    return events


async def test_a_swap_loses_nothing(tmp_path: Path, model: Path, other_model: Path) -> None:
    """While a model is deployed no frame and no window is missing, and each names its model."""
    flags = ("--simulate", "bigeminy", "--speed", "20", "--probation-windows", "0")
    async with (
        holterd(tmp_path, *flags) as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        first = await device.deploy(model)
        second = await device.deploy(other_model)
        third = await device.activate(first.model.sha256)
        events = await _follow_until(device, third.swap_sequence)
        last = events[-1].last_sequence
        counts = await _counts(device, last + 1)
    assert len(counts) == last + 1
    swaps = [(first, 3600), (second, 360), (third, 3600)]
    expected = []
    for index, (deployed, hop) in enumerate(swaps):
        end = swaps[index + 1][0].swap_sequence if index < 2 else last + 1
        ends = window_ends(3600, hop, deployed.swap_sequence, end)
        expected += [(e, deployed.model.sha256) for e in ends]
    found = [(e.last_sequence, e.model_sha256) for e in events if isinstance(e, Classification)]
    assert found == expected
    changes = [(e.swap_sequence, e.model_sha256) for e in events if isinstance(e, ModelChanged)]
    assert changes == [(0, ""), *((d.swap_sequence, d.model.sha256) for d, _ in swaps)]


async def test_the_active_model_survives_a_restart(tmp_path: Path, model: Path) -> None:
    """After kill -9 the model is active again from sequence 0, and no earlier window is missing."""
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--speed", "50") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        deployed = await device.deploy(model)
        await _classifications(device, 3)
        daemon.process.kill()
        await daemon.process.wait()
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--speed", "50") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        ends: list[int] = []
        async for event in device.classifications("earliest"):
            if isinstance(event, holter_host.SessionStarted) and event.session.session_id == 2:
                next_sequence = event.previous_next_sequence
            if isinstance(event, Classification):
                if event.session_id == 2:
                    assert event.last_sequence == 3599
                    assert event.model_sha256 == deployed.model.sha256
                    break
                ends.append(event.last_sequence)
    assert ends == list(window_ends(3600, 3600, deployed.swap_sequence, next_sequence))


async def test_dry_run_changes_nothing(tmp_path: Path, model: Path) -> None:
    """validate_only runs the gate and stores nothing."""
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        result = await device.deploy(model, validate_only=True)
        assert [step.name for step in result.gate_report.steps] == [
            "digest",
            "spec",
            "ops",
            "load",
            "golden",
            "latency",
            "memory",
        ]
        assert await device.models() == ()
        assert (await device.status()).active_model is None
        assert set(daemon.children()) == {"sampler"}


async def test_deploying_the_active_model_does_nothing(tmp_path: Path, model: Path) -> None:
    """A deploy is idempotent by digest."""
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        first = await device.deploy(model)
        again = await device.deploy(model)
        assert not first.already_active
        assert again.already_active
        assert again.model.sha256 == first.model.sha256
        assert len(await device.models()) == 1


@pytest.mark.parametrize("name", ["sampler", "classifier"])
async def test_a_killed_child_comes_back(tmp_path: Path, model: Path, name: str) -> None:
    """kill -9 of a child leaves the server up; classifications go on."""
    async with (
        holterd(tmp_path, "--simulate", "bigeminy", "--speed", "50") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        await device.deploy(model)
        await _classifications(device, 1)
        await _kill(daemon, name)
        async for event in device.classifications("live"):
            if isinstance(event, Classification) and event.label:
                break
        assert daemon.process.returncode is None


async def _kill(daemon: Daemon, name: str) -> None:
    os.kill(daemon.children()[name], signal.SIGKILL)
