"""The scripts in examples/ that work with a fleet, each as a process, on simulated devices."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from holter_host import Capture, Device, Fleet
from support.simulated import simulated_fleet
from support.tflite_models import averaging_model

pytestmark = pytest.mark.litert

# Two windows a second: a simulated device that nobody watches makes blocks of a second, and more
# than eight windows in one would be too many at a time.
HALF_SECOND = {"window": 180, "hop": 180, "input_shape": (1, 180, 1)}
MODEL = averaging_model(name="first", **HALF_SECOND)
NEW = averaging_model(name="second", **HALF_SECOND, bias=(1.0, 0.0, 0.0))
NO_PROBATION = ("--probation-seconds", "0", "--probation-windows", "0")


@contextlib.asynccontextmanager
async def example(name: str, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A script that runs; it is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "examples" / f"{name}.py"),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def run(name: str, *arguments: object, code: int = 0) -> tuple[str, str]:
    """What a script says that ends with this code: stdout, stderr."""
    async with example(name, *arguments) as process:
        out, err = await process.communicate()
        assert process.returncode == code, err.decode()
        return out.decode(), err.decode()


async def deploy(inventory: Path, model: bytes) -> None:
    """Give the devices that answer a model."""

    async def work(device: Device) -> None:
        await device.deploy(model)

    async with Fleet.load(inventory) as fleet:
        assert any([outcome.ok async for outcome in fleet.each(work)])


async def test_status_to_csv(tmp_path: Path) -> None:
    """Every device has one line; who is offline has an error and nothing else."""
    async with simulated_fleet(tmp_path, "--devices", "4", "--offline", "1") as fleet:
        out, _ = await run("fleet_status_to_csv", fleet.inventory)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert sorted(row["device"] for row in rows) == [f"sim-000{n}" for n in range(4)]
    assert sorted(row["state"] for row in rows) == ["OFFLINE", "OK", "OK", "OK"]
    for row in rows:
        assert (row["rate_hz"] == "360.0") == (row["clock_ms"] != "") == (not row["error"])


async def test_classifications(tmp_path: Path) -> None:
    """Windows of several devices come with their times; it ends after as many as were wanted."""
    async with simulated_fleet(tmp_path, "--devices", "3", "--offline", "1") as fleet:
        await deploy(fleet.inventory, MODEL)
        out, err = await run("fleet_classifications", fleet.inventory, "site", 8)
    words = [line.split() for line in out.splitlines()]
    assert len(words) == 8
    assert len({device for _, device, *_ in words}) == 2
    assert all(time.count(":") == 2 for time, *_ in words)
    assert " is lost: " in err


async def test_record(tmp_path: Path) -> None:
    """Each device has a file, and one file has them all on one time axis without a hole."""
    folder = tmp_path / "recordings"
    async with simulated_fleet(tmp_path, "--devices", "3") as fleet:
        out, _ = await run("fleet_record", fleet.inventory, folder, 1)
    names = [f"sim-000{n}" for n in range(3)]
    captures = {name: Capture.load(folder / f"{name}.npz") for name in names}
    with np.load(folder / "aligned.npz") as aligned:
        assert set(aligned) == {"utc_nanos", *names}
        axis = aligned["utc_nanos"]
        assert len(axis) > 0
        for name, taken in captures.items():
            times = taken.host_time_nanos()[:, 0]
            assert times[0] <= axis[0] < axis[-1] <= times[-1]
            signal = taken.millivolts()[:, 0]
            found = np.interp(axis - times[0], times - times[0], signal)
            # The axis is rounded to whole nanoseconds, in which a signal does not change.
            assert np.allclose(aligned[name], found, rtol=0, atol=1e-4)
            assert np.ptp(aligned[name]) > 0
    assert "3 devices share" in out


async def test_alert(tmp_path: Path) -> None:
    """An electrode that comes off, and comes on again, is told once, and so is who is lost."""
    flags = ("--devices", "2", "--offline", "1", "--simulate", "leads-off")
    said: list[str] = []
    async with (
        simulated_fleet(tmp_path, *flags, "--speed", "20") as fleet,
        example("fleet_alert", fleet.inventory, "echo", "ALERT:") as process,
    ):
        assert process.stdout is not None
        while not any("ALERT" in line and "has its signal back" in line for line in said):
            said.append((await process.stdout.readline()).decode().rstrip())
            assert said[-1]
    told = [line.split(" ", 1)[1] for line in said if line.startswith("sim-000")]
    assert told.count("does not answer") == 1
    electrode = [words for words in told if words != "does not answer"]
    assert electrode == ["has an electrode off, or no signal", "has its signal back"]


@pytest.mark.parametrize("healthy", [True, False])
async def test_rollout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, healthy: bool) -> None:
    """Each wave waits for the script's own check; where that fails, all is taken back."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # where the journal is
    (tmp_path / "new.tflite").write_bytes(NEW)
    flags = ["--devices", "4", *NO_PROBATION]
    # What only the windows tell: these devices' gates take the model, and no probation judges it.
    flags += [] if healthy else ["--failing-probation", "100%"]
    async with simulated_fleet(tmp_path, *flags) as fleet:
        await deploy(fleet.inventory, MODEL)
        script = ("fleet_rollout", fleet.inventory, tmp_path / "new.tflite", "1,100%", 10)
        out, _ = await run(*script, code=not healthy)
        async with Fleet.load(fleet.inventory) as devices:
            found = [o.value.active_model.spec.name async for o in devices.status() if o.value]
    assert found == ["second" if healthy else "first"] * 4
    states = [line.split()[1] for line in out.splitlines() if line.startswith("sim-")]
    if healthy:
        assert states == ["HEALTHY"] * 4
        assert "0 of 10 windows on 1 devices have no class" in out
        assert out.endswith("rollout 1: DONE\n")
    else:
        assert states == ["HEALTHY", "ROLLED_BACK"]
        assert "10 of 10 windows on 1 devices have no class" in out
        assert out.endswith("rollout 1: ROLLED_BACK\n")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("fleet_*.py")), ids=lambda p: p.stem
)
async def test_without_arguments_each_says_what_it_takes(path: Path) -> None:
    """Whoever only looks what a script is gets its usage and no traceback."""
    _, err = await run(path.stem, code=1)
    assert f"python examples/{path.name} fleet.toml" in err
    assert "Traceback" not in err
