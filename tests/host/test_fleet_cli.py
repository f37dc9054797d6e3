"""Laws of `holter fleet`: what it prints on a terminal and elsewhere, and its exit codes."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from holter_host import LeadOffRun, connect_sync
from holter_host.testing import Failure, FakeDevice
from support.command import HOLTER, Holter, on_a_terminal
from support.model_files import make_model

NO = Failure(grpc.StatusCode.INTERNAL, "The log is [broken].", "INTERNAL")
Inventory = Callable[..., Path]


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inventory:
    """Writes the inventory that HOLTER_FLEET names: devices by their names; None is offline."""

    def write(**devices: FakeDevice | None) -> Path:
        tables = []
        for number, (name, fake) in enumerate(devices.items()):
            address = fake.address if fake else f"unix:{tmp_path}/nobody-{number}"
            site = "ab"[number % 2]
            tables.append(
                f'[[device]]\nname = "{name}"\naddress = "{address}"\n'
                f'labels = {{ site = "{site}" }}\n'
            )
        path = tmp_path / "fleet.toml"
        path.write_text("\n".join(tables))
        monkeypatch.setenv("HOLTER_FLEET", str(path))
        return path

    return write


@pytest.fixture
def start() -> Iterator[Callable[..., FakeDevice]]:
    """Starts fake devices."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(FakeDevice(*args, **options))


def refusing(device: FakeDevice, method: str) -> FakeDevice:
    """A device whose next call of a method fails."""
    device.fail(method, NO)
    return device


def by_device(lines: list[Any]) -> dict[str, Any]:
    """The last line of each device."""
    return {line["device"]: line for line in lines}


class TestStatus:
    def test_a_line_a_device(self, holter: Holter, inventory: Inventory, start) -> None:
        """Off a terminal each device is one JSON object, as soon as it is known; some is 3."""
        inventory(good=start(), bad=refusing(start(), "GetDevice"), gone=None)
        done = holter("fleet", "status")
        found = by_device(done.lines)
        assert {name: line["state"] for name, line in found.items()} == {
            "good": "OK",
            "bad": "FAILED",
            "gone": "OFFLINE",
        }
        assert found["good"]["status"]["hostname"] == "fake"
        assert found["good"]["labels"] == {"site": "a"}
        assert found["good"]["error"] is None
        assert found["bad"]["error"]["message"] == "The log is [broken]."
        assert found["bad"]["status"] is None
        assert found["gone"]["error"]["reason"] == "UNAVAILABLE"
        counts = {"devices": 3, "ok": 1, "failed": 1, "offline": 1}
        assert json.loads(done.err) == {"fleet": counts}
        assert done.code == 3

    @pytest.mark.parametrize(
        ("devices", "code"), [("good", 0), ("bad", 1), ("gone", 5), ("bad gone", 1)]
    )
    def test_exit_codes(
        self, holter: Holter, inventory: Inventory, start, devices: str, code: int
    ) -> None:
        """All is 0, none that answered well is 1, nobody there is 5."""
        make = {"good": start, "bad": lambda: refusing(start(), "GetDevice"), "gone": lambda: None}
        inventory(**{name: make[name]() for name in devices.split()})
        assert holter("fleet", "status").code == code

    def test_select(self, holter: Holter, inventory: Inventory, start) -> None:
        """Only the devices that every --select means are asked; if there is none it is 5."""
        fakes = {name: start() for name in ("one", "two", "three")}
        inventory(**fakes)
        done = holter("fleet", "status", "--select", "site=a", "--select", "name!=three")
        assert list(by_device(done.lines)) == ["one"]
        assert [len(fake.requests) for fake in fakes.values()] == [1, 0, 0]
        done = holter("fleet", "status", "--select", "site=c")
        assert (done.code, done.out) == (5, "")
        assert "the labels there are: name, site." in done.err

    def test_a_bad_inventory_is_2(self, holter: Holter, tmp_path: Path) -> None:
        """What is wrong in an inventory is told whole, and nobody is asked anything."""
        path = tmp_path / "fleet.toml"
        path.write_text('[[device]]\nnam = "a"\naddress = "10.0.0.1"\n')
        done = holter("fleet", "status", "--inventory", path)
        assert done.code == 2
        assert "has 3 problems" in done.err
        assert "line 2, nam: there is no such field; did you mean name?" in done.err
        done = holter("fleet", "status", "--inventory", tmp_path / "none.toml", "--json")
        assert (done.code, done.error["reason"]) == (2, "BAD_INPUT")

    def test_a_table_on_a_terminal(self, inventory: Inventory, start) -> None:
        """On a terminal there is a table in the inventory's order, whole, with what is wrong."""
        inventory(good=start(), bad=refusing(start(), "GetDevice"), gone=None)
        done = on_a_terminal("fleet", "status")
        assert done.code == 3
        assert done.err == "holter: 3 devices: 1 ok, 1 failed, 1 offline\n"
        head, *rows = plain_lines(done.out)[-4:]
        assert head.split()[:4] == ["device", "state", "sampler", "missing"]
        assert [row.split()[:2] for row in rows] == [
            ["good", "ok"],
            ["bad", "failed"],
            ["gone", "offline"],
        ]
        assert rows[1].endswith("The log is [broken].")

    def test_more_than_the_terminal_takes(self, inventory: Inventory, start) -> None:
        """While it runs, what does not fit is counted; at the end every device has its line."""
        inventory(**{f"d{number}": None for number in range(60)}, good=start())
        done = on_a_terminal("fleet", "status", lines=12)
        shown = plain_lines(done.out)
        assert any(line.startswith("and 53 more") for line in shown)
        assert [line.split()[0] for line in shown[-61:]] == [*(f"d{n}" for n in range(60)), "good"]

    def test_again_and_again(self, inventory: Inventory, start) -> None:
        """With --watch the devices are asked again, until the reader has enough."""
        path = inventory(good=start())
        command = [*HOLTER, "fleet", "status", "--watch", "0.05", "--inventory", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            rounds = [json.loads(process.stdout.readline())["device"] for _ in range(3)]
            process.stdout.close()
        assert rounds == ["good"] * 3
        assert process.returncode == 0


class TestWatch:
    def test_events_as_lines(
        self, holter: Holter, inventory: Inventory, start, tmp_path: Path
    ) -> None:
        """Each event of each device is a JSON object with its device, its time and its kind."""
        fakes = {"one": start([720]), "two": start([1080])}
        for fake in fakes.values():
            with connect_sync(fake.address) as device:
                device.deploy(make_model(tmp_path / "m.tflite", window=360, hop=360))
        inventory(**fakes)
        done = holter("fleet", "watch", "--from", "earliest")
        assert done.code == 0
        windows: dict[str, list[int]] = {"one": [], "two": []}
        for line in done.lines:
            assert set(line) - {"device", "time"} <= {
                "session_started",
                "model_changed",
                "classification",
                "end",
            }
            if "classification" in line:
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line["time"])
                windows[line["device"]].append(line["classification"]["last_sequence"])
        assert windows == {"one": [359, 719], "two": [359, 719, 1079]}

    def test_connections_and_failures_are_events(
        self, holter: Holter, inventory: Inventory, start
    ) -> None:
        """Who is lost and who refuses is told in its place; the exit code counts who streams."""
        breaking = start([72])
        breaking.fail("StreamSamples", Failure(grpc.StatusCode.UNAVAILABLE, "Cut.", after=2))
        inventory(good=start([36]), bad=refusing(start(), "StreamSamples"), cut=breaking)
        done = holter("fleet", "watch", "--samples", "--from", "earliest")
        assert done.code == 3
        kinds: dict[str, list[str]] = {}
        for line in done.lines:
            kinds.setdefault(line["device"], []).extend(set(line) - {"device", "time"})
        assert kinds["good"] == ["session_started", "sample_block", "end"]
        assert kinds["bad"] == ["error"]
        lost, back = (line["connection"] for line in done.lines if "connection" in line)
        assert (lost["connected"], back["connected"]) == (False, True)
        kept = [kind for kind in kinds["cut"] if kind != "connection"]
        assert kept == ["session_started", "sample_block", "sample_block", "end"]
        counts = {"devices": 3, "ok": 2, "failed": 1, "offline": 0}
        assert json.loads(done.err) == {"fleet": counts}

    def test_count_and_no_reconnect(self, holter: Holter, inventory: Inventory, start) -> None:
        """--count counts over all devices; with --no-reconnect who is not there has failed."""
        inventory(one=start(), two=start())
        done = holter("fleet", "watch", "--samples", "--count", "5")
        assert [line for line in done.lines if "sample_block" in line][4:] == [done.lines[-1]]
        inventory(gone=None)
        done = holter("fleet", "watch", "--no-reconnect")
        assert (done.code, done.lines[0]["error"]["reason"]) == (5, "UNAVAILABLE")

    def test_ctrl_c_is_130(self, inventory: Inventory, start) -> None:
        """Whoever has seen enough ends it by Ctrl-C, without a traceback."""
        path = inventory(one=start([36], hold=True), gone=None)
        command = [*HOLTER, "fleet", "watch", "--samples", "--from", "earliest"]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [*command, "--inventory", str(path)], stdout=pipe, stderr=pipe, text=True
        ) as process:
            assert process.stdout is not None
            while "sample_block" not in process.stdout.readline():
                pass
            process.send_signal(signal.SIGINT)
            _, err = process.communicate()
        assert (process.returncode, err.strip()) == (130, "")

    def test_a_table_on_a_terminal(self, inventory: Inventory, start) -> None:
        """On a terminal each device has a row: its state, and what is wrong with it now."""
        off = start([36], lead_off=[LeadOffRun(30, 6, (0,), ("RAILED",))])
        inventory(off=off, gone=None)
        watch = ("fleet", "watch", "--samples", "--from", "earliest", "--no-reconnect")
        done = on_a_terminal(*watch)
        assert done.code == 3
        rows = {line.split()[0]: line.split()[1:] for line in plain_lines(done.out) if line}
        assert rows["off"] == [*["ended", "SOURCE_ENDED;", "electrode", "off:", "A0", "RAILED"]]
        assert rows["gone"][:2] == ["offline", "No"]


def plain_lines(shown: str) -> list[str]:
    """What a terminal was sent, line by line, without what moves and colours."""
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()]
