"""Rollouts over gRPC to fake devices: bad networks, others at work, and what is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from holter.v1 import model_service_pb2 as model_pb
from holter_host import (
    BadInputError,
    DeviceState,
    Fleet,
    FleetDevice,
    Inventory,
    RolloutBusyError,
    RolloutState,
    approve_rollout,
    connect,
    resume_rollout,
    rollouts,
    undo_rollout,
)
from holter_host.rollout.hands import LocalHands
from holter_host.testing import Failure, FakeDevice
from support.cut_proxy import CutProxy, How
from support.model_files import make_model


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "state" / "rollouts.db"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model."""
    return make_model(tmp_path / "model.tflite").path


@pytest.fixture
def fakes() -> Iterator[list[FakeDevice]]:
    """Four devices without a model."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(FakeDevice(frames=[360])) for _ in range(4)]


def fleet_of(*addresses: str, **options) -> Fleet:
    """A fleet of devices d0, d1, … at these addresses."""
    devices = (FleetDevice(f"d{number}", address) for number, address in enumerate(addresses))
    return Fleet(Inventory("fleet.toml", tuple(devices)), **options)


def deploys(device: FakeDevice) -> int:
    """How often a device was sent a model."""
    return sum(isinstance(request, model_pb.DeployModelRequest) for request in device.requests)


def busy(sha256: str) -> Failure:
    """What a device says while somebody deploys a model."""
    facts = {"sha256": sha256, "peer": "ipv4:10.0.0.9", "start_time": "2026-11-28T10:00:00Z"}
    message = f"a deploy of model {sha256[:12]} by ipv4:10.0.0.9 has been running since 10:00"
    return Failure(grpc.StatusCode.ABORTED, message, "DEPLOY_IN_PROGRESS", facts)


class TestWaves:
    async def test_a_wave_waits_for_the_one_before(self, fakes, model, journal) -> None:
        """Every device of a wave is asked after the last one of the wave before has ended."""
        order = []
        fleet = fleet_of(*(fake.address for fake in fakes))
        async for device in fleet.deploy(model, waves="1,3,100%", journal=journal):
            order.append(device.wave)
            later = [
                fake for fake, wave in zip(fakes, (0, 1, 1, 2), strict=True) if wave > order[-1]
            ]
            asked = [fake for fake in later if fake.requests]
            assert not asked or len(order) in (1, 3), "only when its wave was through"
        assert order == [0, 1, 1, 2]

    async def test_the_wave_that_is_under_way_is_told(
        self, fakes, model, journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While a device is given the model, the rollout's wave is that of this device."""
        rollout = fleet_of(*(fake.address for fake in fakes)).deploy(
            model, waves="1,3,100%", journal=journal
        )
        move, waves = LocalHands._moved, []

        async def watched(self, connection, device, *rest):
            waves.append((rollout.devices[device.name].wave, rollout.record.wave))
            return await move(self, connection, device, *rest)

        monkeypatch.setattr(LocalHands, "_moved", watched)
        await rollout.run()
        assert waves == [(0, 0), (1, 1), (1, 1), (2, 2)]

    async def test_nobody_answers_in_a_wave(self, fakes, model, journal) -> None:
        """A wave of which nothing is known lets no other begin; a resume asks it again."""
        fleet = fleet_of("unix:/nonexistent", fakes[0].address)
        rollout = fleet.deploy(model, waves="1,100%", journal=journal)
        assert await rollout.run() is RolloutState.HALTED
        assert rollout.exit_code == 4
        assert "wave 1" in rollout.record.note
        assert fakes[0].requests == []

    async def test_an_approval(self, fakes, model, journal) -> None:
        """Each wave after the first waits for an approval, which is written down."""
        fleet = fleet_of(*(fake.address for fake in fakes))
        rollout = fleet.deploy(model, waves="1,2,100%", approve=True, journal=journal)
        assert await rollout.run() is RolloutState.PAUSED
        assert [deploys(fake) for fake in fakes] == [1, 0, 0, 0]
        assert await resume_rollout(1, journal=journal).run() is RolloutState.PAUSED
        assert (await approve_rollout(1, journal=journal)).approved == 1
        assert await resume_rollout(1, journal=journal).run() is RolloutState.PAUSED
        assert [deploys(fake) for fake in fakes] == [1, 1, 0, 0]
        assert await resume_rollout(1, journal=journal, approve=True).run() is RolloutState.DONE
        assert [deploys(fake) for fake in fakes] == [1] * 4
        with pytest.raises(BadInputError, match="waits for no approval"):
            await approve_rollout(1, journal=journal)

    async def test_hold_and_go_on(self, fakes, model, journal) -> None:
        """A rollout that holds leaves everything; with more failures allowed it goes on."""
        refused = Failure(grpc.StatusCode.FAILED_PRECONDITION, "No.", "MODEL_UNFIT")
        fakes[0].fail("DeployModel", refused)
        fleet = fleet_of(*(fake.address for fake in fakes), concurrency=1)
        rollout = fleet.deploy(model, on_failure="hold", journal=journal)
        assert await rollout.run() is RolloutState.HALTED
        assert [deploys(fake) for fake in fakes] == [1, 0, 0, 0]
        assert await resume_rollout(1, journal=journal).run() is RolloutState.HALTED
        assert [deploys(fake) for fake in fakes] == [1, 0, 0, 0]
        more = resume_rollout(1, journal=journal, max_failures="1")
        assert await more.run() is RolloutState.DONE
        assert more.exit_code == 3
        assert [deploys(fake) for fake in fakes] == [1] * 4

    async def test_the_first_model_cannot_be_taken_back(self, fakes, model, journal) -> None:
        """A device that had no model before keeps the new one, and says why."""
        fleet = fleet_of(fakes[0].address)
        await fleet.deploy(model, journal=journal).run()
        undone = undo_rollout(1, journal=journal)
        assert await undone.run() is RolloutState.ROLLED_BACK
        device = undone.devices["d0"]
        assert (device.state, device.reason) == (DeviceState.HELD, "NO_MODEL_BEFORE")
        assert undone.exit_code == 3


class TestNetwork:
    @pytest.fixture
    async def proxy(self, fakes) -> AsyncIterator[CutProxy]:
        """A bad network in front of the first device."""
        async with CutProxy(fakes[0].address) as proxy:
            yield proxy

    async def rolled_out(self, proxy, model, journal, **options) -> tuple[DeviceState, str]:
        """The state of the device behind the proxy after a rollout, and why it is in it."""
        fleet = fleet_of(proxy.address, timeout=options.pop("timeout", 10.0))
        rollout = fleet.deploy(model, journal=journal, **options)
        await rollout.run()
        device = rollout.devices["d0"]
        return device.state, device.reason

    @pytest.mark.parametrize("after", [100, 1500])
    async def test_a_connection_that_is_cut(self, fakes, proxy, model, journal, after) -> None:
        """A first question, or an upload, that breaks off is sent again."""
        proxy.lose_upload(after)
        assert await self.rolled_out(proxy, model, journal) == (DeviceState.HEALTHY, "")
        assert proxy.cuts == 1
        assert fakes[0].active_sha256

    async def test_an_answer_that_is_lost(self, fakes, proxy, tmp_path, journal) -> None:
        """A device whose answer is lost has the model, and is not said to have failed."""
        model = make_model(tmp_path / "m.tflite")
        proxy.lose_answer(len(model.data))

        async def cut() -> None:
            await proxy.uploaded.wait()
            proxy.cut(How.RST)

        cutting = asyncio.create_task(cut())
        assert await self.rolled_out(proxy, model, journal) == (DeviceState.HEALTHY, "")
        await cutting
        assert fakes[0].active_sha256 == model.sha256

    async def test_no_connection_stays(self, proxy, model, journal) -> None:
        """A device's connection is closed when it is done, not when Python collects garbage."""
        gc.disable()
        try:
            assert await self.rolled_out(proxy, model, journal) == (DeviceState.HEALTHY, "")
            assert proxy.connections == 1
            await asyncio.wait_for(proxy.idle(), 10)
        finally:
            gc.enable()

    async def test_a_slow_link(self, proxy, model, journal) -> None:
        """A link that delays everything ends as any other."""
        proxy.delay = 0.05
        assert await self.rolled_out(proxy, model, journal) == (DeviceState.HEALTHY, "")

    @pytest.mark.parametrize("allowed", [0, 1])
    async def test_a_device_that_falls_silent(
        self, fakes, proxy, tmp_path, journal, allowed
    ) -> None:
        """A device that is given the model and falls silent counts as failed, until it tells.

        A resume asks what it has, and does not send it again; or goes on taking it back.
        """
        model = make_model(tmp_path / "m.tflite")
        proxy.lose_answer(len(model.data))
        fleet = fleet_of(proxy.address, timeout=0.5)
        rollout = fleet.deploy(
            model, journal=journal, deploy_seconds=0.5, health_seconds=0.5, max_failures=allowed
        )
        assert await rollout.run() is (RolloutState.PARTIAL if allowed else RolloutState.UNDOING)
        device = rollout.devices["d0"]
        if allowed:
            assert (device.state, device.reason) == (DeviceState.PENDING, "LOST")
        else:
            assert device.state is DeviceState.UNDOING
        assert device.before == ""
        assert deploys(fakes[0]) == 1
        proxy.cut()
        resumed = resume_rollout(1, journal=journal)
        await resumed.run()
        assert deploys(fakes[0]) == 1, "it has the model, so it is not sent again"
        device = resumed.devices["d0"]
        if allowed:
            assert (resumed.state, device.state) == (RolloutState.DONE, DeviceState.HEALTHY)
        else:
            assert (device.state, device.reason) == (DeviceState.HELD, "NO_MODEL_BEFORE")


class TestOthers:
    async def test_two_rollouts_at_once(self, fakes, model, tmp_path, journal) -> None:
        """A rollout to devices of one that runs is refused; to others it is not."""
        other = make_model(tmp_path / "other.tflite", name="other")
        fleet = fleet_of(*(fake.address for fake in fakes[:2]))
        overlapping = fleet_of(*(fake.address for fake in fakes[1:3]))
        apart = fleet_of(fakes[3].address)
        sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
        fakes[1].fail("DeployModel", *[busy(sha256)] * 2)  # so that it takes a while
        running = aiter(fleet.deploy(model, journal=journal))
        await anext(running)
        (summary,) = await rollouts(journal=journal)
        assert f"pid {os.getpid()}" in summary.runner
        assert not summary.is_cut_off
        with pytest.raises(RolloutBusyError, match=r"Rollout 1 \(rhythm, version 1\) by .* d1;"):
            await overlapping.deploy(other, journal=journal).run()
        with pytest.raises(RolloutBusyError, match="being run by"):
            await resume_rollout(1, journal=journal).run()
        assert await apart.deploy(other, journal=journal).run() is RolloutState.DONE
        assert [device.state async for device in running] == [DeviceState.HEALTHY]
        assert await overlapping.deploy(other, journal=journal).run() is RolloutState.DONE
        assert deploys(fakes[1]) == 4

    async def test_a_later_rollout_takes_over(self, fakes, model, tmp_path, journal) -> None:
        """A device that waits in an older rollout gets nothing older than the newest one."""
        other = make_model(tmp_path / "other.tflite", name="other")
        async with CutProxy(fakes[0].address) as proxy:
            proxy.refusing = True
            fleet = fleet_of(proxy.address, fakes[1].address)
            assert await fleet.deploy(model, journal=journal).run() is RolloutState.PARTIAL
            proxy.refusing = False
            assert await fleet.deploy(other, journal=journal).run() is RolloutState.DONE
        older = resume_rollout(1, journal=journal)
        assert await older.run() is RolloutState.DONE
        device = older.devices["d0"]
        assert (device.state, device.reason) == (DeviceState.HELD, "SUPERSEDED")
        assert fakes[0].active_sha256 == other.sha256

    async def test_another_host_deploys(self, fakes, model, journal) -> None:
        """A device that somebody else deploys to is a failure, in the device's own words."""
        fakes[0].fail("DeployModel", busy("f" * 64))
        rollout = fleet_of(fakes[0].address).deploy(model, journal=journal, on_failure="hold")
        assert await rollout.run() is RolloutState.HALTED
        device = rollout.devices["d0"]
        assert (device.state, device.reason) == (DeviceState.FAILED, "DEPLOY_IN_PROGRESS")
        assert "ipv4:10.0.0.9" in device.message

    async def test_the_rollouts_own_deploy_still_runs(self, fakes, tmp_path, journal) -> None:
        """A deploy of this very model, left by a host that was cut off, is waited for."""
        model = make_model(tmp_path / "m.tflite")
        fakes[0].fail("DeployModel", busy(model.sha256))
        rollout = fleet_of(fakes[0].address).deploy(model, journal=journal)
        assert await rollout.run() is RolloutState.DONE
        assert deploys(fakes[0]) == 2

    async def test_somebody_else_changed_it(self, fakes, model, tmp_path, journal) -> None:
        """What a rollout changed is not taken back from a device that has another model by now."""
        old, other = (make_model(tmp_path / f"{name}.tflite", name=name) for name in ("old", "x"))
        fleet = fleet_of(fakes[0].address)
        await fleet.deploy(old, journal=journal).run()
        await fleet.deploy(model, journal=journal).run()
        async with connect(fakes[0].address) as device:
            await device.deploy(other)
        undone = undo_rollout(2, journal=journal)
        assert await undone.run() is RolloutState.ROLLED_BACK
        device = undone.devices["d0"]
        assert (device.state, device.reason) == (DeviceState.HELD, "CHANGED")
        assert fakes[0].active_sha256 == other.sha256

    async def test_who_stops_can_go_on(self, fakes, model, journal) -> None:
        """A rollout that nobody iterates any more stops, lets go, and is taken up again."""
        fleet = fleet_of(*(fake.address for fake in fakes), concurrency=1)
        async with contextlib.aclosing(aiter(fleet.deploy(model, journal=journal))) as rollout:
            await anext(rollout)
        (summary,) = await rollouts(journal=journal)
        assert summary.is_cut_off
        resumed = resume_rollout(1, journal=journal)
        assert await resumed.run() is RolloutState.DONE
        assert [deploys(fake) for fake in fakes] == [1] * 4
