"""Rollouts to simulated fleets, over gRPC, with every fault: the table at the end is exact."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from conftest import ROOT
from holter_host import (
    DeviceState,
    Fleet,
    Rollout,
    RolloutState,
    resume_rollout,
    rollout_devices,
    undo_rollout,
)
from support.daemon import run
from support.simulated import SimulatedFleet, simulated_fleet
from support.tflite_models import averaging_model

pytestmark = pytest.mark.litert

OLD = averaging_model(name="old")
NEW = averaging_model(name="new", bias=(1.0, 0.0, 0.0))
NO_PROBATION = ("--probation-seconds", "0", "--probation-windows", "0")
SHORT_PROBATION = ("--speed", "10", "--probation-seconds", "0", "--probation-windows", "2")


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """The files of two models."""
    paths = tmp_path / "old.tflite", tmp_path / "new.tflite"
    for path, data in zip(paths, (OLD, NEW), strict=True):
        path.write_bytes(data)
    return paths


async def told(rollout: Rollout) -> dict[str, DeviceState]:
    """Run a rollout; which devices it told of, and the last state of each."""
    return {device.device.name: device.state async for device in rollout}


async def actives(fleet: SimulatedFleet) -> dict[str, str]:
    """The digest of every device's active model, "" for none, of those that answer."""
    async with Fleet.load(fleet.inventory, timeout=60) as devices:
        found = [outcome async for outcome in devices.status() if outcome.value]
    return {o.device.name: m.sha256 if (m := o.value.active_model) else "" for o in found}


@pytest.mark.parametrize(
    ("count", "offline", "refusing"),
    [(50, 5, 2), pytest.param(1000, 50, 20, marks=[pytest.mark.long, pytest.mark.timeout(600)])],
)
async def test_the_table_is_exact(
    tmp_path, models, count: int, offline: int, refusing: int
) -> None:
    """Who is there has the model, who refuses it has not, who is offline gets it by a resume."""
    journal = tmp_path / "rollouts.db"
    flags = ["--devices", count, "--offline", f"{100 * offline / count:g}%"]
    flags += ["--failing-gate", f"{100 * refusing / count:g}%"]
    async with simulated_fleet(tmp_path, *map(str, flags), *NO_PROBATION) as fleet:
        absent, bad = fleet.addresses(fault="offline"), fleet.addresses(fault="failing-gate")
        expected = dict.fromkeys(fleet.addresses(), DeviceState.HEALTHY)
        expected |= dict.fromkeys(absent, DeviceState.PENDING)
        expected |= dict.fromkeys(bad, DeviceState.FAILED)
        async with Fleet.load(fleet.inventory, timeout=60) as devices:
            rollout = devices.deploy(
                models[0], waves="30%,100%", max_failures="10%", journal=journal
            )
            assert await told(rollout) == expected
        assert (rollout.state, rollout.exit_code) == (RolloutState.PARTIAL, 3)
        reasons = Counter(device.reason for device in rollout.devices.values())
        healthy = count - offline - refusing
        assert reasons == {"": healthy, "OFFLINE": offline, "GOLDEN_MISMATCH": refusing}
        record, written = await rollout_devices(rollout.id, journal=journal)
        assert {row.device.name: row.state for row in written} == expected
        assert record == rollout.record

        await fleet.change(signal.SIGUSR1)  # they come back
        resumed = resume_rollout(rollout.id, journal=journal)
        assert await told(resumed) == dict.fromkeys(absent, DeviceState.HEALTHY)
        assert (resumed.state, resumed.exit_code) == (RolloutState.DONE, 3)
        digest = sha256(OLD).hexdigest()
        assert await actives(fleet) == {
            name: "" if name in bad else digest for name in fleet.addresses()
        }
        assert await told(resume_rollout(rollout.id, journal=journal)) == {}


async def test_a_wave_that_fails_its_probation_ends_it(tmp_path, models) -> None:
    """Devices that go back by themselves are failures, and the rollout takes back what it changed.

    Nobody of a later wave was asked, and what was rolled back has the model that it had.
    """
    old, new = models
    journal = tmp_path / "rollouts.db"
    faults = tmp_path / "faults.toml"
    faults.write_text('sim-0004 = "failing-probation"\n')
    flags = ("--devices", "8", "--faults", str(faults), *SHORT_PROBATION)
    async with (
        simulated_fleet(tmp_path, *flags) as fleet,
        Fleet.load(fleet.inventory, timeout=60) as devices,
    ):
        assert await devices.deploy(old, journal=journal).run() is RolloutState.DONE
        rollout = devices.deploy(new, waves="2,6,100%", journal=journal)
        seen = [(device.device.name, device.state) async for device in rollout]
        assert {name for name, state in seen if state is DeviceState.HEALTHY} >= {
            "sim-0000",
            "sim-0001",
        }, "the first wave was found healthy before the second one began"
        assert (rollout.state, rollout.exit_code) == (RolloutState.ROLLED_BACK, 4)
        states = {name: device.state for name, device in rollout.devices.items()}
        assert states.pop("sim-0004") is DeviceState.FAILED
        assert rollout.devices["sim-0004"].reason == "MODEL_FAILED"
        assert [states.pop(name) for name in ("sim-0006", "sim-0007")] == [DeviceState.PLANNED] * 2
        assert set(states.values()) == {DeviceState.ROLLED_BACK}
        assert set((await actives(fleet)).values()) == {sha256(OLD).hexdigest()}


async def test_undo_and_activate_and_rollback(tmp_path, models) -> None:
    """A rollout that is over can be taken back, activated again, and rolled back."""
    old, new = models
    journal = tmp_path / "rollouts.db"
    async with (
        simulated_fleet(tmp_path, "--devices", "3", *SHORT_PROBATION) as fleet,
        Fleet.load(fleet.inventory, timeout=60) as devices,
    ):
        olds, news = (dict.fromkeys(fleet.addresses(), sha256(x).hexdigest()) for x in (OLD, NEW))
        await devices.deploy(old, journal=journal).run()
        rollout = devices.deploy(new, journal=journal)
        assert await rollout.run() is RolloutState.DONE
        assert await actives(fleet) == news
        assert await undo_rollout(rollout.id, journal=journal).run() is RolloutState.ROLLED_BACK
        assert await actives(fleet) == olds
        digest = sha256(NEW).hexdigest()
        again = devices.activate(digest[:10], journal=journal)
        assert await again.run() is RolloutState.DONE
        assert {device.target for device in again.devices.values()} == {digest}
        assert await actives(fleet) == news
        back = devices.rollback(journal=journal)
        assert await back.run() is RolloutState.DONE
        assert await actives(fleet) == olds


async def test_killed_in_the_probation(tmp_path, models) -> None:
    """A host that is killed while the devices have the model on probation goes on to its end."""
    old, new = models
    journal = tmp_path / "rollouts.db"
    async with (
        simulated_fleet(tmp_path, "--devices", "1", *SHORT_PROBATION) as fleet,
        Fleet.load(fleet.inventory, timeout=60) as devices,
    ):
        await devices.deploy(old, journal=journal).run()
        # It is created, begins, and writes STARTED; then DEPLOYED.
        words = map(str, (journal, fleet.inventory, new, 4, "after", "100%"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "support.killed_rollout", *words, cwd=ROOT / "tests"
        )
        assert await process.wait() == -signal.SIGKILL
        record, (row,) = await rollout_devices(2, journal=journal)
        assert (record.state, row.state) == (RolloutState.RUNNING, DeviceState.DEPLOYED)
        assert await told(resume_rollout(2, journal=journal)) == {"sim-0000": DeviceState.HEALTHY}


async def test_the_command(tmp_path, models) -> None:
    """The verbs show plan, devices and rollouts, and their exit codes say how it went."""
    old, new = map(str, models)
    environment = {"HOLTER_JOURNAL": str(tmp_path / "rollouts.db")}
    faults = tmp_path / "faults.toml"
    faults.write_text('sim-0001 = "offline"\nsim-0002 = "failing-gate"\n')
    flags = ("--devices", "4", "--faults", str(faults), *NO_PROBATION)
    async with simulated_fleet(tmp_path, *flags) as fleet:

        async def fleet_verb(*words: str) -> tuple[int, list[dict], dict]:
            code, out, err = await run("holter", "fleet", *words, env=environment)
            assert "Traceback" not in err
            said = json.loads(err.splitlines()[-1]) if '{"rollout"' in err else {}
            return code, [json.loads(line) for line in out.splitlines()], said

        inventory = ("--inventory", str(fleet.inventory))
        code, lines, _ = await fleet_verb("deploy", old, *inventory, "--dry-run")
        verdicts = {line["device"]: line["state"] for line in lines}
        assert (code, sorted(verdicts.values())) == (3, ["FAILED", "OFFLINE", "OK", "OK"])
        assert verdicts["sim-0002"] == "FAILED"
        assert (await fleet_verb("history"))[0] == 5, "a dry run is written down nowhere"

        code, lines, said = await fleet_verb("deploy", old, *inventory, "--max-failures", "1")
        assert code == 3
        assert said["rollout"]["devices"] == {"HEALTHY": 2, "FAILED": 1, "PENDING": 1}
        assert {line["device"]: line["state"] for line in lines}["sim-0001"] == "PENDING"

        faults.write_text('sim-0001 = "none"\n')
        await fleet.change(signal.SIGHUP)
        code, lines, said = await fleet_verb("resume", "1")
        assert [(line["device"], line["state"]) for line in lines] == [("sim-0001", "HEALTHY")]
        assert (code, said["rollout"]["state"]) == (3, "DONE")

        words = ("deploy", new, *inventory, "--select", "name!=sim-0002")
        code, lines, said = await fleet_verb(*words, "--waves", "1,100%", "--approve")
        assert (code, len(lines), said["rollout"]["state"]) == (4, 1, "PAUSED")
        assert (await fleet_verb("resume", "2"))[0] == 4, "nobody has approved"
        assert (await fleet_verb("approve", "2", "--json"))[0] == 0
        code, lines, said = await fleet_verb("resume", "2")
        assert (code, len(lines), said["rollout"]["state"]) == (0, 2, "DONE")
        code, lines, _ = await fleet_verb("history", "2")
        assert (code, [line["state"] for line in lines]) == (0, ["HEALTHY"] * 3)
        code, lines, said = await fleet_verb("rollback", "2")
        assert (code, said["rollout"]["state"]) == (0, "ROLLED_BACK")
        code, lines, _ = await fleet_verb("history")
        assert [(line["id"], line["state"]) for line in lines] == [(2, "ROLLED_BACK"), (1, "DONE")]
        assert (await fleet_verb("resume", "9"))[0] == 5
