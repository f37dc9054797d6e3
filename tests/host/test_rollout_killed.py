"""kill -9 of the host at every write of its journal: a resume finishes, and repeats nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from conftest import ROOT
from holter.v1 import model_service_pb2 as model_pb
from holter_host import (
    DeviceState,
    RolloutState,
    connect_sync,
    resume_rollout,
    rollout_devices,
    rollouts,
)
from holter_host.testing import Failure, FakeDevice
from support.model_files import make_model

COUNT = 4
WAVES = "1,100%"
NOBODY = "unix:/nonexistent/holter.sock"
REFUSED = Failure(grpc.StatusCode.FAILED_PRECONDITION, "It does not fit.", "MODEL_UNFIT")


@contextlib.contextmanager
def fakes(folder: Path) -> Iterator[tuple[list[FakeDevice], Path]]:
    """Devices that have the model "before", and an inventory of them and of one that is offline."""
    before = make_model(folder / "before.tflite", name="before")
    with contextlib.ExitStack() as stack:
        devices = [stack.enter_context(FakeDevice(frames=[360])) for _ in range(COUNT)]
        for device in devices:
            with connect_sync(device.address) as connection:
                connection.deploy(before)
            device.requests.clear()
        inventory = folder / "fleet.toml"
        addresses = [*(device.address for device in devices), NOBODY]
        inventory.write_text(
            "".join(
                f'[[device]]\nname = "d{number}"\naddress = "{address}"\n'
                for number, address in enumerate(addresses)
            )
        )
        yield devices, inventory


async def killed(folder: Path, inventory: Path, number: int, when: str) -> tuple[bool, str]:
    """Whether the host was killed at that write, and what it printed if it was not."""
    arguments = (folder / "rollouts.db", inventory, folder / "new.tflite", number, when, WAVES)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "support.killed_rollout", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT / "tests",
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
    )
    out, _ = await process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0, out.decode()


def deploys(device: FakeDevice) -> int:
    """How often a device was sent a model."""
    return sum(isinstance(request, model_pb.DeployModelRequest) for request in device.requests)


async def resumed(folder: Path) -> tuple[RolloutState, list[DeviceState]]:
    """The end of the only rollout of the journal, when it is resumed."""
    journal = folder / "rollouts.db"
    state = await resume_rollout(1, journal=journal).run()
    _, rows = await rollout_devices(1, journal=journal)
    return state, [row.state for row in rows]


def moments(every: bool) -> Iterator[tuple[int, str]]:
    """Before and after each write; one of both where not every one is wanted."""
    for number in itertools.count(2):  # before the first one there is no rollout
        whens: Sequence[str] = ("before", "after") if every else (("before", "after")[number % 2],)
        yield from ((number, when) for when in whens)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.timeout(400)
async def test_at_every_write(tmp_path: Path, every: bool) -> None:
    """Wherever the host is killed, each device gets the model, and gets it once."""
    kills = Counter[str]()
    for number, when in moments(every):
        folder = tmp_path / f"{number}-{when}"
        folder.mkdir()
        new = make_model(folder / "new.tflite", name="new")
        with fakes(folder) as (devices, inventory):
            was_killed, _ = await killed(folder, inventory, number, when)
            if not was_killed:
                break
            (summary,) = await rollouts(journal=folder / "rollouts.db")
            assert summary.runner == ""
            kills[f"{summary.rollout.state}: {', '.join(sorted(summary.devices))}"] += 1
            state, states = await resumed(folder)
            expected = [*[DeviceState.HEALTHY] * COUNT, DeviceState.PENDING]
            assert (state, states) == (RolloutState.PARTIAL, expected)
            assert [device.active_sha256 for device in devices] == [new.sha256] * COUNT
            assert [deploys(device) for device in devices] == [1] * COUNT, f"{when} {number}"
    print(f"killed {kills.total()} times: {dict(kills)}")
    assert kills.total() >= 8


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.timeout(400)
async def test_at_every_write_of_a_return(tmp_path: Path, every: bool) -> None:
    """Wherever the host is killed while it takes a rollout back, each device has its old model."""
    kills = Counter[str]()
    for number, when in moments(every):
        folder = tmp_path / f"{number}-{when}"
        folder.mkdir()
        make_model(folder / "new.tflite", name="new")
        with fakes(folder) as (devices, inventory):
            before = devices[0].active_sha256
            devices[-1].fail("DeployModel", *[REFUSED] * 3)
            was_killed, _ = await killed(folder, inventory, number, when)
            if not was_killed:
                break
            (summary,) = await rollouts(journal=folder / "rollouts.db")
            assert summary.runner == ""
            kills[f"{summary.rollout.state}: {', '.join(sorted(summary.devices))}"] += 1
            state, states = await resumed(folder)
            assert state is RolloutState.ROLLED_BACK
            assert set(states) <= {
                *(DeviceState.ROLLED_BACK, DeviceState.FAILED, DeviceState.PLANNED)
            }
            assert states[-2:] == [DeviceState.FAILED, DeviceState.PLANNED]
            assert [device.active_sha256 for device in devices] == [before] * COUNT
            assert all(deploys(device) <= 1 for device in devices[:-1])
    print(f"killed {kills.total()} times: {dict(kills)}")
    assert kills.total() >= 8
