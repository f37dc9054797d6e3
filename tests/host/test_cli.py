"""Laws of the command `holter`: what it prints, where, and with which exit code."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest

import holter_host
from holter.v1 import device_service_pb2 as device_pb
from holter.v1 import stream_pb2 as stream_pb
from holter_host import LeadOffReason, LeadOffRun, _convert, cli
from holter_host.cli._capture import _judge
from holter_host.cli._output import event_line, plain
from holter_host.testing import Failure, FakeDevice, Hole, fake_counts
from support.command import HOLTER, Holter
from support.model_files import FLATBUFFER, make_model


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDevice]:
    """The device that HOLTER_DEVICE names: sessions of 500 and 1000 frames, one hole in each."""
    holes = [Hole(1, 100, 10), Hole(2, 400, 20, "LATE")]
    with FakeDevice([500, 1000], holes=holes) as device:
        monkeypatch.setenv("HOLTER_DEVICE", device.address)
        yield device


@pytest.fixture
def model(tmp_path: Path) -> holter_host.Bundle:
    """A model of 360 frames every 180."""
    return make_model(tmp_path / "rhythm.tflite")


class TestGroup:
    def test_help_lists_every_verb(self, holter: Holter) -> None:
        """`holter --help` names every verb with its purpose, and shows an example."""
        done = holter("--help")
        assert done.code == 0
        for verb, (_, text) in cli.VERBS.items():
            assert f"{verb:<8}  {text}" in done.out
        assert "Example:" in done.out

    @pytest.mark.parametrize("verb", list(cli.VERBS))
    def test_each_verb_shows_an_example(self, holter: Holter, verb: str) -> None:
        """Each verb's --help has an example that begins with the verb, and knows --json."""
        done = holter(verb, "--help")
        assert done.code == 0
        assert f"Example:\n    holter {verb}" in done.out
        assert "--json" in done.out
        if cli.VERBS[verb][0] not in ("_convert", "_evaluate", "_keys", "fleet"):
            assert "127.0.0.1:50051" in done.out

    @pytest.mark.parametrize(
        "words", [("deply", "deploy"), ("fleet", "statsu", "status"), ("keys", "nwe", "new")]
    )
    def test_a_verb_with_a_typo(self, holter: Holter, words: tuple[str, ...]) -> None:
        """The nearest verb is named, of a fleet too."""
        *given, meant = words
        done = holter(*given)
        assert done.code == 2
        assert f"No such command '{given[-1]}'. Did you mean '{meant}'?" in done.err

    def test_version(self, holter: Holter) -> None:
        """--version prints the package's version."""
        assert holter("--version").out == f"holter, version {holter_host.__version__}\n"

    @pytest.mark.parametrize(
        "arguments",
        [
            ["bogus"],
            ["deploy"],
            ["watch", "--bogus"],
            ["watch", "--count", "0"],
            ["watch", "--seconds", "0"],
            ["watch", "--from", "yesterday"],
            ["watch", "--from", f"{2**63}:0"],
            ["capture", "--seconds", "-1", "-o", "x.npz"],
            ["classify"],
            ["classify", "x.npz", "--random"],
            ["status", "--device", "no address"],
        ],
    )
    @pytest.mark.parametrize("as_json", [False, True])
    def test_bad_usage_is_2(self, holter: Holter, arguments: Sequence[str], as_json: bool) -> None:
        """Bad usage ends with 2, one sentence or one JSON object on stderr, nothing on stdout."""
        done = holter(*arguments, *(["--json"] if as_json else []))
        assert (done.code, done.out) == (2, "")
        if as_json:
            assert set(done.error) == {"reason", "message", "metadata"}
            assert done.error["reason"] in ("BAD_USAGE", "BAD_INPUT")
        else:
            assert done.err.splitlines()[-1].startswith("holter: ")

    def test_something_unexpected_has_no_traceback(
        self, holter: Holter, fake: FakeDevice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A bug is one neutral sentence and 1; with --debug the whole story comes before it."""

        def broken(*args: object) -> None:
            raise ZeroDivisionError("secret")

        monkeypatch.setattr("holter_host.cli._status.connect", broken)
        done = holter("status")
        assert (done.code, done.out) == (1, "")
        assert "ZeroDivisionError" in done.err
        assert "--debug" in done.err
        assert "Traceback" not in done.err
        assert "secret" not in done.err
        assert "Traceback" in holter("--debug", "status").err

    def test_a_module_that_is_missing_is_named(
        self, holter: Holter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """An installation that is not whole says what it lacks and what to do."""
        monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
        done = holter("keys", "new", tmp_path / "key.pem")
        assert done.code == 1
        assert "module cryptography.hazmat.primitives is missing" in done.err
        assert "with pip" in done.err

    def test_nobody_at_the_address(self, holter: Holter) -> None:
        """Where no device answers it is 1, with the address and what to check."""
        with FakeDevice() as gone:
            address = gone.address
        for verb in (["status"], ["watch"], ["models"], ["classify", "--random"]):
            done = holter(*verb, "--device", address)
            assert (done.code, done.out) == (1, "")
            assert done.err == (
                f"holter: No Holter device answers at {address}; is holterd running there?\n"
            )
        assert holter("status", "--device", address, "--json").error["reason"] == "UNAVAILABLE"


class TestDeploy:
    def test_it_shows_the_gate(
        self, holter: Holter, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """A deploy prints the model, its whole digest, the steps with their facts, the swap."""
        done = holter("deploy", model.path)
        assert (done.code, done.err) == (0, "")
        lines = done.out.splitlines()
        assert lines[0].startswith("deployed: rhythm, version 1, ")
        assert lines[1].endswith(model.sha256)
        steps = [line.split()[0] for line in lines[2:7]]
        assert steps == ["digest", "load", "golden", "store", "swap"]
        assert "max abs difference 3.1e-07" in lines[4]
        assert "_ns" not in done.out
        assert "frame 0 of session 2" in lines[7]
        assert holter("deploy", model.path).out.startswith("already active: ")

    def test_json_has_the_names_of_the_wire(
        self, holter: Holter, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """--json prints one object with the fields of DeployModelResponse."""
        result = holter("deploy", model.path, "--json").json
        assert set(result) == {
            "model",
            "gate_report",
            "session_id",
            "swap_sequence",
            "already_active",
        }
        assert (result["model"]["sha256"], result["model"]["state"]) == (model.sha256, "ACTIVE")
        assert result["model"]["store_time"] == "2026-01-01T00:00:00Z"
        assert result["model"]["spec"]["unit"] == "MILLIVOLTS"
        assert result["gate_report"]["steps"][2]["facts"] == {"max_abs_difference": "3.1e-07"}

    def test_a_dry_run_changes_nothing(
        self, holter: Holter, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """--dry-run says that the model would pass, and the device holds none after it."""
        done = holter("deploy", model.path, "--dry-run")
        assert done.code == 0
        assert done.out.startswith("would pass: ")
        assert fake.models == {}

    def test_a_refusal_is_1_with_its_facts(
        self, holter: Holter, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """A model that the gate refuses ends with 1; --json has reason and metadata."""
        facts = {"key": "window", "model": "360", "device": "100"}
        said = "The window of 360 frames is longer than the device's 100."
        code = grpc.StatusCode.FAILED_PRECONDITION
        fake.fail("DeployModel", *[Failure(code, said, "MODEL_UNFIT", facts)] * 2)
        done = holter("deploy", model.path)
        assert (done.code, done.out, done.err) == (1, "", f"holter: {said}\n")
        done = holter("deploy", model.path, "--json")
        assert (done.code, done.out) == (1, "")
        assert done.error == {"reason": "MODEL_UNFIT", "message": said, "metadata": facts}

    @pytest.mark.parametrize(
        ("content", "said"),
        [(None, "Cannot read"), (b"hello", "not a TensorFlow"), (FLATBUFFER, "holter bundle")],
    )
    def test_a_file_that_is_no_model_is_2(
        self, holter: Holter, fake: FakeDevice, tmp_path: Path, content: bytes | None, said: str
    ) -> None:
        """What is no model file is bad input, with the way to make one, and is not sent."""
        path = tmp_path / "x.tflite"
        if content is not None:
            path.write_bytes(content)
        done = holter("deploy", path)
        assert (done.code, done.out) == (2, "")
        assert said in done.err
        assert not [request for request in fake.requests if hasattr(request, "validate_only")]


class TestModels:
    def test_none_is_5(self, holter: Holter, fake: FakeDevice) -> None:
        """A device without models gives 5: a sentence on stderr, or an empty list on stdout."""
        done = holter("models")
        assert (done.code, done.out) == (5, "")
        assert "holter deploy" in done.err
        done = holter("models", "--json")
        assert (done.code, done.err) == (5, "")
        assert done.json == {"models": [], "probation": None}

    def test_the_active_one_is_first(
        self, holter: Holter, fake: FakeDevice, tmp_path: Path
    ) -> None:
        """Each model is a line with its digest and state, or an object with all of it."""
        made = [make_model(tmp_path / str(n), version=n) for n in (1, 2)]
        for bundle in made:
            holter("deploy", bundle.path)
        done = holter("models")
        assert done.code == 0
        rows = [line.split()[:2] for line in done.out.splitlines()]
        assert rows == [[made[1].sha256[:12], "active"], [made[0].sha256[:12], "previous"]]
        listed = holter("models", "--json").json["models"]
        assert [entry["sha256"] for entry in listed] == [made[1].sha256, made[0].sha256]

    def test_activate(self, holter: Holter, fake: FakeDevice, tmp_path: Path) -> None:
        """A stored model becomes active by a prefix; unknown ones are 5, malformed ones 2."""
        made = [make_model(tmp_path / str(n), version=n) for n in (1, 2)]
        for bundle in made:
            holter("deploy", bundle.path)
        done = holter("activate", made[0].sha256[:10])
        assert done.code == 0
        assert done.out.startswith("activated: rhythm, version 1")
        assert fake.active_sha256 == made[0].sha256
        assert holter("activate", "0" * 8).code == 5
        assert holter("activate", "0" * 64, "--json").error["reason"] == "MODEL_NOT_FOUND"
        assert holter("activate", "latest").code == 2


class TestStatus:
    def test_people_read_a_table(
        self, holter: Holter, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """The table names source, session, sampler, model and runtime."""
        assert "model       none" in holter("status").out
        holter("deploy", model.path)
        done = holter("status")
        assert done.code == 0
        assert "session     2: 360 Hz, A0" in done.out
        assert f"model       rhythm, version 1 ({model.sha256[:12]})" in done.out
        assert "up 1 min 1 s" in done.out

    def test_quality_recording_and_clock_are_told(self, holter: Holter, fake: FakeDevice) -> None:
        """The table has what the device tells of its sampler, its log and its clock, in 80 columns.

        A device whose disk takes no frames says so in the first line.
        """
        errors = [
            stream_pb.BusErrorCount(errno=121, name="EREMOTEIO", count=1200),
            stream_pb.BusErrorCount(errno=110, name="ETIMEDOUT", count=34),
        ]
        recent = stream_pb.RecentQuality(
            duration_nanos=60 * 10**9,
            received_count=21_599,
            missing_count=1,
            late_count=3,
            achieved_rate_hz=359.983,
            lateness_p50_nanos=40_000,
            lateness_max_nanos=9_000_000,
        )
        fake.quality = stream_pb.SamplingQuality(
            received_count=12_345_678,
            missing_count=90,
            late_count=77,
            bus_error_count=1234,
            retry_count=1,
            bus_errors=errors,
            lateness_p999_nanos=2_500_000,
            lateness_max_nanos=9_500_000,
            last_minute=recent,
        )
        done = holter("status")
        assert "frames      12345678 received, 90 missing, 77 late" in done.out
        assert "  last min. 21599 received, 1 missing, 3 late; 359.983 Hz" in done.out
        assert "99.9 % 2.50" in done.out
        assert "greatest 9.00 ms" in done.out
        assert "greatest 9.50 ms" in done.out
        assert "1234 (EREMOTEIO 1200, ETIMEDOUT 34); 1 retry, 0 restarts" in done.out
        assert re.search(
            r"clock       \d+\.\d\d ms (ahead of|behind) this computer's, ± ", done.out
        )
        assert "not synchronized" in done.out
        assert max(map(len, done.out.splitlines())) <= 80
        assert "ALARM" not in done.out
        fake.recording.state = stream_pb.RECORDING_STATE_STOPPED
        fake.recording.error = "no space left on device"
        fake.recording.lost_frame_count = 720
        fake.recording.size_bytes = 1_400_000_000
        done = holter("status")
        assert done.out.splitlines()[0] == "ALARM       not recording: no space left on device"
        assert "recording   stopped; 1.4 GB on the disk; 720 frames lost" in done.out
        found = holter("status", "--json").json
        assert found["quality"]["bus_errors"][0] == {
            "errno": 121,
            "name": "EREMOTEIO",
            "count": 1200,
        }
        assert found["quality"]["last_minute"]["achieved_rate_hz"] == 359.983
        assert found["recording"]["state"] == "STOPPED"
        assert found["clock_offset"]["probe_count"] == 8
        fake.source.MergeFrom(
            device_pb.Source(frame_read_nanos=920_000, oversampling=8, real_time_priority=True)
        )
        words = " ".join(holter("status").out.split())
        assert "8 conversions a count, 0.92 ms a frame; at real-time priority" in words
        assert "memory not locked" in words
        fake.source.speed = 20.0
        assert holter("status", "--json").json["clock_offset"] is None
        assert "its clock runs 20 times as fast" in holter("status").out

    def test_frames_that_are_made_have_no_lateness(self, holter: Holter, fake: FakeDevice) -> None:
        """Where no read was timed the table says that, rather than that all were on time."""
        fake.quality = stream_pb.SamplingQuality(received_count=720)
        done = holter("status")
        assert "lateness    none measured: nothing was read at an instant" in done.out
        assert "greatest" not in done.out

    def test_json_has_the_names_of_the_wire(self, holter: Holter, fake: FakeDevice) -> None:
        """--json prints GetDeviceResponse by its names; what is unset is null."""
        found = holter("status", "--json").json
        assert found["session"]["channels"][0]["name"] == "A0"
        assert found["sampler_state"] == "RUNNING"
        assert found["classifier_state"] == "NO_MODEL"
        assert found["active_model"] is None
        assert found["limits"]["max_model_bytes"] == 64 * 2**20


class TestWatch:
    def test_samples_as_json_are_the_whole_grid(self, holter: Holter, fake: FakeDevice) -> None:
        """One object a line, its kind as the only key; blocks and gaps make up each session."""
        done = holter("watch", "--samples", "--from", "earliest", "--json")
        assert (done.code, done.err) == (0, "")
        assert all(len(line) == 1 for line in done.lines)
        expected, ends = 0, []
        for line in done.lines:
            ((kind, event),) = line.items()
            if kind == "session_started":
                ends.append(expected)
                expected = 0
            elif kind in ("sample_block", "gap"):
                assert event["first_sequence"] == expected
                expected += event["frame_count"]
        assert [*ends, expected] == [0, 500, 1000]
        assert done.lines[-1]["end"] == {
            "session_id": 2,
            "next_sequence": 1000,
            "reason": "SOURCE_ENDED",
        }

    def test_counts_are_one_flat_list(
        self, holter: Holter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Counts stand frame by frame and in each frame channel by channel."""
        with FakeDevice([10], channels=("A0", "A1"), lead_off=[(3, 2)]) as fake:
            done = holter("watch", "--samples", "--json", "--device", fake.address)
        block = done.lines[1]["sample_block"]
        assert block["counts"] == fake_counts(0, 10, 2).reshape(-1).tolist()
        assert (block["frame_count"], block["channel_count"]) == (10, 2)
        assert block["sample_format"] == "U8"
        assert block["lead_off_runs"] == [
            {"first_sequence": 3, "frame_count": 2, "channel_indexes": [], "reasons": []}
        ]

    def test_classifications_are_the_default(
        self, holter: Holter, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """With neither flag come sessions, models, classifications, and no samples."""
        holter("deploy", model.path)
        done = holter("watch", "--from", "earliest", "--json")
        kinds = [next(iter(line)) for line in done.lines]
        assert kinds[:3] == ["session_started", "model_changed", "classification"]
        assert set(kinds) == {"session_started", "model_changed", "classification", "end"}
        windows = [line["classification"] for line in done.lines if "classification" in line]
        assert [window["last_sequence"] for window in windows] == [359, 359, 539, 719, 899]
        assert windows[0]["unclassifiable_reason"] == "GAP"
        assert windows[1]["model_sha256"] == model.sha256
        assert windows[1]["label"] in "NSV"

    def test_both_flags_merge_both_streams(
        self, holter: Holter, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """With both flags nothing of either stream is missing, each is in its own order."""
        holter("deploy", model.path)
        alone = [
            holter("watch", flag, "--from", "earliest", "--json").out.splitlines()
            for flag in ("--samples", "--classifications")
        ]
        both = holter("watch", "--samples", "--classifications", "--from", "earliest", "--json")
        merged = both.out.splitlines()
        for lines, kinds in zip(alone, (["sample_block", "gap"], ["classification"]), strict=True):
            wanted = [line for line in lines if next(iter(json.loads(line))) in kinds]
            assert [line for line in merged if next(iter(json.loads(line))) in kinds] == wanted
        started = [line for line in both.lines if "session_started" in line]
        assert len(started) == 2

    def test_an_electrode_that_is_off_is_named(
        self, holter: Holter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A line of samples names each channel whose electrode was off, and why."""
        runs = [
            LeadOffRun(3, 2, (1,), (LeadOffReason.RAILED,)),
            LeadOffRun(5, 2, (1,), (LeadOffReason.LO_PLUS, LeadOffReason.SETTLING)),
            LeadOffRun(12, 1),
        ]
        with FakeDevice([20], channels=("A0", "A1"), lead_off=runs, block=10) as fake:
            lines = holter("watch", "--samples", "--device", fake.address).out.splitlines()
        assert lines[1].endswith("  electrode off: A1 LO_PLUS+RAILED+SETTLING")
        assert lines[2].endswith("  electrode off: A0, A1")

    @pytest.mark.parametrize("start", ["2:100", "2026-01-01T00:00:02.278Z", "live", "earliest"])
    def test_it_starts_where_it_is_told(self, holter: Holter, fake: FakeDevice, start: str) -> None:
        """--from takes a place of the log, a time and the two ends."""
        assert holter("watch", "--samples", "--from", start, "--count", "1").code == 0
        kinds = {"2:100": "position", "live": "live", "earliest": "earliest"}
        request = fake.requests[-1].start
        assert request.WhichOneof("start") == kinds.get(start, "time")
        if start == "2:100":
            assert (request.position.session_id, request.position.sequence) == (2, 100)
        elif start not in kinds:
            assert request.time.ToNanoseconds() == 1_767_225_602_278_000_000

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_an_alarm_is_told_once(self, flags: list[str]) -> None:
        """A device that stops recording says so on stderr, once for both streams; and its end."""
        with FakeDevice([36], hold=True) as fake:
            fake.recording.state = stream_pb.RECORDING_STATE_STOPPED
            words = ["watch", "--samples", "--classifications", *flags, "--device", fake.address]
            with subprocess.Popen([*HOLTER, *words], stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr is not None
                first = process.stderr.readline()
                fake.recording.state = stream_pb.RECORDING_STATE_RECORDING
                second = process.stderr.readline()
                process.send_signal(signal.SIGINT)
                assert process.stderr.read().strip() == ""
        if flags:
            states = [json.loads(line)["recording"]["state"] for line in (first, second)]
            assert states == ["STOPPED", "RECORDING"]
        else:
            assert first.startswith("holter: ALARM: the device's disk takes no frames")
            assert second == "holter: the device records again\n"

    @pytest.mark.parametrize("count", [1, 3])
    def test_count_counts_blocks_and_classifications(
        self, holter: Holter, fake: FakeDevice, count: int
    ) -> None:
        """--count stops after so many blocks; sessions and gaps do not count."""
        done = holter("watch", "--samples", "--from", "earliest", "--json", "--count", count)
        kinds = [next(iter(line)) for line in done.lines]
        assert kinds == ["session_started"] + ["sample_block"] * count
        assert fake.wait_until_idle()

    def test_seconds_end_a_silent_stream_with_5(self, holter: Holter) -> None:
        """A stream that gives nothing is left after --seconds, and the exit code is 5."""
        with FakeDevice([0], hold=True) as fake:
            done = holter("watch", "--seconds", "0.2", "--device", fake.address)
            assert (done.code, done.err) == (5, "")
            assert "no active model" in done.out
            assert fake.wait_until_idle()

    def test_seconds_end_an_endless_stream(self, holter: Holter) -> None:
        """An endless stream is left after --seconds, and the exit code is 0."""
        with FakeDevice() as fake:
            done = holter("watch", "--samples", "--seconds", "0.2", "--device", fake.address)
            assert (done.code, done.err) == (0, "")

    def test_people_read_lines(
        self, holter: Holter, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """Without --json each event is a line with its frames; a gap names its cause."""
        holter("deploy", model.path)
        out = holter("watch", "--samples", "--classifications", "--from", "earliest").out
        assert "session 1: 360 Hz, A0, since " in out
        assert "session 2: 360 Hz, A0, since " in out
        assert "(1.0 s after session 1)" in out
        assert "frames 100–109  missing: BUS_ERROR" in out
        assert "frames 400–419  missing: LATE" in out
        assert "no class: GAP" in out
        assert f"model {model.sha256[:12]} from sequence 0 on" in out
        assert "the device ended the stream at 1000: SOURCE_ENDED" in out

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_a_stream_that_breaks_goes_on(
        self, holter: Holter, fake: FakeDevice, flags: list[str]
    ) -> None:
        """What is printed is what an unbroken stream prints; stderr tells of the break."""
        words = ["watch", "--samples", "--from", "earliest", *flags]
        unbroken = holter(*words)
        fake.fail("StreamSamples", Failure(grpc.StatusCode.UNAVAILABLE, after=3))
        done = holter(*words)
        assert (done.code, done.out) == (0, unbroken.out)
        lost, again = done.err.splitlines()
        if flags:
            changes = [json.loads(line)["connection"] for line in (lost, again)]
            assert [change["connected"] for change in changes] == [False, True]
        else:
            assert lost.startswith("holter: connection lost; trying again. ")
            assert again.startswith("holter: connected again after ")

    def test_a_stream_that_is_not_to_be_resumed_is_1(
        self, holter: Holter, fake: FakeDevice
    ) -> None:
        """With --no-reconnect what came before is printed, then the error, on stderr."""
        fake.fail("StreamSamples", Failure(grpc.StatusCode.UNAVAILABLE, after=3))
        done = holter("watch", "--samples", "--from", "earliest", "--json", "--no-reconnect")
        assert (done.code, len(done.lines)) == (1, 3)
        assert done.error["reason"] == "UNAVAILABLE"
        assert f"connection to {fake.address} was lost" in done.error["message"]


class TestCapture:
    def test_a_file_and_a_sentence(
        self, holter: Holter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file holds the frames, the sentence says how many and what is missing."""
        out = tmp_path / "ecg.npz"
        with FakeDevice(holes=[Hole(1, 10, 5)], lead_off=[(20, 7)]) as fake:
            monkeypatch.setenv("HOLTER_DEVICE", fake.address)
            done = holter("capture", "--seconds", "0.5", "-o", out)
            assert (done.code, done.err) == (0, "")
            assert "180 frames at 360 Hz, 5 missing, 7 with an electrode off" in done.out
            facts = holter("capture", "--seconds", "0.5", "-o", out, "--json").json["capture"]
        taken = holter_host.Capture.load(out)
        assert (len(taken), int(taken.valid.sum())) == (180, 175)
        assert (facts["frame_count"], facts["missing_count"], facts["lead_off_count"]) == (
            180,
            5,
            7,
        )

    def test_a_short_session_is_1_and_saved(
        self, holter: Holter, fake: FakeDevice, tmp_path: Path
    ) -> None:
        """Where the session ends before, what came is saved, said, and the exit code is 1."""
        done = holter("capture", "-o", tmp_path / "ecg.npz")
        assert done.code == 1
        assert "the frames ended after 2.78 of 10 s" in done.err
        assert len(holter_host.Capture.load(tmp_path / "ecg.npz")) == 1000

    def test_each_session_is_a_file(self, holter: Holter, fake: FakeDevice, tmp_path: Path) -> None:
        """Where the device was started again, the next session is the next file; that is said."""
        words = ["capture", "--from", "earliest", "-o", tmp_path / "ecg.npz", "--seconds"]
        done = holter(*words, "3")
        assert done.code == 0
        assert "session 2 began 1.00 s after the last frame of session 1" in done.err
        parts = [holter_host.Capture.load(tmp_path / name) for name in ("ecg.npz", "ecg.2.npz")]
        assert [(len(part), part.session.session_id) for part in parts] == [(500, 1), (220, 2)]
        done = holter(*words, "9", "--json")
        assert (done.code, len(done.lines)) == (1, 2)
        assert done.lines[1]["capture"]["path"].endswith("ecg.2.npz")
        assert "the frames ended after 5.17 of 9 s" in done.err

    def test_a_break_is_carried_through(
        self, holter: Holter, fake: FakeDevice, tmp_path: Path
    ) -> None:
        """A connection that is lost costs a capture nothing; with --no-reconnect it is an error."""
        broken = Failure(grpc.StatusCode.UNAVAILABLE, after=3)
        fake.fail("StreamSamples", broken, broken)
        words = ["capture", "--from", "2:0", "--seconds", "1", "-o", tmp_path / "ecg.npz"]
        done = holter(*words)
        assert (done.code, len(holter_host.Capture.load(tmp_path / "ecg.npz"))) == (0, 360)
        assert done.err.count("connection lost; trying again") == 2
        fake.fail("StreamSamples", broken)
        done = holter(*words, "--no-reconnect")
        assert (done.code, done.out) == (1, "")

    def test_a_place_that_cannot_be_written_is_found_first(
        self, holter: Holter, fake: FakeDevice, tmp_path: Path
    ) -> None:
        """A missing directory is bad input before the device is asked for anything."""
        done = holter("capture", "-o", tmp_path / "no" / "ecg.npz")
        assert done.code == 2
        assert "there is no directory" in done.err
        assert fake.requests == []


class TestClassify:
    def test_each_window_of_a_capture(
        self, holter: Holter, fake: FakeDevice, model: holter_host.Bundle, tmp_path: Path
    ) -> None:
        """A capture is classified window by window, as the device itself would."""
        holter("deploy", model.path)
        holter("capture", "--seconds", "2.7", "-o", tmp_path / "ecg.npz")
        done = holter("classify", tmp_path / "ecg.npz", "--json")
        windows = [line["classification"] for line in done.lines]
        assert [window["last_sequence"] for window in windows] == [359, 539, 719, 899]
        reasons = [window["unclassifiable_reason"] for window in windows]
        assert reasons == ["UNSPECIFIED", "GAP", "GAP", "UNSPECIFIED"]
        text = holter("classify", tmp_path / "ecg.npz").out
        assert "no class: GAP   frames 180–539" in text

    def test_random_is_a_self_test(
        self, holter: Holter, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """--random sends as many counts as the model takes, the same for the same seed."""
        holter("deploy", model.path)
        done = holter("classify", "--random", "--seed", "3", "--json")
        assert done.code == 0
        assert done.json["classification"]["inference_nanos"] == 250_000
        assert done.json["round_trip_nanos"] > 0
        first = fake.requests[-1].counts
        assert len(set(first)) > 100
        assert len(first) == 360
        assert "ms there and back" in holter("classify", "--random", "--seed", "3").out
        assert fake.requests[-1].counts == first

    @pytest.mark.parametrize("from_file", [False, True])
    def test_no_active_model(
        self, holter: Holter, fake: FakeDevice, tmp_path: Path, from_file: bool
    ) -> None:
        """Without an active model it is 1, and says how to get one."""
        holter("capture", "--seconds", "1", "-o", tmp_path / "ecg.npz")
        done = holter("classify", tmp_path / "ecg.npz" if from_file else "--random")
        assert (done.code, done.out) == (1, "")
        assert "holter deploy" in done.err

    def test_a_capture_that_is_too_short(
        self, holter: Holter, fake: FakeDevice, model: holter_host.Bundle, tmp_path: Path
    ) -> None:
        """A capture shorter than the model's window is 2, with how long it has to be."""
        holter("deploy", model.path)
        holter("capture", "--seconds", "0.5", "-o", tmp_path / "ecg.npz")
        done = holter("classify", tmp_path / "ecg.npz")
        assert done.code == 2
        assert "capture at least 1 s" in done.err


class TestProcess:
    """What only a process of its own can show."""

    def test_a_reader_that_leaves_is_no_error(self) -> None:
        """With `| head -1` the command ends with 0 and says nothing."""
        with FakeDevice() as fake:
            command = [*HOLTER, "watch", "--samples", "--json", "--device", fake.address]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                assert "session_started" in process.stdout.readline()
                process.stdout.close()
                assert process.stderr.read() == ""
            assert process.returncode == 0
            assert fake.wait_until_idle()

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_a_full_disk_is_one_sentence(self, flags: list[str]) -> None:
        """Where stdout cannot be written the command ends with 1 and says so in one sentence."""
        with FakeDevice() as fake, Path("/dev/full").open("w") as full:
            command = [*HOLTER, "status", "--device", fake.address, *flags]
            done = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert done.returncode == 1
        assert "Cannot write the output: No space left on device." in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_lines_come_at_once(self) -> None:
        """A line is there when its event is, not when a buffer is full."""
        with FakeDevice([36], hold=True) as fake:
            command = [*HOLTER, "watch", "--samples", "--json", "--device", fake.address]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                assert "session_started" in process.stdout.readline()
                assert "sample_block" in process.stdout.readline()
                process.send_signal(signal.SIGINT)
                assert process.stdout.read() == ""
                assert process.stderr.read().strip() == ""
            assert process.returncode == 130

    def test_a_ctrl_c_that_comes_again_and_again_is_one(self) -> None:
        """A signal that wrappers pass on once more finds a verb tidying up: 130, nothing said."""
        with FakeDevice([36], hold=True) as fake:
            command = [*HOLTER, "watch", "--samples", "--json", "--device", fake.address]
            for _ in range(3):
                with subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                ) as process:
                    assert process.stdout is not None
                    assert process.stderr is not None
                    process.stdout.readline()
                    while process.poll() is None:
                        process.send_signal(signal.SIGINT)
                    assert process.stderr.read().strip() == ""
                assert process.returncode == 130

    @pytest.mark.parametrize(
        "module", ["click", "holter_host.cli._group", "holter_host.cli._watch", "numpy", "grpc"]
    )
    def test_ctrl_c_while_it_loads_is_silent(self, module: str) -> None:
        """Ctrl-C while any module loads ends the process by that signal, with nothing said."""
        code = (
            "import os, signal, sys\n"
            "class Interrupt:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
            "from holter_host.cli import main\n"
            "sys.meta_path.insert(0, Interrupt())\n"
            "sys.argv = ['holter', 'watch']\n"
            "main()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")

    @pytest.mark.parametrize(
        ("verb", "drawn"), [("deploy", "takes and judges rhythm.tflite"), ("capture", "capturing")]
    )
    def test_progress_is_for_terminals(
        self, model: holter_host.Bundle, tmp_path: Path, verb: str, drawn: str
    ) -> None:
        """On a terminal stderr shows what goes on; stdout is the result alone."""
        given = {
            "deploy": [str(model.path)],
            "capture": ["--seconds", "1", "-o", str(tmp_path / "x.npz")],
        }
        with FakeDevice() as fake:
            ours, theirs = pty.openpty()
            command = [*HOLTER, verb, *given[verb], "--device", fake.address]
            environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=theirs, env=environment, check=True
            )
            os.close(theirs)
            with os.fdopen(ours, "rb", buffering=0) as terminal:
                assert drawn in terminal.read(100_000).decode()
        assert b"\x1b" not in done.stdout


def test_a_hole_that_nobody_knows_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    """Between two boots of a device whose clock was not set, no seconds are told."""
    fake = FakeDevice([10, 10])
    before, after = (_convert.session(fake.session(number)) for number in (1, 2))
    after = dataclasses.replace(after, boot_id="the next boot")
    line = event_line(holter_host.SessionStarted(after, 1, 10, 10**9, 2**63 - 1), None)
    assert line.endswith("(an unknown time after session 1)")
    counts = np.zeros((10, 1), dtype=np.uint8)
    parts = [
        holter_host.Capture(session, 0, counts, np.ones(10, dtype=np.bool_))
        for session in (before, after)
    ]
    _judge(parts, 1.0)
    assert "session 2 began an unknown time after the last frame of" in capsys.readouterr().err


def test_numbers_that_json_lacks_are_null() -> None:
    """A score that is not finite is null, so that every line is JSON."""
    score = holter_host.Score("N", float(np.float32("nan")))
    assert plain((score,)) == [{"label": "N", "value": None}]
