"""holterd whose disk is full, and whose model does not answer: it says so, and streams go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import holter_host
from holter_device.testing import LockstepClockServer
from holter_device.windows import window_ends
from holter_host import Classification, Device, RecordingState, UnclassifiableReason
from support.daemon import holterd
from support.disk import fill, small_disk
from support.follower import Follower
from support.ledger import Ledger
from support.tflite_models import averaging_model

RATE_HZ = 360
WINDOW, HOP = 40, 36
# Windows that wait for the model; those above it are given up at once.
QUEUE_LIMIT = 8


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    yield from small_disk(tmp_path / "disk", "4m")


async def test_a_full_disk_is_an_alarm_and_no_hole(disk: Path) -> None:
    """While the disk is full the stream goes on and says STOPPED; what it held up is written later.

    Whoever comes after the next start has the same bytes as who was there, without a gap.
    """
    live, later = Ledger(), Ledger()
    address = f"unix:{disk.parent / 'socket'}"
    data = str(disk / "data")
    flags = ["--simulate", "bigeminy", "--listen", address, "--data-dir", data]
    flags += ["--commit-interval", "0.1"]
    async with contextlib.AsyncExitStack() as stack:
        async with holterd(disk.parent, *flags) as daemon:
            device = await stack.enter_async_context(holter_host.connect(address))
            follower = Follower(device.samples("earliest"), live.add)
            await stack.enter_async_context(follower)
            await follower.until(lambda: bool(live.parts))
            fill(disk / "ballast")
            error = await _recording(device, RecordingState.STOPPED)
            assert "No space left" in error or "disk is full" in error
            stopped_at = live.newest.next_sequence
            await follower.until(lambda: live.newest.next_sequence > stopped_at + RATE_HZ)
            beat = follower.stream.heartbeat
            assert beat is not None
            assert beat.recording_state is RecordingState.STOPPED
            (disk / "ballast").unlink()
            assert await _recording(device, RecordingState.RECORDING) == ""
            resumed_at = live.newest.next_sequence
            await follower.until(lambda: live.newest.next_sequence > resumed_at + 90)
            assert await daemon.stop() == 0
        async with holterd(disk.parent, *flags):
            again = Follower(device.samples("earliest"), later.add)
            await stack.enter_async_context(again)
            await again.until(lambda: 2 in later.parts)
            await follower.until(lambda: 2 in live.parts)
    assert live.parts[1].gaps == later.parts[1].gaps == []
    assert live.parts[1].first_sequence == later.parts[1].first_sequence == 0
    assert live.parts[1].counts == later.parts[1].counts
    assert "Traceback" not in daemon.log()


async def _recording(device: Device, state: RecordingState) -> str:
    """Wait for a state of the recording; the error that it tells."""
    while (recording := (await device.status()).recording).state is not state:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return recording.error


@pytest.mark.litert
async def test_a_model_that_hangs_costs_windows_that_say_so(tmp_path: Path) -> None:
    """Its window is a TIMEOUT, those that waited have their class, those above are OVERLOADED.

    Each window of the grid is there once, in order; after the restart of the process they have
    classes again.
    """
    found: list[Classification] = []

    def add(event: object) -> None:
        if isinstance(event, Classification):
            found.append(event)

    def reasons() -> list[UnclassifiableReason]:
        return [window.unclassifiable_reason for window in found]

    def recovered() -> bool:
        seen = reasons()
        if UnclassifiableReason.OVERLOADED not in seen:
            return False
        return all(window.label for window in found[-3:])

    async with (
        holterd(tmp_path, "--simulate", "bigeminy") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        model = averaging_model(window=WINDOW, hop=HOP)
        swap_sequence = (await device.deploy(model)).swap_sequence
        async with Follower(device.classifications("earliest"), add) as follower:
            await follower.until(lambda: len(found) >= 3)
            os.kill(daemon.children()["classifier"], signal.SIGSTOP)
            await follower.until(recovered)
        assert "Traceback" not in daemon.log()
    ends = [window.last_sequence for window in found]
    assert ends == list(window_ends(WINDOW, HOP, swap_sequence, ends[-1] + 1))
    hung = reasons().index(UnclassifiableReason.TIMEOUT)
    assert reasons().count(UnclassifiableReason.TIMEOUT) == 1
    waited = found[hung + 1 : hung + QUEUE_LIMIT]
    assert all(window.label for window in [*found[:hung], *waited])
    assert reasons()[hung + QUEUE_LIMIT] is UnclassifiableReason.OVERLOADED
    assert set(reasons()) == {
        UnclassifiableReason.UNSPECIFIED,
        UnclassifiableReason.TIMEOUT,
        UnclassifiableReason.OVERLOADED,
    }


@pytest.mark.long
@pytest.mark.litert
async def test_a_stop_does_not_wait_for_ever_for_a_model(tmp_path: Path) -> None:
    """SIGTERM while a model hangs ends with 0; its windows are there after the next start, once."""
    address = f"unix:{tmp_path / 'socket'}"
    flags = ("--listen", address, "--commit-interval", "0.1")
    windows: list[Classification] = []

    def add(event: object) -> None:
        if isinstance(event, Classification):
            windows.append(event)

    with LockstepClockServer(tmp_path / "clock") as clock:
        lockstep = ("--simulate", "bigeminy", "--clock", clock.text, *flags)
        async with (
            holterd(tmp_path, *lockstep) as daemon,
            holter_host.connect(address) as device,
        ):
            await device.deploy(averaging_model(window=360, hop=90, input_shape=(1, 360, 1)))
            clock.release(1800)
            async with Follower(device.classifications("earliest"), add) as follower:
                await follower.until(lambda: len(windows) == 17)
                os.kill(daemon.children()["classifier"], signal.SIGSTOP)
                clock.release(360)
                while (await device.status()).next_sequence < 2160:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                assert await daemon.stop() == 0
            assert "left to the next start" in daemon.log()
    windows.clear()
    async with (
        holterd(tmp_path, "--simulate", "sinus", *flags),
        holter_host.connect(address) as device,
        Follower(device.classifications("earliest"), add) as follower,
    ):
        await follower.until(lambda: bool(windows) and windows[-1].session_id == 2)
    first = [window for window in windows if window.session_id == 1]
    assert [window.last_sequence for window in first] == list(window_ends(360, 90, 0, 2160))
    assert all(window.label for window in first[:17])
    hung, *waited = first[17:]
    gone = {UnclassifiableReason.TIMEOUT, UnclassifiableReason.RESTARTED}
    assert hung.unclassifiable_reason in gone
    assert all(window.unclassifiable_reason is UnclassifiableReason.RESTARTED for window in waited)
