"""holterd-sim: many devices on one machine, each as holterd, and some with faults."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from hashlib import sha256
from pathlib import Path

import grpc
import pytest

import holter_host
from holter.v1.device_service_pb2 import GetDeviceRequest
from holter.v1.device_service_pb2_grpc import DeviceServiceStub
from holter_host import (
    Classification,
    DeviceUnreachableError,
    Fleet,
    ModelRefusedError,
    ModelState,
    OutcomeState,
    ProbationState,
    ReturnCause,
    SampleBlock,
    SessionStarted,
)
from support.daemon import run
from support.simulated import SimulatedFleet, simulated_fleet
from support.tflite_models import WINDOW, averaging_model

pytestmark = pytest.mark.litert

OLD = averaging_model(name="old")
NEW = averaging_model(name="new", bias=(1.0, 0.0, 0.0))
# A window in 10 s, as a model for rhythms has: a thousand devices are to have time for more.
CALM = averaging_model(name="calm", window=3600, hop=3600, input_shape=(1, 3600, 1))


async def _deploy(fleet: SimulatedFleet, model: bytes) -> dict[str, holter_host.Outcome[object]]:
    async with Fleet.load(fleet.inventory, timeout=60.0) as devices:

        async def deploy(device: holter_host.Device) -> object:
            return await device.deploy(model)

        return {o.device.name: o async for o in devices.each(deploy)}


class TestDevice:
    """What each device of a simulated fleet does as holterd does it."""

    async def test_it_samples_classifies_and_tells_what_it_is(self, tmp_path: Path) -> None:
        """A device streams every frame once, and each window of its model once."""
        async with (
            simulated_fleet(tmp_path, "--devices", "1", "--speed", "10") as fleet,
            holter_host.connect(*fleet.addresses().values()) as device,
        ):
            status = await device.status()
            assert status.hostname == "sim-0000"
            deployed = await device.deploy(OLD)
            assert [step.name for step in deployed.gate_report.steps] == [
                *("digest", "spec", "ops", "load", "golden", "latency", "memory"),
                *("store", "swap"),
            ]
            expected = 0
            async for event in device.samples("earliest"):
                if isinstance(event, SessionStarted):
                    assert event.session.session_id == status.session.session_id
                elif isinstance(event, SampleBlock):
                    assert event.first_sequence == expected
                    expected = event.next_sequence
                    if expected > 3600:
                        break
            window, ends = WINDOW, list[int]()
            async for event in device.classifications("earliest"):
                if isinstance(event, Classification):
                    assert event.model_sha256 == deployed.model.sha256
                    assert event.label
                    ends.append(event.last_sequence)
                    if len(ends) == 5:
                        break
            assert ends == list(range(ends[0], ends[0] + 5 * window, window))
            assert (ends[0] + 1) % window == 0
            assert ends[0] >= deployed.swap_sequence

    async def test_a_probation_ends_well_or_by_going_back(self, tmp_path: Path) -> None:
        """After ten windows a good model has passed; where it fails, the device has gone back."""
        flags = ("--devices", "2", "--speed", "10", "--failing-probation", "1")
        async with simulated_fleet(tmp_path, *flags) as fleet:
            await _deploy(fleet, OLD)
            outcomes = await _deploy(fleet, NEW)
            assert all(outcome.ok for outcome in outcomes.values())
            (bad,) = fleet.addresses(fault="failing-probation")
            for name, address in fleet.addresses().items():
                async with holter_host.connect(address) as device:
                    probation = await device.verdict(sha256(NEW).hexdigest())
                    assert probation is not None
                    back = name == bad
                    state = ProbationState.RETURNED if back else ProbationState.PASSED
                    assert probation.state is state
                    cause = ReturnCause.MODEL_FAILED if back else ReturnCause.UNSPECIFIED
                    assert probation.return_cause is cause
                    active = (await device.models())[0]
                    assert active.state is ModelState.ACTIVE
                    assert active.spec.name == ("old" if back else "new")


async def test_faults_are_what_was_asked_for(tmp_path: Path) -> None:
    """Of 50 devices with shares of every fault each has its outcome, and all others are good."""
    flags = ("--devices", "50", "--offline", "10%", "--failing-gate", "4%", "--low-memory", "1")
    flags += ("--slow", "6%", "--delay", "0.2")
    async with simulated_fleet(tmp_path, *flags) as fleet:
        assert "offline 5, slow 3, failing-gate 2, low-memory 1" in fleet.said
        outcomes = await _deploy(fleet, OLD)
        states = Counter(outcome.state for outcome in outcomes.values())
        assert states == {OutcomeState.OK: 42, OutcomeState.OFFLINE: 5, OutcomeState.FAILED: 3}
        by_fault = {
            fault: [outcomes[name] for name in fleet.addresses(fault=fault)]
            for fault in ("offline", "failing-gate", "low-memory", "slow")
        }
        for outcome in by_fault["offline"]:
            assert isinstance(outcome.error, DeviceUnreachableError)
        for fault, reason in (("failing-gate", "GOLDEN_MISMATCH"), ("low-memory", "MODEL_MEMORY")):
            for outcome in by_fault[fault]:
                assert isinstance(outcome.error, ModelRefusedError)
                assert reason in outcome.error.reason
        assert all(o.ok and o.seconds > 0.2 for o in by_fault["slow"])

        assert "no faults" not in await fleet.change(signal.SIGUSR1)
        again = await _deploy(fleet, OLD)
        assert all(again[name].ok for name in fleet.addresses(fault="offline"))
        assert await fleet.stop() == 0


async def test_a_silent_device_takes_the_call_and_never_answers(tmp_path: Path) -> None:
    """Somebody listens at a silent device's address, and no call is ever answered there."""
    async with simulated_fleet(tmp_path, "--devices", "1", "--silent", "1") as fleet:
        (address,) = fleet.addresses().values()
        async with grpc.aio.insecure_channel(address) as channel:
            await channel.channel_ready()
            stub = DeviceServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetDevice(GetDeviceRequest(), timeout=0.5)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await fleet.stop() == 0


async def test_a_file_of_faults_can_be_changed(tmp_path: Path) -> None:
    """SIGHUP reads the file again: who is in it has its fault; what is wrong in it is said."""
    faults = tmp_path / "faults.toml"
    faults.write_text('sim-0001 = "silent"\n')
    async with simulated_fleet(tmp_path, "--devices", "2", "--faults", str(faults)) as fleet:
        assert "silent 1" in fleet.said
        addresses = fleet.addresses()
        async with holter_host.connect(addresses["sim-0000"]) as device:
            faults.write_text('sim-0000 = "offline"\nsim-0001 = "none"\n')
            assert "offline 1" in await fleet.change(signal.SIGHUP)
            with pytest.raises(DeviceUnreachableError):
                await device.status()
        async with holter_host.connect(addresses["sim-0001"]) as device:
            assert (await device.status()).hostname == "sim-0001"


async def test_offline_devices_come_back_after_their_time(tmp_path: Path) -> None:
    """With --offline-for those that were offline serve again, at the same address."""
    flags = ("--devices", "3", "--offline", "1", "--offline-for", "0.1")
    async with simulated_fleet(tmp_path, *flags) as fleet:
        assert "no faults" in await fleet.line()
        async with Fleet.load(fleet.inventory) as devices:
            assert [o.ok async for o in devices.status()] == [True] * 3


async def test_sockets_and_ports(tmp_path: Path) -> None:
    """With unix:DIR each device has a socket; with a first port they follow on it."""
    async with simulated_fleet(tmp_path, "--devices", "3", "--listen", f"unix:{tmp_path}") as fleet:
        assert fleet.addresses()["sim-0002"] == f"unix:{tmp_path}/sim-0002.sock"
        async with Fleet.load(fleet.inventory) as devices:
            assert [o.ok async for o in devices.status()] == [True] * 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--devices", "0"], "--devices is 0; it must be 1 to"),
        (["--offline", "half"], "--offline is 'half'; give a share such as 5%"),
        (["--offline", "60%", "--slow", "50%"], "the faults are more than the 50 devices"),
        (["--listen", "127.0.0.1:65530"], "so that there are 50 ports"),
        (["--speed", "fast"], "speed is 'fast'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--inventory", "/nowhere/fleet.toml", "--devices", "1"], "cannot write /nowhere"),
    ],
)
async def test_wrong_usage(flags: list[str], words: str) -> None:
    """What cannot be is one sentence and status 2; nothing is left running."""
    code, out, err = await run("holterd-sim", "--listen", "127.0.0.1:0", *flags)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


async def test_a_port_in_use(tmp_path: Path) -> None:
    """An address that is taken is one sentence and status 1."""
    async with simulated_fleet(tmp_path, "--devices", "1") as fleet:
        (address,) = fleet.addresses().values()
        code, _, err = await run("holterd-sim", "--devices", "1", "--listen", address)
    assert code == 1
    assert f"cannot listen on {address}" in err
    assert len(err.splitlines()) == 1


async def test_a_process_that_is_killed_ends_the_fleet(tmp_path: Path) -> None:
    """Where one of its processes is gone, holterd-sim says so and ends with 1."""
    async with simulated_fleet(tmp_path, "--devices", "2", "--processes", "2") as fleet:
        pids = await asyncio.to_thread(_children, fleet.process.pid)
        signalled = pids[0]
        os.kill(signalled, signal.SIGKILL)
        assert await fleet.process.wait() == 1
        assert "SIGKILL" in (tmp_path / "holterd-sim.log").read_text()


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_thousand_devices(tmp_path: Path) -> None:
    """Of a thousand devices, 5 % offline and 2 % with a failing gate, each has its outcome."""
    flags = ("--devices", "1000", "--offline", "5%", "--failing-gate", "2%")
    async with simulated_fleet(tmp_path, *flags) as fleet:
        outcomes = await _deploy(fleet, CALM)
        states = Counter(outcome.state for outcome in outcomes.values())
        assert states == {OutcomeState.OK: 930, OutcomeState.OFFLINE: 50, OutcomeState.FAILED: 20}
        await fleet.change(signal.SIGUSR1)
        again = await _deploy(fleet, CALM)
        assert all(again[name].ok for name in fleet.addresses(fault="offline"))
