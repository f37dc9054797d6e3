"""Fleets on a real Dask cluster of three workers, one of which may be killed at any time."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from holter_host import (
    Classification,
    Device,
    DeviceState,
    DeviceUnreachableError,
    Fleet,
    Gap,
    ModelChanged,
    ModelRefusedError,
    OutcomeState,
    Rollout,
    RolloutState,
    SampleBlock,
    resume_rollout,
)
from holter_host.cluster import ClusterError, ClusterFleet, cluster_hands, pool
from holter_host.rollout.engine import Engine
from holter_host.rollout.hands import Look
from holter_host.rollout.rows import Move
from support.cluster_work import Broken, Pid
from support.daemon import run
from support.dask_cluster import DaskCluster, dask_cluster
from support.simulated import SimulatedFleet, simulated_fleet
from support.tflite_models import averaging_model

pytestmark = [pytest.mark.litert, pytest.mark.timeout(240)]

MODEL = averaging_model(name="old")
FAULTS = ("--offline", "2", "--failing-gate", "1")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler and three workers, which live."""
    with dask_cluster(tmp_path_factory.mktemp("dask")) as running:
        yield running


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[DaskCluster]:
    """A scheduler and three workers, which a test may kill."""
    with dask_cluster(tmp_path) as running:
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A good model."""
    path = tmp_path / "model.tflite"
    path.write_bytes(MODEL)
    return path


async def swaps(fleet: SimulatedFleet, rollout: Rollout) -> Counter[int]:
    """How often the healthy devices were swapped to the rollout's model, by their own logs."""
    healthy = [row for row in rollout.devices.values() if row.state is DeviceState.HEALTHY]
    target = healthy[0].target

    async def count(device: Device) -> int:
        found, end = 0, (await device.status()).next_sequence
        async for event in device.classifications("earliest"):
            found += isinstance(event, ModelChanged) and event.model_sha256 == target
            if isinstance(event, Classification) and event.last_sequence >= end:
                break
        return found

    async with Fleet.load(fleet.inventory, concurrency=500, timeout=60) as devices:
        each = devices.each(count, devices=[row.device for row in healthy])
        return Counter([outcome.value or 0 async for outcome in each])


async def test_each_device_has_one_outcome_and_every_worker_its_part(
    tmp_path: Path, cluster: DaskCluster, model: Path
) -> None:
    """`each`, `status` and `judge` have one outcome a device, of its kind; all workers work."""
    async with simulated_fleet(tmp_path, "--devices", "30", *FAULTS) as fleet:
        devices = ClusterFleet.load(
            fleet.inventory, scheduler=cluster.scheduler, concurrency=5, timeout=3
        )
        outcomes = [outcome async for outcome in devices.each(Pid())]
        assert sorted(o.device.name for o in outcomes) == sorted(fleet.addresses())
        assert {o.value for o in outcomes if o.ok} == {w.pid for w in cluster.workers}
        offline = set(fleet.addresses(fault="offline"))
        assert {o.device.name for o in outcomes if not o.ok} == offline
        errors = [o.error for o in outcomes if o.state is OutcomeState.OFFLINE]
        assert all(isinstance(error, DeviceUnreachableError) for error in errors)
        judged = [outcome async for outcome in devices.judge(model)]
        (refused,) = [o for o in judged if o.state is OutcomeState.FAILED]
        assert {refused.device.name} == set(fleet.addresses(fault="failing-gate"))
        assert isinstance(refused.error, ModelRefusedError)
        assert refused.error.metadata["window"] == "0"
        assert len([o async for o in devices.status()]) == 30


async def test_a_worker_that_is_killed_mid_rollout(
    tmp_path: Path, mortal: DaskCluster, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 50 devices none is lost and none done twice, though a worker dies with some in hand."""
    caplog.set_level(logging.WARNING, "holter_host.cluster")
    flags = ("--devices", "50", "--slow", "100%", "--delay", "0.2")
    async with simulated_fleet(tmp_path, *flags) as fleet:
        devices = ClusterFleet.load(
            fleet.inventory, scheduler=mortal.scheduler, concurrency=6, timeout=20
        )
        rollout = devices.deploy(model, journal=tmp_path / "rollouts.db", waves="10%,100%")
        told = Counter[str]()
        async for device in rollout:
            told[device.device.name] += 1
            if told.total() == 8:  # in the second wave
                mortal.workers[1].kill()
        assert rollout.state is RolloutState.DONE
        assert {d.state for d in rollout.devices.values()} == {DeviceState.HEALTHY}
        assert told == Counter(fleet.addresses().keys())
        (lost,) = re.findall(r"others take its (\d+) devices", caplog.text)
        assert int(lost) > 0
        assert await swaps(fleet, rollout) == {1: len(fleet.addresses())}


async def test_nobody_left_and_a_resume(
    tmp_path: Path, mortal: DaskCluster, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any worker the rollout ends with an error; new ones go on with it where it was."""
    monkeypatch.setattr(pool, "NO_WORKER_SECONDS", 1.0)
    flags = ("--devices", "20", "--slow", "100%", "--delay", "0.2")
    journal = tmp_path / "rollouts.db"
    async with simulated_fleet(tmp_path, *flags) as fleet:
        devices = ClusterFleet.load(
            fleet.inventory, scheduler=mortal.scheduler, concurrency=2, timeout=20
        )
        rollout = devices.deploy(model, journal=journal)
        begun = Engine._begun

        async def cut_off(self: Engine, looks: Sequence[Look]) -> list[Move | None]:
            moves = await begun(self, looks)  # STARTED is written down, and not answered yet
            if any(d.state is DeviceState.HEALTHY for d in rollout.devices.values()):
                for worker in mortal.workers:
                    worker.kill()
            return moves

        with monkeypatch.context() as patched:
            patched.setattr(Engine, "_begun", cut_off)
            with pytest.raises(ClusterError, match="has no worker that can be used"):
                await rollout.run()
        states = [device.state for device in rollout.devices.values()]
        assert DeviceState.STARTED in states
        assert DeviceState.HEALTHY in states
        assert DeviceState.PLANNED in states
        for worker in mortal.workers:
            worker.wait()
        mortal.add_workers(1)
        hands = cluster_hands(mortal.scheduler, timeout=20)
        again = resume_rollout(rollout.id, journal=journal, hands=hands)
        assert await again.run() is RolloutState.DONE
        assert {d.state for d in again.devices.values()} == {DeviceState.HEALTHY}
        assert await swaps(fleet, again) == {1: len(fleet.addresses())}


async def test_streams_go_on_where_a_worker_was_lost(tmp_path: Path, mortal: DaskCluster) -> None:
    """Every frame of every device comes once and in order, also after a worker was killed."""
    async with simulated_fleet(tmp_path, "--devices", "12") as fleet:
        devices = ClusterFleet.load(fleet.inventory, scheduler=mortal.scheduler)
        places = dict.fromkeys(fleet.addresses(), -1)
        frames = dict.fromkeys(places, 0)
        killed = False
        async with aclosing(devices.samples()) as events:
            async for event in events:
                found, name = event.event, event.device.name
                if not isinstance(found, SampleBlock | Gap):
                    continue
                assert isinstance(found, SampleBlock)
                assert places[name] in (-1, found.first_sequence)
                assert event.clock is not None
                places[name] = found.next_sequence
                frames[name] += found.frame_count
                if not killed and min(frames.values()) >= 360:
                    mortal.workers[0].kill()
                    killed = True
                    frames = dict.fromkeys(places, 0)
                if killed and min(frames.values()) >= 720:
                    break


async def test_the_command(tmp_path: Path, cluster: DaskCluster, model: Path) -> None:
    """`holter fleet` does the same with --cluster: status, deploy, resume, watch, rollback."""
    async with simulated_fleet(tmp_path, "--devices", "9", "--offline", "1") as fleet:
        on = ("--cluster", cluster.scheduler, "--timeout", "5", "--json")
        inventory = ("--inventory", str(fleet.inventory))
        journal = ("--journal", str(tmp_path / "rollouts.db"))
        code, out, _ = await run("holter", "fleet", "status", *inventory, *on)
        assert (code, len(out.splitlines())) == (3, 9)
        deploy = ("holter", "fleet", "deploy", str(model), *inventory, *journal, *on)
        code, out, err = await run(*deploy)
        assert code == 3, err
        await fleet.change(signal.SIGUSR1)
        code, out, err = await run("holter", "fleet", "resume", "1", *journal, *on)
        assert code == 0, err
        (name,) = fleet.addresses(fault="offline")
        assert json.loads(out.splitlines()[-1])["device"] == name
        words = ("watch", "--samples", "--count", "30", *inventory, *on)
        code, out, err = await run("holter", "fleet", *words)
        assert code in (0, 3), err
        assert len({json.loads(line)["device"] for line in out.splitlines()}) > 3
        code, out, err = await run("holter", "fleet", "rollback", "1", *inventory, *journal, *on)
        assert code == 3, err
        assert {json.loads(line)["reason"] for line in out.splitlines()} == {"NO_MODEL_BEFORE"}


async def test_a_command_that_is_killed_mid_rollout(
    tmp_path: Path, cluster: DaskCluster, model: Path
) -> None:
    """After a kill -9 of the command a resume on the cluster ends the rollout; none is repeated."""
    flags = ("--devices", "20", "--slow", "100%", "--delay", "0.2")
    journal = tmp_path / "rollouts.db"
    async with simulated_fleet(tmp_path, *flags) as fleet:
        words = ("fleet", "deploy", str(model), "--inventory", str(fleet.inventory), "--json")
        words += ("--journal", str(journal), "--cluster", cluster.scheduler, "--concurrency", "2")
        command = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "holter"), *words, stdout=asyncio.subprocess.PIPE
        )
        assert command.stdout is not None
        for _ in range(4):
            assert await command.stdout.readline()
        command.kill()
        await command.wait()
        command._transport.close()  # type: ignore[attr-defined]  # else a warning comes later
        rollout = resume_rollout(1, journal=journal, hands=cluster_hands(cluster.scheduler))
        assert await rollout.run() is RolloutState.DONE
        assert {d.state for d in rollout.devices.values()} == {DeviceState.HEALTHY}
        assert await swaps(fleet, rollout) == {1: len(fleet.addresses())}


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense"])
async def test_no_scheduler(tmp_path: Path, model: Path, address: str) -> None:
    """Where nobody answers it is one sentence, and no rollout is written down."""
    inventory, journal = tmp_path / "fleet.toml", tmp_path / "rollouts.db"
    inventory.write_text('[[device]]\nname = "a"\naddress = "127.0.0.1:50051"\n')
    files = ("--inventory", str(inventory), "--journal", str(journal))
    words = ("fleet", "deploy", str(model), *files, "--cluster", address)
    code, out, err = await run("holter", *words)
    assert (code, out) == (1, "")
    message = json.loads(err)["error"]["message"] if err.startswith("{") else err
    assert f"No Dask scheduler answers at {address}" in message
    assert "Traceback" not in err
    assert not journal.exists()


async def test_no_worker(tmp_path: Path) -> None:
    """A scheduler without workers is one sentence that says what to start."""
    inventory = tmp_path / "fleet.toml"
    inventory.write_text('[[device]]\nname = "a"\naddress = "127.0.0.1:50051"\n')
    with dask_cluster(tmp_path, workers=0) as cluster:
        words = ("status", "--inventory", str(inventory), "--cluster", cluster.scheduler)
        code, _, err = await run("holter", "fleet", *words)
    assert code == 1
    assert f"dask worker {cluster.scheduler}" in err


async def test_work_that_raises_ends_it_here(tmp_path: Path, cluster: DaskCluster) -> None:
    """What a piece of work raises on a worker, and no error of Holter's is, is raised here."""

    async with simulated_fleet(tmp_path, "--devices", "2") as fleet:
        devices = ClusterFleet.load(fleet.inventory, scheduler=cluster.scheduler)
        with pytest.raises(ZeroDivisionError, match=r"127\.0\.0\.1"):
            async for _ in devices.each(Broken()):
                pass


async def test_who_stops_early_leaves_nothing_running(tmp_path: Path, cluster: DaskCluster) -> None:
    """After the first event of a stream that is given up, no worker is connected to a device."""
    async with simulated_fleet(tmp_path, "--devices", "3") as fleet:
        devices = ClusterFleet.load(fleet.inventory, scheduler=cluster.scheduler)
        async with aclosing(devices.samples()) as events:
            await anext(events)
        ports = {int(address.rpartition(":")[2]) for address in fleet.addresses().values()}
        while await asyncio.to_thread(_connected, ports):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert [o.ok async for o in devices.status()] == [True] * 3


def _connected(ports: set[int]) -> bool:
    """Whether anybody has a connection to one of these ports."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(int(row[2].rpartition(":")[2], 16) in ports and row[3] == "01" for row in rows)


@pytest.fixture
def calm_model(tmp_path: Path) -> Path:
    """A model of a window in 10 s, so that a thousand devices have time for more."""
    path = tmp_path / "calm.tflite"
    path.write_bytes(averaging_model(window=3600, hop=3600, input_shape=(1, 3600, 1)))
    return path


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_thousand_devices(tmp_path: Path, mortal: DaskCluster, calm_model: Path) -> None:
    """A worker dies under a rollout to 1000 devices, some offline or refusing: all is exact."""
    flags = ("--devices", "1000", "--offline", "5%", "--failing-gate", "2%")
    async with simulated_fleet(tmp_path, *flags) as fleet:
        devices = ClusterFleet.load(fleet.inventory, scheduler=mortal.scheduler, timeout=60)
        rollout = devices.deploy(
            calm_model, journal=tmp_path / "rollouts.db", waves="10%,100%", max_failures="5%"
        )
        told = Counter[str]()
        async for device in rollout:
            told[device.device.name] += 1
            if told.total() == 300:
                mortal.workers[0].kill()
        assert rollout.state is RolloutState.PARTIAL
        states = Counter(row.state for row in rollout.devices.values())
        expected = {DeviceState.HEALTHY: 930, DeviceState.PENDING: 50, DeviceState.FAILED: 20}
        assert states == expected
        assert await swaps(fleet, rollout) == {1: 930}
        await fleet.change(signal.SIGUSR1)
        hands = cluster_hands(mortal.scheduler, timeout=60)
        again = resume_rollout(rollout.id, journal=rollout.journal, hands=hands)
        await again.run()
        states = Counter(row.state for row in again.devices.values())
        assert states == {DeviceState.HEALTHY: 980, DeviceState.FAILED: 20}
