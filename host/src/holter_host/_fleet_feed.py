"""The streams of many devices, merged: each in its own order, all in the order in which they come.

Every device has a task that reads its streams into one queue. A reader that takes its time holds
them all up, and gRPC holds up the devices: nothing is dropped here, and no more waits here than the
queue takes, and one event a stream. What happens to a connection is rare, and never held up.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final, Literal

from holter_host import _convert, types
from holter_host._convert import Start
from holter_host._event_stream import EventStream
from holter_host._many_calls import many_calls
from holter_host._reconnect import ConnectionChange, limit_seconds
from holter_host.client import Device
from holter_host.clock import ClockOffset
from holter_host.errors import DeviceError
from holter_host.fleet_streams import FleetEvent
from holter_host.inventory import FleetDevice

QUEUE: Final = 1024
CLOCK_PROBES: Final = 4
CLOCK_SECONDS: Final = 60.0  # a clock that is 50 ppm wrong is off by 3 ms after that

FILES_A_DEVICE: Final = 2
OTHER_FILES: Final = 200

Kind = Literal["samples", "classifications"]
FleetStart = Start | Mapping[str, Start]


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams of each device, and from where; see `Fleet.samples`."""

    kinds: tuple[Kind, ...]
    start: FleetStart
    max_latency: float | None
    reconnect: float | None

    def check(self) -> None:
        """Find out before the first stream.

        Raises:
            BadInputError: something of it cannot be used.
        """
        for start in self.start.values() if isinstance(self.start, Mapping) else (self.start,):
            _convert.stream_start(start)
        _convert.max_latency(self.max_latency)
        limit_seconds(self.reconnect)

    def start_of(self, name: str) -> Start:
        """Where the streams of a device begin."""
        return self.start.get(name, "live") if isinstance(self.start, Mapping) else self.start


class _Queue:
    """A queue for one reader that takes a bounded number of events, and whatever is urgent."""

    def __init__(self) -> None:
        self._items: collections.deque[Any] = collections.deque()
        self._reader: asyncio.Future[None] | None = None
        self._writers: collections.deque[asyncio.Future[None]] = collections.deque()

    async def put(self, item: Any) -> None:
        """Add an item when there is room."""
        while len(self._items) >= QUEUE:
            room = asyncio.get_running_loop().create_future()
            self._writers.append(room)
            await room
        self.put_urgent(item)

    def put_urgent(self, item: Any) -> None:
        """Add an item at once."""
        self._items.append(item)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def arrived(self) -> None:
        """Wait for an item."""
        if not self._items:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader

    def take(self) -> Any:
        """The next item, of one or more."""
        while self._writers and len(self._items) <= QUEUE:
            room = self._writers.popleft()
            if not room.done():
                room.set_result(None)
                break
        return self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)


class _Feed:
    """The streams of one device, read into a queue."""

    def __init__(
        self, device: FleetDevice, connection: Device, wanted: Wanted, queue: _Queue
    ) -> None:
        self._device = device
        self._wanted = wanted
        self._queue = queue
        self._connection = connection
        self._session: types.Session | None = None
        self._clock: ClockOffset | None = None
        self._clock_due = 0.0
        self._measuring = asyncio.Lock()
        self._lost = 0

    async def run(self) -> None:
        """Read the streams until they are over; the last thing in the queue is None.

        Whatever is no DeviceError goes into the queue too, for whoever reads it to raise.
        """
        last: BaseException | None = None
        self._connection.open()
        try:
            async with asyncio.TaskGroup() as group:
                for kind in self._wanted.kinds:
                    group.create_task(self._follow(kind))
        except ExceptionGroup as errors:
            last = errors.exceptions[0]
        finally:
            await self._connection.close()
        self._queue.put_urgent(last)

    async def _follow(self, kind: Kind) -> None:
        """Read one stream to its end; anew, from now on, where the device has another log."""
        start = self._wanted.start_of(self._device.name)
        while True:
            stream = self._open(kind, start)
            try:
                async with stream:
                    await self._read(stream)
                return
            except DeviceError as error:
                if not stream.connected and stream.last_error is not None:
                    self._lost -= 1
                self._tell(error)
                if error.reason != "LOG_NOT_FOUND":
                    return
                start = "live"

    def _open(self, kind: Kind, start: Start) -> EventStream[Any]:
        reconnect, connection = self._wanted.reconnect, self._connection
        if kind == "classifications":
            return connection.classifications(
                start, reconnect=reconnect, on_connection=self._changed
            )
        return connection.samples(
            start,
            max_latency=self._wanted.max_latency,
            reconnect=reconnect,
            on_connection=self._changed,
        )

    async def _read(self, stream: EventStream[Any]) -> None:
        now = asyncio.get_running_loop().time
        put, device = self._queue.put, self._device
        async for event in stream:
            session = self._session = stream.session
            if type(event) is types.SessionStarted or now() >= self._clock_due:
                await self._measure(session)
            await put(FleetEvent(device, event, session, self._clock))
        if stream.end is not None:
            await put(FleetEvent(device, stream.end, self._session, self._clock))

    async def _measure(self, session: types.Session | None) -> None:
        """Measure the clock, at most once at a time."""
        loop = asyncio.get_running_loop()
        async with self._measuring:
            clock = self._clock
            known = clock is not None and session is not None and clock.boot_id == session.boot_id
            if known and loop.time() < self._clock_due:
                return  # the other stream's has just been measured
            self._clock_due = loop.time() + CLOCK_SECONDS * random.uniform(0.75, 1.0)
            new = await self._connection.try_clock_offset(CLOCK_PROBES)
            clock = new or (clock if known else None)
            if clock is not None and session is not None and clock.boot_id != session.boot_id:
                clock = None  # frames of an earlier boot, in a backlog
            self._clock = clock

    def _changed(self, change: ConnectionChange) -> None:
        """Tell that the connection changed; the two streams of a device lose it together."""
        self._lost += -1 if change.connected else 1
        if self._lost == (0 if change.connected else 1):
            self._clock_due = 0.0
            self._tell(change)

    def _tell(self, event: ConnectionChange | DeviceError) -> None:
        self._queue.put_urgent(FleetEvent(self._device, event, self._session, self._clock))


async def merged(
    devices: Sequence[FleetDevice], connect: Callable[[FleetDevice], Device], wanted: Wanted
) -> AsyncGenerator[FleetEvent, None]:
    """The events of the streams of all devices as they come, until all are over."""
    allow_files(FILES_A_DEVICE * len(devices) + OTHER_FILES)
    async with many_calls(len(devices) * len(wanted.kinds)):
        queue = _Queue()
        feeds = [_Feed(device, connect(device), wanted, queue) for device in devices]
        tasks = [asyncio.create_task(feed.run()) for feed in feeds]
        left = len(tasks)
        try:
            while left:
                if not queue:
                    await queue.arrived()
                item = queue.take()
                if isinstance(item, FleetEvent):
                    yield item
                elif item is None:
                    left -= 1
                else:
                    raise item
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def allow_files(count: int) -> None:
    """Let this process have so many open files, as far as it may.

    The limit is usually 1024 for the sake of select(2), which nothing here uses.
    """
    try:
        import resource
    except ImportError:
        return  # Windows, which has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
