"""Laws of many streams as one: all frames once and in order, and nobody waits for the dead."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from holter.v1 import device_service_pb2 as device_pb
from holter.v1 import sample_service_pb2 as sample_pb
from holter.v1 import stream_pb2 as stream_pb
from holter_host import (
    BadInputError,
    Classification,
    ConnectionChange,
    Device,
    DeviceError,
    DeviceUnreachableError,
    Fleet,
    FleetDevice,
    FleetEvent,
    Gap,
    Inventory,
    LogPosition,
    NotFoundError,
    SampleBlock,
    SessionStarted,
    StreamEnd,
)
from holter_host._fleet_feed import QUEUE, _Queue
from holter_host.testing import ENDLESS, Failure, FakeDevice, Hole, fake_counts
from support.cut_proxy import Cut, CutProxy, How
from support.model_files import make_model


def fleet_of(options: dict[str, float] | None = None, /, **addresses: str) -> Fleet:
    """A fleet by names and addresses."""
    devices = (FleetDevice(name, address) for name, address in addresses.items())
    return Fleet(Inventory("fleet.toml", tuple(devices)), **(options or {}))


IMPATIENT = {"silence": 0.3, "timeout": 0.3}


def frames(events: list[FleetEvent], name: str) -> list[Any]:
    """The frames of a device: session, sequence, and the counts or why there are none."""
    found: list[Any] = []
    for event in events:
        match event.event:
            case _ if event.device.name != name:
                continue
            case SampleBlock() as block:
                rows = enumerate(block.counts.tolist(), block.first_sequence)
                found += [(block.session_id, sequence, row) for sequence, row in rows]
            case Gap() as gap:
                numbers = range(gap.first_sequence, gap.next_sequence)
                found += [(gap.session_id, sequence, gap.cause) for sequence in numbers]
    return found


def kinds(events: list[FleetEvent], name: str) -> list[type]:
    """What came from a device, blocks left out."""
    mine = [type(e.event) for e in events if e.device.name == name]
    return [kind for kind in mine if kind is not SampleBlock]


@pytest.fixture
def start() -> Iterator[Any]:
    """Starts fake devices."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(FakeDevice(*args, **options))


class TestSamples:
    async def test_everyones_frames_once_and_in_order(self, start) -> None:
        """Each device's frames come once, in order, under its name, and then its end."""
        a = start([500, 300], holes=[Hole(1, 100, 20)], log_id="log a")
        b = start([1000], block=7)
        async with fleet_of(a=a.address, b=b.address) as fleet:
            events = [event async for event in fleet.samples("earliest")]
        counts = fake_counts(0, 1000, 1).tolist()
        assert frames(events, "a") == [
            (session, k, "BUS_ERROR" if session == 1 and 100 <= k < 120 else counts[k])
            for session, length in ((1, 500), (2, 300))
            for k in range(length)
        ]
        assert frames(events, "b") == [(1, k, counts[k]) for k in range(1000)]
        assert kinds(events, "a") == [SessionStarted, Gap, SessionStarted, StreamEnd]
        assert {e.session.log_id for e in events if e.device.name == "a"} == {"log a"}

    async def test_clocks_are_aligned(self, start) -> None:
        """Times are of this computer's clock, whatever the clocks of the devices say."""
        hours = 3600 * 10**9
        clocks = {"a": lambda: time.time_ns() - 5 * hours, "b": lambda: time.time_ns() + 7 * hours}
        fakes = {name: start([36], clock=clock) for name, clock in clocks.items()}
        addresses = {name: fake.address for name, fake in fakes.items()}
        async with fleet_of(**addresses) as fleet:
            events = [event async for event in fleet.samples("earliest")]
        for name, offset in (("a", 5 * hours), ("b", -7 * hours)):
            mine = [e for e in events if e.device.name == name]
            (block,) = (e for e in mine if isinstance(e.event, SampleBlock))
            assert block.clock is not None
            truth = block.event.monotonic_time_nanos + offset
            assert abs(block.time_nanos - truth) <= block.clock.uncertainty_nanos
            assert abs(block.time.timestamp() - truth / 1e9) < 1
            assert mine[0].time == block.time  # frame 0 is the session's start
            assert mine[-1].time is None

    async def test_a_simulated_clock_has_no_time(self, start) -> None:
        """A device whose clock does not run in real time has frames, and no times."""
        fake = start([36])
        fake.source = device_pb.Source(kind="simulate", speed=20)
        async with fleet_of(a=fake.address) as fleet:
            events = [event async for event in fleet.samples("earliest")]
        assert [event.clock for event in events] == [None] * 3
        assert [event.time for event in events] == [None] * 3

    async def test_the_dead_hold_up_nobody(self, start, tmp_path: Path) -> None:
        """Who is not there is told lost, once; when it comes its frames come, and all is told."""
        fake, nowhere = start([72], hold=True), f"unix:{tmp_path}/holter.sock"
        events = []
        async with (
            fleet_of(dead=nowhere, alive=fake.address) as fleet,
            contextlib.aclosing(fleet.samples("earliest")) as stream,
        ):
            async for event in stream:
                events.append(event)
                if len(frames(events, "alive")) == 72 and kinds(events, "dead"):
                    break
            assert kinds(events, "dead") == [ConnectionChange]
            start([36], listen=nowhere)
            async for event in stream:
                events.append(event)
                if isinstance(event.event, StreamEnd):
                    break
        assert frames(events, "dead") == [(1, k, [c]) for k, c in counts(36)]
        told = [e.event.connected for e in events if isinstance(e.event, ConnectionChange)]
        assert told == [False, True]

    @pytest.mark.parametrize("how", How)
    async def test_a_network_that_drops(self, start, how: How) -> None:
        """Wherever a connection breaks, the frames of each device come once and in order."""
        steady, dropped = start([3000]), start([3000], holes=[Hole(1, 90, 10)])
        async with CutProxy(dropped.address) as proxy:
            proxy.plan([Cut(700, how), Cut(900, how), Cut(1500, how)])
            options = IMPATIENT if how is How.BLACK_HOLE else None
            async with fleet_of(options, steady=steady.address, dropped=proxy.address) as fleet:
                events = [event async for event in fleet.samples("earliest")]
            assert proxy.cuts == 3
        assert [f[:2] for f in frames(events, "dropped")] == [(1, k) for k in range(3000)]
        assert [f[:2] for f in frames(events, "steady")] == [(1, k) for k in range(3000)]
        told = [e.event for e in events if isinstance(e.event, ConnectionChange)]
        assert {e.device.name for e in events if isinstance(e.event, ConnectionChange)} == {
            "dropped"
        }
        assert [change.connected for change in told] == [False, True] * (len(told) // 2)
        assert told

    async def test_a_network_that_delays_delays_itself_only(self, start) -> None:
        """A slow link holds up its own device; the others' frames are through long before."""
        quick, slow = start([3000]), start([3000])
        async with CutProxy(slow.address) as proxy:
            proxy.delay = 0.1
            async with fleet_of(quick=quick.address, slow=proxy.address) as fleet:
                events = [event async for event in fleet.samples("earliest")]
        ends = [e.device.name for e in events if isinstance(e.event, StreamEnd)]
        assert ends == ["quick", "slow"]
        for name in ends:
            assert [f[:2] for f in frames(events, name)] == [(1, k) for k in range(3000)]

    async def test_who_never_answers_is_told_lost(self, start) -> None:
        """A device that takes the connection and says nothing is lost after the silence."""
        fake, ended = start([36]), asyncio.Event()

        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await ended.wait()
            writer.close()

        async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            async with fleet_of(IMPATIENT, mute=f"{host}:{port}", alive=fake.address) as fleet:
                events = [event async for event in fleet.samples("earliest", reconnect=0)]
            ended.set()
        assert len(frames(events, "alive")) == 36
        (lost,) = (event.event for event in events if event.device.name == "mute")
        assert isinstance(lost, DeviceUnreachableError)
        assert "Nothing came" in str(lost)

    async def test_a_refusal_ends_one_stream_only(self, start) -> None:
        """What a device refuses is its last event; the others go on."""
        good, bad = start([36]), start([36])
        bad.fail("StreamSamples", Failure(grpc.StatusCode.INTERNAL, "No.", "INTERNAL"))
        async with fleet_of(good=good.address, bad=bad.address) as fleet:
            events = [event async for event in fleet.samples("earliest")]
        assert len(frames(events, "good")) == 36
        (refused,) = (event.event for event in events if event.device.name == "bad")
        assert isinstance(refused, DeviceError)
        assert refused.reason == "INTERNAL"

    async def test_another_log_begins_anew(self, start) -> None:
        """A device whose log was made anew is told, and goes on live in that log."""
        fake = start([100, 50], live_sequence=20, log_id="new")
        places = {"a": LogPosition(1, 10, "old")}
        async with fleet_of(a=fake.address) as fleet:
            events = [event async for event in fleet.samples(places)]
        assert kinds(events, "a") == [NotFoundError, SessionStarted, StreamEnd]
        assert [f[:2] for f in frames(events, "a")] == [(2, k) for k in range(20, 50)]

    async def test_positions_resume(self, start) -> None:
        """From the position of each device's last event on, nothing is missed or repeated."""
        addresses = {name: start([800], holes=[Hole(1, 210, 9)]).address for name in "abc"}
        first: list[FleetEvent] = []
        places: dict[str, LogPosition] = {}
        async with fleet_of(**addresses) as fleet:
            async with contextlib.aclosing(fleet.samples("earliest")) as stream:
                async for event in stream:
                    first.append(event)
                    if event.position is not None:
                        places[event.device.name] = event.position
                    if len(first) == 40:
                        break
            for name in addresses:
                places.setdefault(name, LogPosition(1, 0))
            rest = [event async for event in fleet.samples(places)]
        for name in addresses:
            sequences = [f[:2] for f in frames(first, name) + frames(rest, name)]
            assert sequences == [(1, k) for k in range(800)]

    async def test_a_reader_that_pauses_loses_nothing(self, start) -> None:
        """While nobody reads the devices wait; the frames go on where they were."""
        fake = start([ENDLESS], block=1)
        async with (
            fleet_of(a=fake.address, b=start([36]).address) as fleet,
            contextlib.aclosing(fleet.samples("earliest")) as stream,
        ):
            assert isinstance((await anext(stream)).event, SessionStarted)
            events = [await anext(stream) for _ in range(QUEUE * 3)]
        sequences = [f[1] for f in frames(events, "a")]
        assert sequences == list(range(len(sequences)))
        assert len(sequences) > QUEUE * 2
        assert fake.wait_until_idle()

    async def test_leaving_the_block_ends_its_streams(self, start) -> None:
        """A stream that was left in the middle is over, on the device too, with its fleet."""
        fake = start([36], hold=True)
        async with fleet_of(a=fake.address) as fleet:
            stream = fleet.samples("earliest")
            async for event in stream:
                if isinstance(event.event, SampleBlock):
                    break
        assert fake.wait_until_idle()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


def counts(length: int) -> Iterator[tuple[int, int]]:
    """The frames of a fake device of one channel."""
    return enumerate(fake_counts(0, length, 1)[:, 0].tolist())


class TestClassifications:
    async def test_windows_of_all_devices(self, start, tmp_path: Path) -> None:
        """Each device's windows come once and in order, with the times of their last frames."""
        model = make_model(tmp_path / "model.tflite", window=360, hop=360)
        fakes = {name: start([3600]) for name in ("a", "b")}
        async with fleet_of(**{name: fake.address for name, fake in fakes.items()}) as fleet:
            assert all([o.ok async for o in fleet.each(lambda device: device.deploy(model))])
            events = [event async for event in fleet.classifications("earliest")]
        for name in fakes:
            found = [
                event
                for event in events
                if event.device.name == name and isinstance(event.event, Classification)
            ]
            assert [e.event.last_sequence for e in found] == list(range(359, 3600, 360))
            spans = {b.time_nanos - a.time_nanos for a, b in itertools.pairwise(found)}
            assert spans == {10**9}
            assert found[-1].position == LogPosition(1, 3600, found[-1].session.log_id)

    async def test_both_streams_lose_a_connection_once(self, start, tmp_path: Path) -> None:
        """Samples and classifications of a device share a connection; its loss is told once."""
        model = make_model(tmp_path / "model.tflite", window=360, hop=36)
        fake = start([ENDLESS])
        fake.frames = (2000,)
        async with CutProxy(fake.address) as proxy, fleet_of(a=proxy.address) as fleet:
            assert [o.ok async for o in fleet.each(lambda device: device.deploy(model))]
            proxy.plan([Cut(3000, How.RST)])
            events = [event async for event in fleet.events("earliest")]
        told = [e.event.connected for e in events if isinstance(e.event, ConnectionChange)]
        assert told == [False, True]
        assert [f[1] for f in frames(events, "a")] == list(range(2000))
        ends = [e.event.last_sequence for e in events if isinstance(e.event, Classification)]
        assert ends == list(range(359, 2000, 36))


class TestQueue:
    async def test_it_is_bounded(self) -> None:
        """An item waits for room; what is urgent does not, and no order is lost."""
        queue = _Queue()
        for number in range(QUEUE):
            await queue.put(number)
        waiting = [asyncio.create_task(queue.put(QUEUE + n)) for n in range(3)]
        await asyncio.sleep(0)
        assert len(queue) == QUEUE
        queue.put_urgent("urgent")
        taken = []
        while queue:
            taken.append(queue.take())
            await asyncio.sleep(0)
            assert len(queue) <= QUEUE
        await asyncio.gather(*waiting)
        assert taken == [*range(QUEUE), "urgent", *range(QUEUE, QUEUE + 3)]


@pytest.mark.parametrize(
    "options",
    [
        {"start": "never"},
        {"start": {"a": "never"}},
        {"reconnect": -1},
        {"max_latency": 11},
    ],
)
async def test_what_cannot_be_used_is_told_at_once(options) -> None:
    """A stream that cannot be begun raises before it is iterated."""
    with pytest.raises(BadInputError, match="give"):
        fleet_of(a="127.0.0.1:1").samples(**options)


async def test_a_fault_of_ours_is_not_hidden(start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no error of a device ends the iteration with that exception."""

    def broken(self: Device, *args: Any, **options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Device, "samples", broken)
    async with fleet_of(a=start([36]).address) as fleet:
        with pytest.raises(ZeroDivisionError):
            _ = [event async for event in fleet.samples()]


MANY = """
import asyncio, sys
from holter_host import Fleet, FleetDevice, Inventory, SessionStarted

async def main():
    devices = tuple(FleetDevice(f"d{n}", sys.argv[1]) for n in range(600))
    async with Fleet(Inventory("many", devices)) as fleet:
        left = len(devices)
        async for event in fleet.samples():
            left -= isinstance(event.event, SessionStarted)
            if not left:
                break

for _ in range(2):
    asyncio.run(main())
print("over")
"""


@pytest.mark.timeout(100)
async def test_hundreds_of_streams_can_be_left() -> None:
    """A program that leaves hundreds of streams at once ends, and may begin anew before."""
    started = stream_pb.SessionStarted(session=FakeDevice().session(1))
    beat = stream_pb.Heartbeat(session_id=1)

    async def stream(request: bytes, context: Any) -> None:
        for event in ({"session_started": started}, {"heartbeat": beat}):
            await context.write(sample_pb.StreamSamplesResponse(**event).SerializeToString())
        await asyncio.Event().wait()

    server = grpc.aio.server()
    handler = grpc.unary_stream_rpc_method_handler(stream)
    service = grpc.method_handlers_generic_handler(
        "holter.v1.SampleService", {"StreamSamples": handler}
    )
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MANY, f"127.0.0.1:{port}", stdout=-1, stderr=-1
    )
    try:
        assert await process.communicate() == (b"over\n", b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await server.stop(None)
