"""Laws of a stream that breaks: what comes, how often it is tried, and when it is given up."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holter_host
from holter.v1 import classification_service_pb2 as classification_pb
from holter.v1 import stream_pb2 as stream_pb
from holter_host import ConnectionChange, LogPosition, connect
from holter_host._reconnect import Watchdog
from holter_host._retry import Backoff
from holter_host.client import Device
from holter_host.testing import Failure, FakeDevice, Hole
from support.cut_proxy import Cut, CutProxy, How
from support.model_files import make_model

UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE, "Socket closed")
HOLES = [Hole(1, 0, 5), Hole(1, 300, 40, "LATE"), Hole(2, 71, 10)]
FRAMES = (500, 900)
# A whole stream of that device has about 4000 bytes; a call that resumes at its end, 500.
CUTS = st.lists(
    st.builds(Cut, st.integers(0, 700) | st.integers(0, 5000), st.sampled_from(How)), max_size=5
)
STARTS: list[Any] = ["earliest", "live", LogPosition(1, 301), LogPosition(2, 0)]


async def nothing(seconds: float) -> None:
    """Wait for no time at all."""
    await asyncio.sleep(0)


AT_ONCE = Backoff(base=0.0, sleep=nothing)


def flat(events: list[Any]) -> list[Any]:
    """What a stream said, without where its blocks and gaps end."""
    found: list[Any] = []
    for event in events:
        if isinstance(event, holter_host.SampleBlock):
            counts = event.counts.tolist()
            off = event.channel_lead_off().tolist()
            frames = range(event.first_sequence, event.next_sequence)
            found += zip([event.session_id] * len(frames), frames, counts, off, strict=True)
        elif isinstance(event, holter_host.Gap):
            frames = range(event.first_sequence, event.next_sequence)
            found += [(event.session_id, sequence, event.cause) for sequence in frames]
        else:
            found.append(event)
    return found


async def collect(stream: holter_host.EventStream[Any]) -> list[Any]:
    """All that a stream gives."""
    return [event async for event in stream]


@contextlib.asynccontextmanager
async def through_proxy(fake: FakeDevice, **options: Any) -> AsyncIterator[tuple[Device, CutProxy]]:
    """A device behind a proxy that does not fail yet."""
    options = {"backoff": AT_ONCE, "silence": 0.1, **options}
    async with CutProxy(fake.address) as proxy, Device(proxy.address, **options) as device:
        yield device, proxy


class TestCuts:
    """Wherever the link is cut, and in whichever way."""

    @settings(max_examples=30)
    @given(cuts=CUTS, start=st.sampled_from(STARTS), block=st.sampled_from([7, 36, 1000]))
    async def test_each_frame_comes_once(self, cuts: list[Cut], start: Any, block: int) -> None:
        """The joined stream is the uncut one: each session and frame once, in order, alike."""
        options: dict[str, Any] = {"holes": HOLES, "lead_off": [(350, 9)], "block": block}
        with FakeDevice(FRAMES, live_sequence=123, channels=("A0", "A1"), **options) as fake:
            async with connect(fake.address) as direct:
                uncut = await collect(direct.samples(start))
            async with through_proxy(fake) as (device, proxy):
                proxy.plan(cuts)
                stream = device.samples(start)
                events = await collect(stream)
        assert flat(events) == flat(uncut)
        assert stream.end.reason is holter_host.StreamEndReason.SOURCE_ENDED
        assert stream.position == LogPosition(2, 900, stream.session.log_id)

    @settings(max_examples=15)
    @given(cuts=CUTS, start=st.sampled_from(STARTS))
    async def test_each_window_comes_once(
        self, tmp_path_factory: pytest.TempPathFactory, cuts: list[Cut], start: Any
    ) -> None:
        """Each session, change of the model and window comes once, in order."""
        model = make_model(tmp_path_factory.mktemp("model") / "m", window=60, hop=20)
        with FakeDevice(FRAMES, live_sequence=123, holes=HOLES) as fake:
            async with connect(fake.address) as direct:
                await direct.deploy(model)
                uncut = await collect(direct.classifications(start))
            async with through_proxy(fake) as (device, proxy):
                proxy.plan(cuts)
                assert await collect(device.classifications(start)) == uncut

    @settings(max_examples=10)
    @given(cuts=CUTS, stop=st.integers(1, 30))
    async def test_the_place_of_each_event_is_after_it(self, cuts: list[Cut], stop: int) -> None:
        """A stream that is left anywhere is gone on with from its place without a loss."""
        with FakeDevice(FRAMES, live_sequence=123, holes=HOLES) as fake:
            async with connect(fake.address) as direct:
                uncut = flat(await collect(direct.samples()))
            async with through_proxy(fake) as (device, proxy):
                proxy.plan(cuts)
                stream, events = device.samples(), []
                async for event in stream:
                    events.append(event)
                    if len(events) == stop:
                        break
                rest = await collect(device.samples(stream.position or "live"))
        assert flat(events)[1:] + flat(rest)[1:] == uncut[1:]

    async def test_a_cut_in_the_middle_of_a_wait(self) -> None:
        """A silent link is left after `silence`, and the next connection is another one."""
        told: list[ConnectionChange] = []
        with FakeDevice([36], hold=True) as fake:
            async with through_proxy(fake) as (device, proxy):
                stream = device.samples("earliest", on_connection=told.append)
                events = [await anext(stream), await anext(stream)]
                assert (stream.connected, stream.reconnect_count, stream.last_error) == (
                    True,
                    0,
                    None,
                )
                before = proxy.connections
                proxy.cut(How.BLACK_HOLE)
                reading = asyncio.create_task(collect(stream))
                while len(told) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                assert (stream.connected, stream.reconnect_count) == (True, 1)
                assert proxy.connections > before
                await stream.aclose()
                assert await reading == []
        assert len(flat(events)) == 37
        assert [change.connected for change in told] == [False, True]
        assert "Nothing came from" in told[0].reason
        assert told[1].seconds > 0
        assert str(stream.last_error) == told[0].reason

    async def test_a_new_try_is_a_new_connection(self) -> None:
        """Each try connects, whatever gRPC's own waits: the first that can succeed does."""
        tries = 0

        async def sleep(seconds: float) -> None:
            nonlocal tries
            tries += 1
            proxy.refusing = tries < 12

        with FakeDevice([100], hold=True) as fake:
            async with through_proxy(fake, backoff=Backoff(base=0, sleep=sleep)) as (device, proxy):
                stream = device.samples("earliest")
                events = [await anext(stream), await anext(stream)]
                proxy.refusing = True
                proxy.cut(How.RST)
                events += [await anext(stream), await anext(stream)]
        assert (tries, stream.reconnect_count) == (12, 1)
        assert [event.first_sequence for event in events[1:]] == [0, 36, 72]

    async def test_a_late_link_is_not_a_dead_one(self) -> None:
        """A link that delays each chunk, by less than `silence`, costs no reconnection."""
        with FakeDevice([200]) as fake:
            async with through_proxy(fake, silence=5.0) as (device, proxy):
                proxy.delay = 0.05
                stream = device.samples("earliest")
                assert len(flat(await collect(stream))) == 201
        assert stream.reconnect_count == 0


class TestRestarts:
    async def test_a_device_that_is_started_again(self) -> None:
        """`end` with STOPPING is waited for; the next session follows in the same stream."""
        with FakeDevice([100], hold=True) as first:
            async with Device(first.address, backoff=AT_ONCE) as device:
                told: list[ConnectionChange] = []
                stream = device.samples("earliest", on_connection=told.append)
                events = [await anext(stream) for _ in range(4)]
                assert stream.position.sequence == 100
                await asyncio.to_thread(first.stop)
                with FakeDevice([100, 50], listen=first.address):
                    events += await collect(stream)
        frames = [event[:2] for event in flat(events) if isinstance(event, tuple)]
        assert frames == [(1, n) for n in range(100)] + [(2, n) for n in range(50)]
        sessions = [e.session.session_id for e in events if hasattr(e, "previous_session_id")]
        assert sessions == [1, 2]
        assert "is stopping" in told[0].reason

    @pytest.mark.parametrize("known", [False, True])
    async def test_another_log(self, known: bool) -> None:
        """A device with another log is one error that says so; without a place it is followed."""
        with FakeDevice([100], hold=True) as first:
            async with Device(first.address, backoff=AT_ONCE) as device:
                stream = device.samples("earliest")
                if known:
                    await anext(stream)
                await asyncio.to_thread(first.stop)
                with FakeDevice([50], listen=first.address, log_id="another"):
                    if not known:
                        assert len(flat(await collect(stream))) == 51
                        return
                    with pytest.raises(holter_host.NotFoundError, match="another log") as caught:
                        await collect(stream)
        assert caught.value.reason == "LOG_NOT_FOUND"
        assert caught.value.metadata["log_id"] == "another"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


def _started(session_id: int) -> tuple[str, Any]:
    session = stream_pb.Session(session_id=session_id, log_id="log")
    return "session_started", stream_pb.SessionStarted(session=session)


def _script(*calls: list[tuple[str, Any]]) -> tuple[Any, list[Any]]:
    """What opens calls that give these events and then break, and the starts that it was given."""
    starts: list[Any] = []
    left = list(calls)

    class Call:
        def __init__(self) -> None:
            self._events = left.pop(0)

        async def read(self) -> Any:
            if not self._events:
                return grpc.aio.EOF
            kind, event = self._events.pop(0)
            if kind == "wait":
                await asyncio.Event().wait()
            return classification_pb.StreamClassificationsResponse(**{kind: event})

        async def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

        def cancel(self) -> bool:
            return True

    def open_call(channel: Any, start: stream_pb.StreamStart) -> Any:
        starts.append(start)
        return Call()

    return open_call, starts


async def test_a_change_that_was_told_early_is_told_once() -> None:
    """A change of the model is told once, though a device tells it again; one made since is told.

    At its live edge a device tells a change before the last windows of the model before it, and
    where a stream resumes the change in force and those to come.
    """

    def change(sequence: int, digest: str) -> tuple[str, Any]:
        fields = {"session_id": 1, "swap_sequence": sequence, "model_sha256": digest}
        return "model_changed", classification_pb.ModelChanged(**fields)

    def window(last: int) -> tuple[str, Any]:
        fields = {"session_id": 1, "last_sequence": last}
        return "classification", classification_pb.Classification(**fields)

    started = _started(1)
    end = ("end", stream_pb.StreamEnd(session_id=1, next_sequence=500, reason=2))
    open_call, starts = _script(
        [started, change(0, "a"), window(99), change(300, "b")],
        [started, change(0, "a"), window(199), change(300, "b"), window(299)],
        [started, change(300, "b"), window(399)],
        # Made while the stream was away: back and forth at one sequence, in force now.
        [started, change(400, "a"), change(450, "b"), window(499), end],
    )
    async with contextlib.AsyncExitStack() as stack:
        fake = stack.enter_context(FakeDevice())
        device = await stack.enter_async_context(Device(fake.address, backoff=AT_ONCE))
        stream = device.classifications("earliest")
        stream._source = dataclasses.replace(stream._source, open_call=open_call)
        events = await collect(stream)
    told = [
        (e.swap_sequence, e.model_sha256) for e in events if isinstance(e, holter_host.ModelChanged)
    ]
    assert told == [(0, "a"), (300, "b"), (400, "a"), (450, "b")]
    windows = [e.last_sequence for e in events if isinstance(e, holter_host.Classification)]
    assert windows == [99, 199, 299, 399, 499]
    assert [start.position.sequence for start in starts[1:]] == [100, 300, 400]


class TestGivingUp:
    async def test_never(self) -> None:
        """With reconnect=0 a break is an error at once, and nobody is told of a wait."""
        told: list[ConnectionChange] = []
        with FakeDevice([500]) as fake:
            fake.fail("StreamSamples", Failure(UNAVAILABLE.code, after=3))
            async with connect(fake.address) as device:
                stream = device.samples("earliest", reconnect=0, on_connection=told.append)
                with pytest.raises(holter_host.DeviceUnreachableError, match="was lost"):
                    await collect(stream)
                assert (told, stream.position.sequence) == ([], 72)

    async def test_after_the_limit(self) -> None:
        """Waits are the exponential's, add up to the limit, and then the first error is raised."""
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        backoff = Backoff(
            base=0.25, cap=2.0, uniform=lambda _, most: most, sleep=sleep, clock=lambda: sum(waits)
        )
        with FakeDevice([500], hold=True) as fake:
            async with Device(fake.address, backoff=backoff) as device:
                stream = device.samples("earliest", reconnect=7.0)
                await anext(stream)
                await asyncio.to_thread(fake.stop)
                with pytest.raises(holter_host.DeviceUnreachableError, match="within 7 s"):
                    await collect(stream)
                assert not stream.connected
        assert waits == [0.25, 0.5, 1.0, 2.0, 2.0, 1.25]

    @pytest.mark.parametrize(
        ("code", "reason", "kind"),
        [
            (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND", holter_host.NotFoundError),
            (
                grpc.StatusCode.OUT_OF_RANGE,
                "SEQUENCE_OUT_OF_RANGE",
                holter_host.InvalidRequestError,
            ),
            (grpc.StatusCode.UNIMPLEMENTED, "", holter_host.ProtocolError),
            (grpc.StatusCode.INTERNAL, "INTERNAL", holter_host.DeviceError),
        ],
    )
    async def test_what_the_device_refuses_is_not_tried_again(
        self, code: grpc.StatusCode, reason: str, kind: type[Exception]
    ) -> None:
        """An answer of holterd is raised, at the start and after a break."""
        refusal = Failure(code, "No.", reason)
        with FakeDevice([500]) as fake:
            async with Device(fake.address, backoff=AT_ONCE) as device:
                for failures in ([refusal], [Failure(UNAVAILABLE.code, after=3), refusal]):
                    fake.fail("StreamSamples", *failures)
                    asked = len(fake.requests)
                    with pytest.raises(kind):
                        await collect(device.samples("earliest"))
                    assert len(fake.requests) == asked + len(failures)

    @pytest.mark.parametrize("reconnect", [-1, math.nan])
    async def test_a_time_that_is_none(self, reconnect: float) -> None:
        """A negative time to try again is a BadInputError."""
        with FakeDevice([1]) as fake:
            async with connect(fake.address) as device:
                with pytest.raises(holter_host.BadInputError, match="reconnect is"):
                    device.samples(reconnect=reconnect)

    async def test_true_is_for_ever(self) -> None:
        """reconnect=True is no second, but for ever."""
        with FakeDevice([500]) as fake:
            fake.fail("StreamSamples", UNAVAILABLE)
            backoff = Backoff(base=0.0, sleep=nothing, clock=iter(range(0, 10**6, 10**3)).__next__)
            async with Device(fake.address, backoff=backoff) as device:
                assert len(flat(await collect(device.samples("earliest", reconnect=True)))) == 501

    @pytest.mark.parametrize("frames", [[500], [36, 500], [36]], ids=["block", "session", "beat"])
    async def test_a_frame_that_is_skipped_is_refused(self, frames: list[int]) -> None:
        """A device that repeats or skips frames breaks the law of streams: a ProtocolError.

        So does one that goes on with the next session, or says that it has sent all, too early.
        """
        with FakeDevice(frames) as fake:
            async with Device(fake.address, backoff=AT_ONCE) as device:
                stream = device.samples("earliest")
                await anext(stream)
                await anext(stream)
                stream._sequence = 30
                with pytest.raises(holter_host.ProtocolError, match="at frame 36 where frame 30"):
                    await anext(stream)


class TestWaiting:
    """What happens to a stream that waits for its next try."""

    @staticmethod
    @contextlib.asynccontextmanager
    async def waiting() -> AsyncIterator[tuple[Device, Any, asyncio.Task[Any]]]:
        """A device, its stream, and what reads it: the next try never comes."""
        asleep = asyncio.Event()

        async def sleep(seconds: float) -> None:
            asleep.set()
            await asyncio.Event().wait()

        with FakeDevice([500]) as fake:
            fake.fail("StreamSamples", Failure(UNAVAILABLE.code, after=3))
            async with Device(fake.address, backoff=Backoff(sleep=sleep)) as device:
                stream = device.samples("earliest")
                reading = asyncio.create_task(collect(stream))
                await asleep.wait()
                assert not stream.connected
                yield device, stream, reading

    async def test_aclose_ends_it_at_once(self) -> None:
        """aclose in the middle of a wait ends the iteration without an error."""
        async with self.waiting() as (_, stream, reading):
            await stream.aclose()
            assert len(flat(await reading)) == 73
            with pytest.raises(StopAsyncIteration):
                await anext(stream)

    async def test_a_device_that_is_closed_ends_it_with_an_error(self) -> None:
        """Closing the device in the middle of a wait is an error for who reads, at once."""
        async with self.waiting() as (device, _, reading):
            await device.close()
            with pytest.raises(holter_host.DeviceUnreachableError, match="was closed"):
                await reading

    async def test_a_cancelled_wait_is_cancelled(self) -> None:
        """Cancelling who reads is a cancellation."""
        async with self.waiting() as (_, _, reading):
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading


async def test_an_event_that_was_cancelled_is_not_lost() -> None:
    """A reader that gives up waiting again and again still gets each frame once."""
    with FakeDevice([36], hold=True) as fake:
        async with connect(fake.address) as device:
            stream = device.samples("earliest")
            events = [await anext(stream), await anext(stream)]
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(stream), 0.01)
            assert stream.reconnect_count == 0
            stopping = asyncio.create_task(asyncio.to_thread(fake.stop))
            await stopping
            with FakeDevice([36, 50], listen=fake.address):
                events += await collect(stream)
    assert len(flat(events)) == 1 + 36 + 1 + 50


async def test_a_reader_that_outlived_a_cancellation() -> None:
    """A task that was cancelled once and went on still has its silent link replaced."""
    again = asyncio.Event()

    def tell(change: ConnectionChange) -> None:
        if change.connected:
            again.set()

    async def read(stream: holter_host.SampleStream) -> list[Any]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return await collect(stream)

    with FakeDevice([36], hold=True) as fake:
        async with Device(fake.address, backoff=AT_ONCE, silence=0.05) as device:
            stream = device.samples("earliest", on_connection=tell)
            reading = asyncio.create_task(read(stream))
            await asyncio.sleep(0)
            reading.cancel()
            mended = asyncio.create_task(again.wait())
            await asyncio.wait([reading, mended], return_when=asyncio.FIRST_COMPLETED)
            mended.cancel()
            await stream.aclose()
            assert len(flat(await reading)) == 37


async def test_a_live_start_that_was_cancelled_is_live_again() -> None:
    """Before its first event a stream has no place: asked again, it starts at the live edge then.

    The session that it would have begun with, which had not told its place yet, is forgotten.
    """
    last = ("classification", classification_pb.Classification(session_id=2, last_sequence=99))
    end = ("end", stream_pb.StreamEnd(session_id=2, next_sequence=100, reason=2))
    open_call, starts = _script([_started(1), ("wait", None)], [_started(2), last, end])
    async with contextlib.AsyncExitStack() as stack:
        fake = stack.enter_context(FakeDevice())
        device = await stack.enter_async_context(Device(fake.address, backoff=AT_ONCE))
        stream = device.classifications()
        stream._source = dataclasses.replace(stream._source, open_call=open_call)
        reading = asyncio.create_task(anext(stream))
        while stream.session is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert (stream.session, stream.position) == (None, None)
        events = await collect(stream)
    assert [event.session.session_id for event in events[:-1]] == [2]
    assert [start.WhichOneof("start") for start in starts] == ["live", "live"]


async def test_replaced_connections_are_closed() -> None:
    """A connection that was replaced does not stay open: no more than one is, after many breaks."""
    with FakeDevice([5000]) as fake:
        async with through_proxy(fake) as (device, proxy):
            proxy.plan([Cut(900, How.BLACK_HOLE)] * 3)
            stream = device.samples("earliest")
            await collect(stream)
            assert proxy.connections >= 4
            del stream
            gc.collect()
            while len(proxy._holes) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


class TestWatchdog:
    async def test_it_barks_once_after_silence(self) -> None:
        """A block that takes too long is told once."""
        barks: list[int] = []
        barked = asyncio.Event()
        dog = Watchdog(0.02, lambda: (barks.append(1), barked.set()))
        with dog:
            await barked.wait()
        assert (barks, dog.barked) == ([1], True)

    async def test_a_busy_event_loop_is_no_silence(self) -> None:
        """A loop that was held up for longer than `silence` first looks at what came meanwhile."""
        dog = Watchdog(0.05, lambda: None)
        with dog:
            time.sleep(0.1)  # noqa: ASYNC251 (to hold up the loop is the point)
            for _ in range(3):
                await asyncio.sleep(0)
        assert not dog.barked
