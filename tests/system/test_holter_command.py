"""The command `holter` and the client on a real holterd, from the first look to the last."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holter_host
from holter_host._retry import Backoff
from holter_host.bundle import write_bundle
from holter_host.client import Device
from support.cut_proxy import Cut, CutProxy, How
from support.daemon import holterd, run

SIMULATED = ("--simulate", "bigeminy", "--speed", "20")

pytestmark = [pytest.mark.tensorflow, pytest.mark.litert]


async def holter(address: str, *words: object) -> tuple[int, str, str]:
    """Run `holter` on a device."""
    return await run("holter", *map(str, words), env={"HOLTER_DEVICE": address})


def _objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_from_nothing_to_a_classification(
    tmp_path: Path, model: Path, other_model: Path
) -> None:
    """Each verb does on a real device what its help says, in the order a newcomer uses them."""
    digest = holter_host.read_bundle(model).sha256
    other = holter_host.read_bundle(other_model).sha256
    async with holterd(tmp_path, *SIMULATED) as daemon:
        at = daemon.address
        assert (await holter(at, "models"))[0] == 5
        code, _, err = await holter(at, "classify", "--random")
        assert (code, "holter deploy" in err) == (1, True)

        code, out, _ = await holter(at, "deploy", model, "--dry-run", "--json")
        steps = [step["name"] for step in json.loads(out)["gate_report"]["steps"]]
        assert (code, steps) == (
            0,
            ["digest", "spec", "ops", "load", "golden", "latency", "memory"],
        )
        assert (await holter(at, "models"))[0] == 5

        code, out, _ = await holter(at, "deploy", model, "--json")
        deployed = json.loads(out)
        assert (code, deployed["model"]["sha256"]) == (0, digest)
        assert deployed["session_id"] == 1
        code, out, _ = await holter(at, "watch", "--count", 2, "--json")
        windows = [line["classification"] for line in _objects(out) if "classification" in line]
        assert (code, len(windows)) == (0, 2)
        for window in windows:
            assert window["model_sha256"] == digest
            assert window["last_sequence"] >= deployed["swap_sequence"]
            assert max(window["scores"], key=lambda s: s["value"])["label"] == window["label"]

        code, out, err = await holter(at, "deploy", other_model)
        assert (code, err) == (0, "")
        assert other in out
        code, out, _ = await holter(at, "activate", digest[:8], "--json")
        assert (code, json.loads(out)["model"]["state"]) == (0, "ACTIVE")
        code, out, _ = await holter(at, "models", "--json")
        listed = [(entry["sha256"], entry["state"]) for entry in json.loads(out)["models"]]
        assert listed == [(digest, "ACTIVE"), (other, "PREVIOUS")]

        code, out, _ = await holter(at, "status", "--json")
        status = json.loads(out)
        assert (status["active_model"]["sha256"], status["classifier_state"]) == (digest, "RUNNING")
        assert status["runtime"]["name"] == "ai-edge-litert"

        code, out, _ = await holter(at, "classify", "--random", "--seed", 1, "--json")
        assert (code, json.loads(out)["classification"]["model_sha256"]) == (0, digest)


async def test_a_capture_is_what_was_streamed(tmp_path: Path, model: Path) -> None:
    """A capture has the counts of the stream; the model says of it what it said of the window."""
    async with holterd(tmp_path, *SIMULATED) as daemon:
        async with holter_host.connect(daemon.address) as device:
            swap = await device.deploy(model)
            async for event in device.classifications():
                if isinstance(event, holter_host.Classification):
                    break
            assert event.last_sequence >= swap.swap_sequence
            start = holter_host.LogPosition(event.session_id, event.first_sequence)
            taken = await device.capture(10, start)
            again = await device.classify(taken)
            counts = await device.classify(taken.counts)
            parts = []
            async for block in device.samples(start):
                if isinstance(block, holter_host.SampleBlock):
                    expected = block.session.monotonic_nanos(block.first_sequence)
                    assert block.monotonic_time_nanos == expected
                    parts.append(block.counts)
                if sum(map(len, parts)) >= len(taken):
                    break
        path = tmp_path / "ecg.npz"
        taken.save(path)
        code, out, _ = await holter(daemon.address, "classify", path, "--json")
    assert (len(taken), taken.first_sequence) == (3600, event.first_sequence)
    assert (np.concatenate(parts)[:3600] == taken.counts).all()
    for answer in (again, counts):
        assert answer.label == event.label
        for one, two in zip(answer.scores, event.scores, strict=True):
            assert one.value == pytest.approx(two.value, abs=1e-5)
    assert (again.last_sequence, again.monotonic_time_nanos) == (
        event.last_sequence,
        event.monotonic_time_nanos,
    )
    assert (code, json.loads(out)["classification"]["label"]) == (0, event.label)


async def test_models_that_the_device_refuses(tmp_path: Path, model: Path) -> None:
    """A model for another rate, one that lies, and damaged bytes each have their own reason."""
    good = holter_host.read_bundle(model)
    fast = tmp_path / "fast.tflite"
    write_bundle(
        good.data, dataclasses.replace(good.spec, rate_hz=250.0), good.golden, good.report, fast
    )
    liar = tmp_path / "liar.tflite"
    golden = dataclasses.replace(good.golden, scores=good.golden.scores[:, ::-1].copy())
    write_bundle(good.data, good.spec, golden, good.report, liar)
    async with holterd(tmp_path, *SIMULATED) as daemon:
        for path, reason in ((fast, "MODEL_UNFIT"), (liar, "GOLDEN_MISMATCH")):
            code, out, err = await holter(daemon.address, "deploy", path, "--json")
            assert (code, out) == (1, "")
            assert json.loads(err)["error"]["reason"] == reason
            code, _, err = await holter(daemon.address, "deploy", path)
            assert (code, err.count("\n"), err[:8]) == (1, 1, "holter: ")
        async with holter_host.connect(daemon.address) as device:
            with pytest.raises(holter_host.ModelRefusedError) as caught:
                await device.deploy(b"\0\0\0\0TFL3" + bytes(1000))
            assert caught.value.reason == "MODEL_MALFORMED"
            with pytest.raises(holter_host.ModelRefusedError) as caught:
                await device.deploy(dataclasses.replace(good, sha256="0" * 64))
            assert caught.value.reason == "DIGEST_MISMATCH"
            assert await device.models() == ()


async def test_an_upload_that_is_cut(tmp_path: Path, model: Path) -> None:
    """A connection that breaks in the middle of the upload costs a retry, and nothing else."""
    async with (
        holterd(tmp_path, *SIMULATED) as daemon,
        CutProxy(daemon.address) as proxy,
        holter_host.connect(proxy.address) as device,
    ):
        proxy.lose_upload(100_000)
        result = await device.deploy(model)
        assert proxy.cuts == 1
        assert not result.already_active
        assert [stored.sha256 for stored in await device.models()] == [result.model.sha256]


async def test_an_answer_that_is_lost(tmp_path: Path, model: Path) -> None:
    """Where the answer is lost after the swap, the retry finds the model active: deployed once."""
    bundle = holter_host.read_bundle(model)
    async with (
        holterd(tmp_path, *SIMULATED) as daemon,
        CutProxy(daemon.address) as proxy,
        holter_host.connect(proxy.address) as device,
        holter_host.connect(daemon.address) as direct,
    ):
        stream = direct.classifications()
        proxy.lose_answer(len(bundle.data))
        deploying = asyncio.create_task(device.deploy(bundle))
        async for event in stream:
            if isinstance(event, holter_host.ModelChanged) and event.model_sha256:
                break
        assert proxy.uploaded.is_set()
        proxy.cut()
        result = await deploying
        assert (result.model.sha256, result.already_active) == (bundle.sha256, True)
        assert len(await direct.models()) == 1


async def test_a_device_that_stops(tmp_path: Path) -> None:
    """With --no-reconnect, a device that is stopped ends the stream with `end`: no error."""
    async with holterd(tmp_path, "--simulate", "sinus") as daemon:
        watching = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "holter"),
            *("watch", "--samples", "--json", "--no-reconnect", "--device", daemon.address),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        assert watching.stdout is not None
        assert b"session_started" in await watching.stdout.readline()
        assert b"sample_block" in await watching.stdout.readline()
        assert await daemon.stop(signal.SIGTERM) == 0
        out, err = await watching.communicate()
    assert (watching.returncode, err) == (0, b"")
    assert _objects(out.decode())[-1]["end"]["reason"] == "STOPPING"


async def test_a_device_that_dies(tmp_path: Path) -> None:
    """Watching a device that is killed prints what came, then one sentence, and ends with 1."""
    async with holterd(tmp_path, "--simulate", "sinus") as daemon:
        async with holter_host.connect(daemon.address) as device:
            stream = device.samples(reconnect=0)
            await anext(stream)
            await daemon.stop(signal.SIGKILL)
            with pytest.raises(holter_host.DeviceUnreachableError, match="was lost"):
                async for _ in stream:
                    pass
        code, _, err = await holter(daemon.address, "watch")
    assert (code, err.count("\n")) == (1, 1)
    assert f"No Holter device answers at {daemon.address}" in err


def _frames(events: list[Any]) -> dict[int, list[int]]:
    """The counts of each session; a frame that comes twice, or out of order, is a failure."""
    found: dict[int, list[int]] = {}
    for event in events:
        if isinstance(event, holter_host.SessionStarted):
            assert event.session.session_id not in found
            found[event.session.session_id] = []
        else:
            assert isinstance(event, holter_host.SampleBlock)
            counts = found[event.session_id]
            assert event.first_sequence == len(counts)
            counts += event.counts[:, 0].tolist()
    return found


async def test_a_backlog_through_a_link_that_breaks(tmp_path: Path) -> None:
    """A reader that lags gets each frame once, whatever becomes of its link and of holterd.

    Its link is cut in every way, holterd is killed in the middle and started again elsewhere: what
    it joined is what the log has, and nobody who was there all the time saw anything else.
    """
    cuts = [
        Cut(after, how) for after in (0, 900, 8_000) for how in (How.RST, How.BLACK_HOLE, How.FIN)
    ]
    flags = ("--simulate", "sinus", "--speed", "100")
    events: list[Any] = []
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(holterd(tmp_path, *flags))
        proxy = await stack.enter_async_context(CutProxy(first.address))
        connection = Device(proxy.address, silence=0.5, backoff=Backoff(cap=0.05))
        device = await stack.enter_async_context(connection)
        async with holter_host.connect(first.address) as direct:
            await _read_until(direct.samples("earliest"), 1, 50_000)
        proxy.plan(cuts)
        stream = device.samples("earliest")
        events += await _read_until(stream, 1, 40_000)
        await first.stop(signal.SIGKILL)
        second = await stack.enter_async_context(holterd(tmp_path, *flags))
        proxy.retarget(second.address)
        events += await _read_until(stream, 2, 5_000)
        await stream.aclose()
        async with holter_host.connect(second.address) as direct:
            logged = _frames(await _read_until(direct.samples("earliest"), 2, 5_000))
    joined = _frames(events)
    assert proxy.cuts >= 6
    kept = len(logged[1])
    assert kept >= 50_000
    assert joined[1][:kept] == logged[1]
    assert len(joined[2]) >= 5_000
    length = min(len(joined[2]), len(logged[2]))
    assert joined[2][:length] == logged[2][:length]


async def _read_until(stream: Any, session_id: int, sequence: int) -> list[Any]:
    """The events of a stream up to a place."""
    events = []
    async for event in stream:
        events.append(event)
        place = (event.session_id, event.next_sequence) if hasattr(event, "counts") else (0, 0)
        if place >= (session_id, sequence):
            break
    return events


async def test_watching_a_device_that_is_started_again(tmp_path: Path) -> None:
    """`holter watch` waits for a device that is stopped, says so, and prints its next session."""
    flags = ("--simulate", "sinus", "--speed", "20")
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(holterd(tmp_path, *flags))
        proxy = await stack.enter_async_context(CutProxy(first.address))
        watching = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "holter"),
            *("watch", "--samples", "--json", "--from", "1:0", "--device", proxy.address),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        assert watching.stdout is not None
        assert watching.stderr is not None
        lines = [json.loads(await watching.stdout.readline()) for _ in range(3)]
        assert await first.stop(signal.SIGTERM) == 0
        lost = json.loads(await watching.stderr.readline())["connection"]
        second = await stack.enter_async_context(holterd(tmp_path, *flags))
        proxy.retarget(second.address)
        again = json.loads(await watching.stderr.readline())["connection"]
        while lines[-1].get("sample_block", {}).get("session_id") != 2:
            lines.append(json.loads(await watching.stdout.readline()))
        watching.send_signal(signal.SIGINT)
        await watching.communicate()
    assert (lost["connected"], again["connected"], watching.returncode) == (False, True, 130)
    started = [line["session_started"] for line in lines if "session_started" in line]
    assert [event["session"]["session_id"] for event in started] == [1, 2]
    expected = 0
    for line in lines:
        block = line.get("sample_block")
        if block is None:
            expected = 0 if "session_started" in line else expected
            continue
        assert block["first_sequence"] == expected
        expected += block["frame_count"]
        if block["session_id"] == 1:
            assert expected <= started[1]["previous_next_sequence"]
