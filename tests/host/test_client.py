"""Laws of the client: its calls, and the errors that it makes of a device's."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import holter_host
from holter.v1 import error_reason_pb2 as reason_pb
from holter_host import _errors, connect
from holter_host._channel import parse_address
from holter_host._model_calls import DEPLOY_RETRIES
from holter_host._retry import Backoff
from holter_host.client import Device
from holter_host.testing import Failure, FakeDevice, Hole
from support.model_files import FLATBUFFER, make_model

UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE, "Socket closed")
AT_ONCE = Backoff(base=0.0)


@pytest.fixture
def fake() -> Iterator[FakeDevice]:
    """A device whose stream ends after 1000 frames."""
    with FakeDevice([1000]) as device:
        yield device


@pytest.fixture
def model(tmp_path: Path) -> holter_host.Bundle:
    """A model of 360 frames in millivolts."""
    return make_model(tmp_path / "rhythm.tflite")


async def _collect(stream: holter_host.EventStream[Any]) -> list[Any]:
    return [event async for event in stream]


class TestAddress:
    @pytest.mark.parametrize(
        ("given", "meant"),
        [
            ("127.0.0.1:1234", "127.0.0.1:1234"),
            ("raspberrypi.local", "raspberrypi.local:50051"),
            ("[::1]:9", "[::1]:9"),
            ("unix:run/holter.sock", "unix:run/holter.sock"),
            ("unix:/run/holter.sock", "unix:/run/holter.sock"),
        ],
    )
    def test_addresses_are_understood(self, given: str, meant: str) -> None:
        """HOST:PORT, HOST and unix:PATH are addresses."""
        assert parse_address(given) == meant

    @pytest.mark.parametrize(
        "given", ["", "host:", "host:0", "host:70000", "http://host:1", "unix:", "a b:1", "::1:5"]
    )
    def test_others_are_refused(self, given: str) -> None:
        """What is no address is a BadInputError that shows one."""
        with pytest.raises(holter_host.BadInputError, match="give HOST:PORT"):
            connect(given)

    @pytest.mark.parametrize("silence", [0, -1.0, float("nan")])
    def test_a_silence_that_is_no_time_is_refused(self, silence: float) -> None:
        """A stream that is dead at once is nothing that one can read."""
        with pytest.raises(holter_host.BadInputError, match="silence is"):
            connect("host", silence=silence)

    async def test_a_unix_socket_works(self, tmp_path: Path) -> None:
        """A device that listens on a Unix socket is reached by unix:PATH."""
        with FakeDevice(listen=f"unix:{tmp_path}/s") as fake:
            async with connect(fake.address) as device:
                assert (await device.status()).hostname == "fake"


class TestConnect:
    async def test_nobody_at_the_address(self) -> None:
        """Where nothing listens, the error names the address and what to check."""
        with FakeDevice() as gone:
            address = gone.address
        with pytest.raises(holter_host.DeviceUnreachableError) as caught:
            await connect(address).__aenter__()
        assert str(caught.value) == (
            f"No Holter device answers at {address}; is holterd running there?"
        )
        assert isinstance(caught.value, ConnectionError)
        assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)

    async def test_a_port_that_never_answers(self) -> None:
        """A peer that takes the connection and says nothing is unreachable too, in bounded time."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            with pytest.raises(holter_host.DeviceUnreachableError, match=r"0\.2 s") as caught:
                await connect(f"127.0.0.1:{port}", timeout=0.2).__aenter__()
            assert isinstance(caught.value.__cause__, holter_host.DeadlineError)
            assert isinstance(caught.value.__cause__, TimeoutError)

    async def test_a_server_of_another_kind(self) -> None:
        """A gRPC server without Holter's services is a ProtocolError, not a missing device."""
        server = grpc.aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            with pytest.raises(holter_host.ProtocolError, match="is it a holterd"):
                await connect(f"127.0.0.1:{port}").__aenter__()
        finally:
            await server.stop(None)

    async def test_use_outside_of_the_block(self, fake: FakeDevice) -> None:
        """A device that is not open says how to open it, before and after."""
        device = connect(fake.address)
        with pytest.raises(holter_host.DeviceUnreachableError, match="async with"):
            await device.status()
        async with device:
            pass
        with pytest.raises(holter_host.DeviceUnreachableError, match="async with"):
            device.samples()


class TestErrors:
    def test_every_reason_has_an_exception(self) -> None:
        """The table of reasons is that of error_reason.proto."""
        names = {name.removeprefix("ERROR_REASON_") for name in dict(reason_pb.ErrorReason.items())}
        assert set(_errors.REASONS) == names - {"UNSPECIFIED"}

    @pytest.mark.parametrize(
        ("failure", "kind", "builtin"),
        [
            (
                Failure(grpc.StatusCode.NOT_FOUND, "No.", "MODEL_NOT_FOUND", {"sha256": "ab"}),
                holter_host.NotFoundError,
                LookupError,
            ),
            (
                Failure(grpc.StatusCode.INVALID_ARGUMENT, "No.", "DIGEST_MISMATCH", {"a": "b"}),
                holter_host.ModelRefusedError,
                holter_host.DeviceError,
            ),
            (
                Failure(grpc.StatusCode.UNAVAILABLE, "Wait.", "CLASSIFIER_UNAVAILABLE"),
                holter_host.ClassifierUnavailableError,
                holter_host.DeviceError,
            ),
            (
                Failure(grpc.StatusCode.OUT_OF_RANGE, "Hm.", "A_NEWER_REASON", {"x": "y"}),
                holter_host.InvalidRequestError,
                ValueError,
            ),
            (
                Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "late"),
                holter_host.DeadlineError,
                TimeoutError,
            ),
            (
                Failure(grpc.StatusCode.DATA_LOSS, "odd"),
                holter_host.DeviceError,
                holter_host.HolterError,
            ),
        ],
    )
    async def test_a_status_becomes_the_most_specific_exception(
        self, fake: FakeDevice, failure: Failure, kind: type[Exception], builtin: type[Exception]
    ) -> None:
        """By its reason, else by its code, with the device's own sentence, facts and the cause."""
        fake.fail("ListModels", failure)
        async with connect(fake.address) as device:
            with pytest.raises(kind) as caught:
                await device.models()
        error = caught.value
        assert type(error) is kind
        assert isinstance(error, builtin)
        assert isinstance(error, holter_host.DeviceError)
        assert (error.reason, error.code) == (failure.reason, failure.code.name)
        assert error.metadata == failure.metadata
        if failure.reason:
            assert str(error) == failure.message
        assert isinstance(error.__cause__, grpc.aio.AioRpcError)


class TestSamples:
    async def test_each_frame_once_and_in_order(self) -> None:
        """Blocks and gaps make up the grid of each session, and sessions follow each other."""
        holes = [Hole(1, 0, 5), Hole(2, 70, 10)]
        with FakeDevice([100, 200], holes=holes, channels=("A0", "A1")) as fake:
            async with connect(fake.address) as device:
                expected, sessions = 0, []
                async for event in device.samples("earliest"):
                    if isinstance(event, holter_host.SessionStarted):
                        assert expected in (0, 100)
                        sessions.append(event.session.session_id)
                        expected = 0
                        continue
                    assert event.first_sequence == expected
                    assert event.session_id == sessions[-1]
                    expected = event.next_sequence
                assert (sessions, expected) == ([1, 2], 200)

    async def test_the_end_is_kept(self, fake: FakeDevice) -> None:
        """The stream ends by itself, and then says why and where to go on."""
        async with connect(fake.address) as device:
            stream = device.samples("earliest")
            async for _ in stream:
                pass
            assert stream.end is not None
            assert stream.end.reason is holter_host.StreamEndReason.SOURCE_ENDED
            assert stream.position == holter_host.LogPosition(1, 1000, stream.session.log_id)
            assert stream.heartbeat.next_sequence == 1000
            with pytest.raises(StopAsyncIteration):
                await anext(stream)

    async def test_a_stream_that_breaks_can_be_resumed_without_loss(self) -> None:
        """From `position` of a broken stream on, the next one misses and repeats nothing."""
        with FakeDevice([100, 200]) as fake:
            frames: list[tuple[int, int]] = []
            fake.fail("StreamSamples", *(Failure(UNAVAILABLE.code, after=n) for n in (2, 3, 1, 4)))
            async with connect(fake.address) as device:
                start: Any = "earliest"
                for _ in range(5):
                    stream = device.samples(start, reconnect=0)
                    try:
                        async for event in stream:
                            if isinstance(event, holter_host.SampleBlock):
                                span = range(event.first_sequence, event.next_sequence)
                                frames += [(event.session_id, sequence) for sequence in span]
                    except holter_host.DeviceUnreachableError:
                        start = stream.position
                        assert start is not None
                assert stream.end is not None
        assert frames == [(1, n) for n in range(100)] + [(2, n) for n in range(200)]

    async def test_only_end_ends_a_stream(self, fake: FakeDevice) -> None:
        """A stream that stops with status OK and without `end` broke off."""
        fake.fail("StreamSamples", Failure(grpc.StatusCode.OK, after=3))
        async with connect(fake.address) as device:
            stream = device.samples("earliest", reconnect=0)
            with pytest.raises(holter_host.DeviceUnreachableError, match="broke off"):
                async for _ in stream:
                    pass
            assert stream.position.sequence == 72

    async def test_the_position_of_a_live_stream_is_known_with_its_first_event(self) -> None:
        """A live stream has no position before its first event, and from then on the next one's."""
        with FakeDevice(live_sequence=720) as fake:
            async with connect(fake.address) as device, device.samples() as stream:
                assert stream.position is None
                for expected in (720, 756, 792):
                    await anext(stream)
                    assert stream.position.sequence == expected

    async def test_start_and_latency_reach_the_device(self, fake: FakeDevice) -> None:
        """What was asked for is what the device is asked."""
        start = holter_host.LogPosition(1, 990)
        async with connect(fake.address) as device:
            events = [event async for event in device.samples(start, max_latency=0.25)]
        assert events[1].first_sequence == 990
        request = fake.requests[-1]
        assert request.start.position.sequence == 990
        assert request.max_latency.ToNanoseconds() == 250_000_000

    async def test_leaving_the_block_ends_the_call(self) -> None:
        """After `async with` the device has no stream open, though it was not read to the end."""
        with FakeDevice([36], hold=True) as fake:
            async with connect(fake.address) as device:
                async with device.samples("earliest") as stream:
                    await anext(stream)
                assert await asyncio.to_thread(fake.wait_until_idle)
                with pytest.raises(StopAsyncIteration):
                    await anext(stream)

    async def test_a_forgotten_stream_ends(self) -> None:
        """A stream that nobody holds any more is closed, without a warning."""
        with FakeDevice([36], hold=True) as fake:
            async with connect(fake.address) as device:
                async for _ in device.samples("earliest"):
                    break
                gc.collect()
                assert await asyncio.to_thread(fake.wait_until_idle)

    @pytest.mark.parametrize("closed", ["stream", "device"])
    async def test_a_stream_closed_from_elsewhere(self, closed: str) -> None:
        """A reader that waits ends when its stream is closed, and fails when its device is."""
        with FakeDevice([36], hold=True) as fake:
            async with connect(fake.address) as device:
                stream = device.samples("earliest")
                await anext(stream)
                await anext(stream)
                reading = asyncio.create_task(_collect(stream))
                await asyncio.sleep(0)
                if closed == "stream":
                    await stream.aclose()
                    assert await reading == []
                else:
                    await device.close()
                    with pytest.raises(holter_host.DeviceUnreachableError, match="was closed"):
                        await reading

    async def test_a_reader_that_is_cancelled_is_cancelled(self) -> None:
        """Cancelling the task that reads is still a cancellation, not the end of the stream."""
        with FakeDevice([36], hold=True) as fake:
            async with connect(fake.address) as device:
                stream = device.samples("earliest")
                await anext(stream)
                await anext(stream)
                reading = asyncio.create_task(_collect(stream))
                await asyncio.sleep(0)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading

    async def test_a_device_that_stops_ends_its_streams(self) -> None:
        """A stream that never reconnects ends with `end` on a graceful stop, not with an error."""
        with FakeDevice([36], hold=True) as fake:
            async with connect(fake.address) as device:
                stream = device.samples("earliest", reconnect=0)
                await anext(stream)
                await anext(stream)
                stopping = asyncio.create_task(asyncio.to_thread(fake.stop))
                assert [event async for event in stream] == []
                await stopping
                assert stream.end.reason is holter_host.StreamEndReason.STOPPING

    async def test_an_unknown_session(self, fake: FakeDevice) -> None:
        """A session that the log never had is NotFoundError with its number."""
        async with connect(fake.address) as device:
            with pytest.raises(holter_host.NotFoundError) as caught:
                await anext(device.samples(holter_host.LogPosition(9, 0)))
        assert (caught.value.reason, caught.value.metadata) == (
            "SESSION_NOT_FOUND",
            {"session_id": "9"},
        )


class TestClassifications:
    async def test_one_for_each_window(self, fake: FakeDevice, model: holter_host.Bundle) -> None:
        """The windows are those that the model's window and hop say."""
        async with connect(fake.address) as device:
            await device.deploy(model)
            stream = device.classifications("earliest")
            events = [event async for event in stream]
        kinds = [type(event) for event in events]
        assert kinds[:2] == [holter_host.SessionStarted, holter_host.ModelChanged]
        windows = [event for event in events if isinstance(event, holter_host.Classification)]
        assert [window.last_sequence for window in windows] == [359, 539, 719, 899]
        assert {window.model_sha256 for window in windows} == {model.sha256}
        assert [score.label for score in windows[0].scores] == ["N", "S", "V"]
        assert windows[0].score == 0.75

    async def test_a_resumed_stream_repeats_no_window(
        self, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """From the position after a window on, the next one is the next window."""
        async with connect(fake.address) as device:
            await device.deploy(model)
            last = []
            start: Any = "earliest"
            for _ in range(4):
                stream = device.classifications(start)
                async for event in stream:
                    if isinstance(event, holter_host.Classification):
                        last.append(event.last_sequence)
                        break
                start = stream.position
                await stream.aclose()
        assert last == [359, 539, 719, 899]

    async def test_without_a_model_the_stream_says_so(self, fake: FakeDevice) -> None:
        """With no active model there are no windows, and a ModelChanged without a digest."""
        async with connect(fake.address) as device:
            events = [event async for event in device.classifications("earliest")]
        assert events[1:] == [holter_host.ModelChanged(1, 0, "")]


class TestDeploy:
    @pytest.mark.parametrize("form", ["path", "text", "bytes", "bundle"])
    async def test_a_model_arrives_whole(
        self, fake: FakeDevice, model: holter_host.Bundle, form: str
    ) -> None:
        """A path, its text, its bytes and a Bundle all send the same bytes and digest."""
        forms: dict[str, Any] = {
            "path": model.path,
            "text": str(model.path),
            "bytes": model.data,
            "bundle": model,
        }
        async with connect(fake.address) as device:
            result = await device.deploy(forms[form])
        assert (fake.requests[-1].model, fake.requests[-1].sha256) == (model.data, model.sha256)
        assert result.model.state is holter_host.ModelState.ACTIVE
        assert result.model.spec.labels == ("N", "S", "V")
        steps = [step.name for step in result.gate_report.steps]
        assert steps == ["digest", "load", "golden", "store", "swap"]
        assert result.gate_report.steps[2].facts == {"max_abs_difference": "3.1e-07"}

    async def test_validate_only_changes_nothing(
        self, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """With validate_only the device is asked only to judge."""
        async with connect(fake.address) as device:
            await device.deploy(model, validate_only=True)
            assert await device.models() == ()
        assert fake.requests[-2].validate_only

    async def test_a_file_that_is_no_model_is_not_sent(
        self, fake: FakeDevice, tmp_path: Path
    ) -> None:
        """A plain .tflite, a text and a missing file are refused on this side."""
        (tmp_path / "plain.tflite").write_bytes(FLATBUFFER)
        (tmp_path / "text").write_text("hello")
        async with connect(fake.address) as device:
            asked = len(fake.requests)
            for name in ("plain.tflite", "text", "missing"):
                with pytest.raises(holter_host.BadInputError, match=name):
                    await device.deploy(tmp_path / name)
        assert len(fake.requests) == asked

    async def test_a_model_over_the_limit_is_not_sent(self, model: holter_host.Bundle) -> None:
        """A model larger than the device takes is refused with both sizes, and nothing is sent."""
        with FakeDevice(max_model_bytes=1000) as fake:
            async with connect(fake.address) as device:
                asked = len(fake.requests)
                for form in (model, model.path, model.data):
                    with pytest.raises(holter_host.ModelRefusedError) as caught:
                        await device.deploy(form)
                    assert caught.value.reason == "MODEL_TOO_LARGE"
                    assert caught.value.metadata == {
                        "size_bytes": str(len(model.data)),
                        "max_bytes": "1000",
                    }
                assert len(fake.requests) == asked

    async def test_a_large_model_fits_into_a_message(self, fake: FakeDevice) -> None:
        """20 MB go through: gRPC's usual 4 MiB do not stop what the device would take."""
        async with connect(fake.address) as device:
            with pytest.raises(holter_host.ModelRefusedError) as caught:
                await device.deploy(bytes(20_000_000))
        assert caught.value.reason == "MODEL_MALFORMED"
        assert len(fake.requests[-1].model) == 20_000_000

    async def test_a_wrong_digest_is_refused_by_the_device(
        self, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """A bundle that lies about its digest is refused, and nothing is stored."""
        liar = dataclasses.replace(model, sha256="0" * 64)
        async with connect(fake.address) as device:
            with pytest.raises(holter_host.ModelRefusedError) as caught:
                await device.deploy(liar)
            assert await device.models() == ()
        assert caught.value.reason == "DIGEST_MISMATCH"
        assert caught.value.metadata["actual_sha256"] == model.sha256

    async def test_a_cut_upload_is_sent_again(
        self, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """A deploy whose connection broke is repeated with the same bytes and then succeeds."""
        fake.fail("DeployModel", UNAVAILABLE, UNAVAILABLE)
        async with Device(fake.address, backoff=AT_ONCE) as device:
            result = await device.deploy(model)
        sent = [request.sha256 for request in fake.requests if hasattr(request, "validate_only")]
        assert sent == [model.sha256] * 3
        assert result.model.sha256 == model.sha256

    async def test_retries_are_bounded(self, fake: FakeDevice, model: holter_host.Bundle) -> None:
        """A device that stays away is given up after as many tries as the backoff has waits."""
        fake.fail("DeployModel", *[UNAVAILABLE] * 10)
        async with Device(fake.address, backoff=AT_ONCE) as device:
            with pytest.raises(holter_host.DeviceUnreachableError):
                await device.deploy(model)
        sent = [request for request in fake.requests if hasattr(request, "validate_only")]
        assert len(sent) == DEPLOY_RETRIES + 1

    async def test_our_own_deploy_in_progress_is_waited_for(
        self, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """After a cut, a deploy in progress of the same digest is our own, and is waited for."""
        busy = Failure(
            grpc.StatusCode.ABORTED, "Busy.", "DEPLOY_IN_PROGRESS", {"sha256": model.sha256}
        )
        fake.fail("DeployModel", UNAVAILABLE, busy)
        async with Device(fake.address, backoff=AT_ONCE) as device:
            assert (await device.deploy(model)).model.sha256 == model.sha256

    @pytest.mark.parametrize("cut", [False, True])
    async def test_another_ones_deploy_in_progress_is_an_error(
        self, fake: FakeDevice, model: holter_host.Bundle, cut: bool
    ) -> None:
        """A deploy that is not ours is not waited for, and is told with who and since when."""
        facts = {"sha256": "f" * 64, "peer": "ipv4:10.0.0.2:1", "start_time": "12:00"}
        busy = Failure(grpc.StatusCode.ABORTED, "Busy.", "DEPLOY_IN_PROGRESS", facts)
        fake.fail("DeployModel", *([UNAVAILABLE] if cut else []), busy)
        async with Device(fake.address, backoff=AT_ONCE) as device:
            with pytest.raises(holter_host.DeployInProgressError) as caught:
                await device.deploy(model)
        assert caught.value.metadata == facts

    async def test_a_refusal_is_not_tried_again(
        self, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """A model that the gate refuses is sent once."""
        refusal = Failure(grpc.StatusCode.FAILED_PRECONDITION, "Unfit.", "MODEL_UNFIT")
        fake.fail("DeployModel", refusal)
        async with Device(fake.address, backoff=AT_ONCE) as device:
            with pytest.raises(holter_host.ModelRefusedError, match="Unfit"):
                await device.deploy(model)
        assert len([r for r in fake.requests if hasattr(r, "validate_only")]) == 1

    def test_waits_grow_and_are_bounded(self) -> None:
        """Each wait is drawn from all of 0 to the exponential, which ends at the cap."""
        drawn: list[tuple[float, float]] = []
        backoff = Backoff(base=1.0, cap=5.0, uniform=lambda *ends: drawn.append(ends) or 3.0)
        assert [backoff.wait(n) for n in (0, 1, 2, 3, 10_000)] == [3.0] * 5
        assert drawn == [(0, 1), (0, 2), (0, 4), (0, 5), (0, 5)]


class TestActivate:
    async def test_by_digest_and_by_prefix(self, fake: FakeDevice, tmp_path: Path) -> None:
        """A stored model is made active by its digest or by the first 8 digits, of either case."""
        old, new = make_model(tmp_path / "old"), make_model(tmp_path / "new", version=2)
        async with connect(fake.address) as device:
            await device.deploy(old)
            await device.deploy(new)
            assert (await device.activate(old.sha256)).model.sha256 == old.sha256
            assert (await device.activate(new.sha256[:8].upper())).model.sha256 == new.sha256
            listed = await device.models()
            assert (await device.activate(new.sha256[:8])).already_active
        states = [model.state.value for model in listed]
        assert (listed[0].sha256, states) == (new.sha256, ["ACTIVE", "PREVIOUS"])

    async def test_delete(self, fake: FakeDevice, tmp_path: Path) -> None:
        """A stored model is deleted by its digest or its beginning; one in use is not."""
        models = [make_model(tmp_path / str(n), version=n) for n in range(3)]
        async with connect(fake.address) as device:
            for model in models:
                await device.deploy(model)
            fake.models[models[0].sha256].state = 1
            deleted = await device.delete(models[0].sha256[:8])
            assert deleted.sha256 == models[0].sha256
            with pytest.raises(holter_host.NotFoundError):
                await device.delete(models[0].sha256)
            for model in models[1:]:
                with pytest.raises(holter_host.ModelRefusedError) as caught:
                    await device.delete(model.sha256)
                assert caught.value.reason == "MODEL_IN_USE"
            assert len(await device.models()) == 2

    async def test_rollback_is_to_the_model_before(self, fake: FakeDevice, tmp_path: Path) -> None:
        """The previous model is made active again; without one the error says so."""
        old, new = make_model(tmp_path / "old"), make_model(tmp_path / "new", version=2)
        async with connect(fake.address) as device:
            await device.deploy(old)
            with pytest.raises(holter_host.NotFoundError, match="no model before"):
                await device.rollback()
            await device.deploy(new)
            assert (await device.rollback()).model.sha256 == old.sha256
            assert await device.probation() is None
            assert await device.verdict(old.sha256) is None

    @pytest.mark.parametrize("digits", ["", "abcdef0", "g" * 8, "a" * 65, "latest"])
    async def test_what_is_no_digest_is_refused(self, fake: FakeDevice, digits: str) -> None:
        """Fewer than 8 digits, more than 64, or other signs are a BadInputError."""
        async with connect(fake.address) as device:
            with pytest.raises(holter_host.BadInputError, match="SHA-256"):
                await device.activate(digits)

    @pytest.mark.parametrize("digits", ["0" * 8, "0" * 64])
    async def test_an_unknown_model(self, fake: FakeDevice, digits: str) -> None:
        """A digest that the device does not hold is NotFoundError."""
        async with connect(fake.address) as device:
            with pytest.raises(holter_host.NotFoundError) as caught:
                await device.activate(digits)
        assert caught.value.reason == "MODEL_NOT_FOUND"

    async def test_a_prefix_of_two_models(
        self, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """A prefix that two models share is refused with both digests."""
        twin = model.sha256[:10] + "0" * 54
        async with connect(fake.address) as device:
            await device.deploy(model)
            fake.models[twin] = type(fake.models[model.sha256])(sha256=twin)
            with pytest.raises(holter_host.BadInputError, match=f"2 models begin with .*{twin}"):
                await device.activate(model.sha256[:9])


class TestClassify:
    async def test_counts_go_as_counts(self, fake: FakeDevice, model: holter_host.Bundle) -> None:
        """uint8 and int16 arrays are sent as the wire's counts, frame by frame."""
        counts = np.arange(360, dtype=np.int64).astype(np.uint8)
        async with connect(fake.address) as device:
            await device.deploy(model)
            answer = await device.classify(counts.reshape(360, 1))
            assert answer.label == "NSV"[int(counts.sum()) % 3]
            assert fake.requests[-1].counts == counts.tobytes()
            with pytest.raises(holter_host.InvalidRequestError):
                await device.classify(counts.astype(">i2"))
        assert fake.requests[-1].counts == counts.astype("<i2").tobytes()

    @pytest.mark.parametrize("kind", [np.float32, np.float64])
    async def test_floats_go_as_values(
        self, fake: FakeDevice, model: holter_host.Bundle, kind: Any
    ) -> None:
        """Floating-point arrays are sent as values in the model's unit, C order."""
        values = np.linspace(-1, 1, 360, dtype=kind)
        async with connect(fake.address) as device:
            await device.deploy(model)
            await device.classify(np.asfortranarray(values.reshape(180, 2)))
        sent = np.array(fake.requests[-1].model_values.values, dtype=np.float32)
        assert (sent == values.astype(np.float32)).all()

    @pytest.mark.parametrize(
        ("window", "said"),
        [
            (np.zeros(360, dtype=np.int64), "int64"),
            (["a"], "neither counts nor values"),
            (np.array([np.nan] * 360), "finite"),
        ],
    )
    async def test_other_windows_are_refused(
        self, fake: FakeDevice, window: Any, said: str
    ) -> None:
        """Other types, and values that are not numbers, are a BadInputError."""
        async with connect(fake.address) as device:
            with pytest.raises(holter_host.BadInputError, match=said):
                await device.classify(window)

    async def test_a_window_of_the_wrong_size(
        self, fake: FakeDevice, model: holter_host.Bundle
    ) -> None:
        """The device's answer says how many values came and how many the model takes."""
        async with connect(fake.address) as device:
            await device.deploy(model)
            with pytest.raises(holter_host.InvalidRequestError) as caught:
                await device.classify(np.zeros(10))
        assert caught.value.metadata == {"actual": "10", "expected": "360"}

    @pytest.mark.parametrize("window", [np.zeros(360), "capture"])
    async def test_no_active_model(self, fake: FakeDevice, window: Any) -> None:
        """Without an active model there is nothing to ask."""
        async with connect(fake.address) as device:
            if isinstance(window, str):
                window = await device.capture(1, "earliest")
            with pytest.raises(holter_host.NoActiveModelError) as caught:
                await device.classify(window)
        assert caught.value.reason == "NO_ACTIVE_MODEL"
