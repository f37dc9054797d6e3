"""Laws of the client without async."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

import holter_host
from holter_host import connect_sync
from holter_host.testing import Failure, FakeDevice
from support.model_files import make_model


@pytest.fixture
def fake() -> Iterator[FakeDevice]:
    """A device with two sessions of 1000 and 2000 frames."""
    with FakeDevice([1000, 2000]) as device:
        yield device


def test_each_call_does_what_its_async_one_does(fake: FakeDevice, tmp_path: Path) -> None:
    """Deploy, models, activate, status, classify and capture work without async."""
    model = make_model(tmp_path / "m")
    with connect_sync(fake.address) as device:
        assert device.address == fake.address
        assert device.deploy(model, validate_only=True).session_id == 0
        assert device.deploy(model.path).model.sha256 == model.sha256
        assert [stored.sha256 for stored in device.models()] == [model.sha256]
        assert device.activate(model.sha256[:8]).already_active
        assert device.probation() is None
        assert device.verdict(model.sha256) is None
        with pytest.raises(holter_host.NotFoundError):
            device.rollback()
        with pytest.raises(holter_host.ModelRefusedError):
            device.delete(model.sha256)
        assert device.status().active_model is not None
        assert device.clock_offset(2).probe_count == 2
        assert device.classify(np.zeros(360)).label == "N"
        assert len(device.capture(1, "earliest")) == 360


def test_samples_run_to_the_end(fake: FakeDevice) -> None:
    """Without `seconds` the stream goes on until the device ends it."""
    with connect_sync(fake.address) as device:
        events = list(device.samples("earliest"))
    blocks = [event for event in events if isinstance(event, holter_host.SampleBlock)]
    assert sum(block.frame_count for block in blocks) == 3000


@pytest.mark.parametrize(("seconds", "frames"), [(0.01, 36), (1.0, 360), (1.01, 396)])
def test_seconds_are_the_devices(fake: FakeDevice, seconds: float, frames: int) -> None:
    """With `seconds` the last event is the first that reaches so far, and its call is closed."""
    with connect_sync(fake.address) as device:
        *_, last = device.samples(seconds=seconds)
        assert isinstance(last, holter_host.SampleBlock)
        assert last.next_sequence == frames
        assert fake.wait_until_idle()


def test_classifications_can_be_left_early(fake: FakeDevice, tmp_path: Path) -> None:
    """Breaking out of the loop closes the call on the device."""
    with connect_sync(fake.address) as device:
        device.deploy(make_model(tmp_path / "m"))
        for event in device.classifications("earliest"):
            if isinstance(event, holter_host.Classification):
                break
        assert event.last_sequence == 359
        assert fake.wait_until_idle()


def test_a_stream_goes_on_after_a_break(fake: FakeDevice) -> None:
    """A stream that breaks is resumed here too; with reconnect=0 it is an error."""
    broken = Failure(grpc.StatusCode.UNAVAILABLE, after=3)
    told: list[holter_host.ConnectionChange] = []
    with connect_sync(fake.address) as device:
        fake.fail("StreamSamples", broken)
        events = list(device.samples("earliest", on_connection=told.append))
        blocks = [event for event in events if isinstance(event, holter_host.SampleBlock)]
        assert sum(block.frame_count for block in blocks) == 3000
        assert [change.connected for change in told] == [False, True]
        fake.fail("StreamSamples", broken)
        with pytest.raises(holter_host.DeviceUnreachableError):
            list(device.samples("earliest", reconnect=0))


def test_a_stream_may_outlive_its_connection(fake: FakeDevice) -> None:
    """A stream that was left early may be closed after the connection: it has ended with it."""
    with connect_sync(fake.address) as device:
        events = device.samples("earliest")
        next(events)
    events.close()
    assert fake.wait_until_idle()


def test_errors_are_the_same() -> None:
    """What the async call raises the sync one raises, and no thread stays behind."""
    with FakeDevice() as gone:
        address = gone.address
    with (
        pytest.raises(holter_host.DeviceUnreachableError, match="is holterd running"),
        connect_sync(address),
    ):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "holter-host"]


async def test_it_works_inside_a_running_loop(fake: FakeDevice) -> None:
    """In a notebook, where a loop runs already, it works as in a script."""
    with connect_sync(fake.address) as device:
        assert device.status().hostname == "fake"


def test_devices_at_once_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    """Several devices that are read in threads of their own share a loop: gRPC logs nothing."""
    counts: list[int] = []

    def read(address: str) -> None:
        with connect_sync(address) as device:
            counts.append(sum(1 for _ in device.samples("earliest")))

    with FakeDevice([20_000]) as fake, caplog.at_level(logging.WARNING):
        threads = [threading.Thread(target=read, args=[fake.address]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(counts) == 3
    assert len(set(counts)) == 1
    assert not caplog.records
    assert "holter-host" not in [thread.name for thread in threading.enumerate()]


def test_leaving_ends_the_calls_of_other_threads() -> None:
    """A call that the device does not answer ends with the connection, not at its deadline."""
    asked, answer, errors = threading.Event(), threading.Event(), []

    class SlowDevice(FakeDevice):
        def take_failure(self, method: str, request: object) -> Failure | None:
            if method == "ListModels":
                asked.set()
                answer.wait(30)
            return super().take_failure(method, request)

    def call(device: holter_host.SyncDevice) -> None:
        try:
            device.models()
        except holter_host.DeviceUnreachableError as error:
            errors.append(str(error))

    with SlowDevice() as slow:
        with connect_sync(slow.address, timeout=60) as device:
            thread = threading.Thread(target=call, args=[device])
            thread.start()
            assert asked.wait(30)
        thread.join(30)
        answer.set()
    assert errors == [f"The connection to {slow.address} was closed during a call."]


def test_a_callback_cannot_wait_for_another_call(fake: FakeDevice) -> None:
    """A call in a callback, which would wait for itself for ever, is an error."""
    with connect_sync(fake.address) as device:
        with pytest.raises(RuntimeError, match="callback"):
            device.capture(1, "earliest", progress=lambda *_: device.status() and None)
        assert fake.wait_until_idle()


def test_use_outside_of_the_block(fake: FakeDevice) -> None:
    """A device that is not open says how to open it."""
    device = connect_sync(fake.address)
    with pytest.raises(RuntimeError, match="with connect_sync"):
        device.status()
