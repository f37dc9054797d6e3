"""The Log against a model: unbounded lists, in memory, of every frame, window and change.

Whatever is appended, committed, restarted, crashed, refused by the disk or dropped by retention,
and whoever reads it when and from where: each reader has every frame and window once, in order, or
a Gap that accounts for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import sqlite3
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holter_device.errors import DataDirectoryError
from holter_device.grid import GapCause
from holter_device.log import (
    Cursor,
    CursorItem,
    End,
    EndReason,
    Log,
    Start,
    StartEarliest,
    StartLive,
    StartPosition,
    reader,
    retention,
    sample_cursor,
    schema,
    writer,
)
from holter_device.log import log as log_module
from holter_device.log.schema import connect
from holter_device.samples import Block, Classification, Gap, LeadOffRun, ModelChange, Session
from support.logs import MEMORY, begin, block, frame, opened, there, window

RATE_HZ = 10.0
TAIL_SECONDS = 0.5
RETENTION_FRAMES = 60
HOUR_FRAMES = 36_000
ROW_FRAMES = 12
PAGE_BYTES = 512
# Limits of size by turns: none, a little above what the tables take, and far below it.
LIMITS = (0, 14_000, 20_000, 4000)


@dataclasses.dataclass
class Stored:
    """What there is of a session: for each frame its counts or its cause, and if leads are off."""

    session: Session
    frames: list[tuple[bytes | GapCause, bool]] = dataclasses.field(default_factory=list)
    windows: list[Classification] = dataclasses.field(default_factory=list)
    changes: list[ModelChange] = dataclasses.field(default_factory=list)
    # Frames and last_sequences of windows below it may have been dropped while the disk was full.
    droppable: int = 0

    def copy(self) -> Stored:
        """As it is now, for what comes back after a crash."""
        lists = (list(self.frames), list(self.windows), list(self.changes))
        return Stored(self.session, *lists, self.droppable)

    def model_at(self, sequence: int) -> str:
        """The model that a window which ends there belongs to."""
        names = [one.model_sha256 for one in self.changes if one.swap_sequence <= sequence]
        return names[-1] if names else ""

    def windows_from(self) -> int:
        """The first last_sequence that a next window may have."""
        return self.windows[-1].last_sequence + 1 if self.windows else 0


class World:
    """A log, the model of it, and readers of it."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self.directory = directory / "0"
        self.model: dict[int, Stored] = {}
        self.on_disk: dict[int, Stored] = {}
        self.readers: list[Reader] = []
        self.stack = AsyncExitStack()
        self.runs = 0
        self.refusing = False
        self.filling = False
        self.uncertain = False
        self.earliest = (0, 0)
        self.durable = 0
        self.log: Log

    @property
    def running(self) -> Stored:
        """The running session."""
        return self.model[max(self.model)]

    def is_old(self, session_id: int, sequence: int) -> bool:
        """Whether retention may have dropped a frame: by size what is below `earliest`."""
        if (session_id, sequence) < self.earliest:
            return True
        recorded = sum(len(stored.frames) for stored in self.model.values())
        before = sum(len(self.model[number].frames) for number in range(1, session_id))
        return recorded - (before + sequence) >= RETENTION_FRAMES - 1

    async def open(self) -> None:
        """Open the log, begin a session and let every reader come again."""
        self.log = await self.stack.enter_async_context(
            opened(
                self.directory,
                tail_seconds=TAIL_SECONDS,
                retention_hours=RETENTION_FRAMES / HOUR_FRAMES,
                retention_bytes=LIMITS[self.runs % len(LIMITS)],
                max_uncommitted=3000,
            )
        )
        self.refusing = self.filling = False
        if self.uncertain:
            await self.take_what_is_left()
        self.look()
        if self.runs % 2 == 0:
            await self.new_session()
            await self.reconnect()
        else:
            await self.reconnect()
            await self.new_session()
        self.runs += 1

    async def new_session(self) -> None:
        """Begin a session; where the disk refuses it nothing has happened."""
        await self.commit()
        try:
            session = await begin(self.log, rate_hz=RATE_HZ)
        except DataDirectoryError:
            assert self.refusing or self.filling
            return
        finally:
            self.look()
        assert not self.refusing
        if self.uncertain:  # what waited was written before it
            self.on_disk = {number: stored.copy() for number, stored in self.model.items()}
            self.uncertain = False
        self.model[session.session_id] = Stored(session)
        self.on_disk[session.session_id] = Stored(session)

    async def commit(self) -> None:
        """Commit; what the disk refused may be dropped from now on."""
        await self.log.commit()
        self.settle(self.model)

    def settle(self, model: dict[int, Stored]) -> None:
        """Take note of how a commit went that had all of `model`."""
        self.look()
        if self.log.recording.stopped:
            assert self.refusing or self.filling
            self.running.droppable = len(self.running.frames)
            self.uncertain = self.uncertain or self.filling
        elif model:
            self.on_disk = {number: stored.copy() for number, stored in model.items()}
            self.uncertain = False

    def look(self) -> None:
        """Take note of what the log tells of itself, which never goes back."""
        recording = self.log.recording
        if self.model and max(self.model) == self.log._feed.last_session_id and not self.uncertain:
            assert recording.durable_sequence <= len(self.running.frames)
        if recording.size_limit_bytes:
            tail, place = self.log._feed.tail, recording.earliest
            if place is not None:
                earliest = (place.session_id, place.next_sequence)
            elif tail is not None:  # the file has no frame at all
                earliest = (tail.session.session_id, recording.durable_sequence)
            else:
                earliest = (self.log._feed.last_session_id + 1, 0)
            self.earliest = max(self.earliest, earliest)

    async def take_what_is_left(self) -> None:
        """Of commits that the disk took in part there is, in order, all up to some place."""
        left = await self.log.unfinished()
        assert left is not None
        stored = self.model[left.session.session_id]
        assert self.durable <= left.next_sequence <= len(stored.frames)
        del stored.frames[left.next_sequence :]
        last = -1 if left.last_window is None else left.last_window
        stored.windows = [one for one in stored.windows if one.last_sequence <= last]
        stored.changes = list(left.changes)
        self.on_disk = {number: one.copy() for number, one in self.model.items()}
        self.uncertain = False

    async def append_meanwhile(
        self, runs: list[tuple[int, GapCause | None, bool]], steps: list[int], ahead: int
    ) -> None:
        """Append while a commit is under way, which does not have what comes then."""
        self.append_frames([(1, None, False)])
        taken = {number: stored.copy() for number, stored in self.model.items()}
        committing = asyncio.create_task(self.log.commit())
        for _ in range(3):
            await asyncio.sleep(0)
        assert self.log._pending.size == 0
        self.append_frames(runs)
        self.append_change(ahead, "c")
        self.append_windows(steps)
        await committing
        self.settle(taken)

    async def restart(self) -> None:
        """Close the log and open it again."""
        await self.commit()
        await self.stack.aclose()
        self.durable = self.log.recording.durable_sequence
        if not self.uncertain:
            self.model = {number: stored.copy() for number, stored in self.on_disk.items()}
        await self.open()

    async def crash(self) -> None:
        """Go on with the files as they are now, as after a kill."""
        copy = self.root / str(self.runs)
        self.durable = self.log.recording.durable_sequence  # closing may commit more
        await asyncio.to_thread(shutil.copytree, self.directory, copy)
        await self.stack.aclose()
        await asyncio.to_thread(shutil.rmtree, self.directory)
        self.directory = copy
        if not self.uncertain:
            self.model = {number: stored.copy() for number, stored in self.on_disk.items()}
        await self.open()

    async def reconnect(self) -> None:
        """Let every reader come again to where it was."""
        for one in self.readers:
            await one.connect(StartPosition(*one.place, self.log.log_id))

    def refuse(self, refused: bool) -> None:
        """Let SQLite refuse all writing, or allow it."""
        self.refusing = refused
        self.log._storage._writer._connection.execute(f"PRAGMA query_only={refused:d}")
        if not refused:
            self.fill(1 << 30)

    def fill(self, pages: int) -> None:
        """Let the file grow by so many pages only: of a long commit the disk takes a part."""
        connection = self.log._storage._writer._connection
        (count,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={min(count + pages, 1 << 30)}")
        self.filling = pages < 1 << 30

    def append_frames(self, runs: list[tuple[int, GapCause | None, bool]]) -> None:
        """Append blocks and gaps."""
        stored = self.running
        items: list[Block | Gap] = []
        for count, cause, off in runs:
            first = len(stored.frames)
            if cause is None:
                items.append(block(stored.session, first, count, off=off))
                of_each = [frame(stored.session, first + index) for index in range(count)]
                stored.frames += [(counts, off) for counts in of_each]
            else:
                items.append(Gap(stored.session.session_id, first, count, cause))
                stored.frames += [(cause, False)] * count
        self.log.append(items)

    def append_windows(self, steps: list[int]) -> None:
        """Append windows, each some frames after the one before it."""
        stored = self.running
        for step in steps:
            last = stored.windows_from() + step
            if last < len(stored.frames):
                one = window(stored.session, last, model=stored.model_at(last))
                self.log.append([one])
                stored.windows.append(one)

    def append_change(self, ahead: int, name: str) -> None:
        """Append a model change some frames after the newest window."""
        stored = self.running
        change = ModelChange(stored.session.session_id, stored.windows_from() + ahead, name)
        before = [one for one in stored.changes if one.swap_sequence < change.swap_sequence]
        self.log.append([change])
        stored.changes = [*before, change]


class Reader:
    """A cursor and the place that it must be at, checked with each item."""

    def __init__(self, world: World, samples: bool) -> None:
        self.world = world
        self.samples = samples
        self.place = (0, 0)
        self.entered = False
        self.known: list[ModelChange] = []
        self.cursor: Cursor

    async def connect(self, start: Start) -> None:
        """Begin to read there."""
        make = self.world.log.samples if self.samples else self.world.log.classifications
        self.cursor = await (make(start, max_latency=0) if self.samples else make(start))  # type: ignore[call-arg]
        if not isinstance(start, StartPosition):
            position = self.cursor.position
            self.place = (position.session_id, position.next_sequence)
        if isinstance(start, StartEarliest):
            self.check_earliest()
        self.entered = False

    def check_earliest(self) -> None:
        """Everything before the earliest frame is old."""
        for number, stored in self.world.model.items():
            upto = self.place[1] if number == self.place[0] else len(stored.frames)
            for sequence in range(upto if number <= self.place[0] else 0):
                assert self.world.is_old(number, sequence) or sequence < stored.droppable

    async def read(self, calls: int) -> None:
        """Take what is there, in so many calls at most."""
        for _ in range(calls):
            for item in await self.cursor.next(timeout=0):
                self.check(item)

    def check(self, item: CursorItem) -> None:
        """Each item follows on the place, and is what the model has there."""
        if isinstance(item, Session):
            self.check_session(item)
        elif isinstance(item, ModelChange):
            self.known = [one for one in self.known if one.swap_sequence < item.swap_sequence]
            self.known.append(item)
        elif isinstance(item, Classification):
            self.check_window(item)
        elif isinstance(item, End):
            assert (item.session_id, item.next_sequence) == self.place
        elif self.samples:
            self.check_frames(item)
        else:
            assert isinstance(item, Gap)
            self.check_dropped_windows(item)

    def check_session(self, session: Session) -> None:
        """A stream begins with the session of its start, and each is followed by the next."""
        number, sequence = self.place
        assert session == self.world.model[session.session_id].session
        if self.entered:
            assert session.session_id == number + 1
            self.check_left(number, sequence)
        else:
            assert session.session_id == number
        if session.session_id != number:
            self.place = (session.session_id, 0)
        self.entered = True
        self.known = []

    def check_left(self, number: int, sequence: int) -> None:
        """A session is left when all of it was delivered."""
        if number == 0:
            return
        stored = self.world.model[number]
        if self.samples:
            assert sequence >= len(stored.frames)
        else:
            assert sequence >= stored.windows_from()

    def check_frames(self, item: Block | Gap) -> None:
        """Frames are those of the model, or a gap that retention or a full disk explains."""
        number, sequence = self.place
        assert (item.session_id, item.first_sequence) == (number, sequence)
        assert item.frame_count > 0
        stored = self.world.model[number]
        expected = stored.frames[sequence : item.next_sequence]
        assert len(expected) == item.frame_count
        if isinstance(item, Block):
            assert item.counts == b"".join(counts for counts, _ in expected)  # type: ignore[misc]
            assert item.lead_off == runs_of([off for _, off in expected], sequence)
        else:
            for index, (content, _) in enumerate(expected, sequence):
                dropped = self.world.is_old(number, index) or index < stored.droppable
                assert content is item.cause or (dropped and item.cause is GapCause.RETENTION)
        self.place = (number, item.next_sequence)

    def check_window(self, item: Classification) -> None:
        """A window is the model's next one, and the reader knows whose it is."""
        number, sequence = self.place
        following = [
            one for one in self.world.model[number].windows if one.last_sequence >= sequence
        ]
        assert item == following[0]
        names = [x.model_sha256 for x in self.known if x.swap_sequence <= item.last_sequence]
        assert (names[-1] if names else "") == item.model_sha256
        self.place = (number, item.last_sequence + 1)

    def check_dropped_windows(self, gap: Gap) -> None:
        """Windows are dropped only where retention or a full disk explains it."""
        number, sequence = self.place
        stored = self.world.model[number]
        assert gap.session_id == number
        assert gap.first_sequence >= sequence
        assert gap.cause is GapCause.RETENTION
        for one in stored.windows:
            assert not sequence <= one.last_sequence < gap.first_sequence
            if gap.first_sequence <= one.last_sequence < gap.next_sequence:
                old = self.world.is_old(number, one.last_sequence)
                assert old or one.last_sequence < stored.droppable
        self.place = (number, gap.next_sequence)

    async def finish(self) -> None:
        """Read to the end, which is the newest session's."""
        items = await there(self.cursor)
        for item in items:
            self.check(item)
        assert isinstance(items[-1], End)
        assert self.place[0] == max(self.world.model)
        self.check_left(*self.place)


def runs_of(off: list[bool], first: int) -> tuple[LeadOffRun, ...]:
    """The runs of frames with leads off."""
    runs: list[LeadOffRun] = []
    for sequence, is_off in enumerate(off, first):
        if is_off and runs and runs[-1].next_sequence == sequence:
            runs[-1] = LeadOffRun(runs[-1].first_sequence, runs[-1].frame_count + 1)
        elif is_off:
            runs.append(LeadOffRun(sequence, 1))
    return tuple(runs)


CAUSES = st.sampled_from([None, None, None, GapCause.LATE, GapCause.BUS_ERROR])
RUNS = st.lists(st.tuples(st.integers(1, 40), CAUSES, st.booleans()), min_size=1, max_size=6)
WINDOWS = st.lists(st.integers(0, 20), min_size=1, max_size=6)
STEPS = st.one_of(
    st.tuples(st.just("frames"), RUNS),
    st.tuples(st.just("frames"), RUNS),
    st.tuples(st.just("windows"), WINDOWS),
    st.tuples(st.just("change"), st.tuples(st.integers(0, 30), st.sampled_from(["", "a", "b"]))),
    st.tuples(st.just("commit"), st.none()),
    st.tuples(st.just("meanwhile"), st.tuples(RUNS, WINDOWS, st.integers(0, 30))),
    st.tuples(st.sampled_from(["commit", "session", "restart", "crash"]), st.none()),
    st.tuples(st.just("disk"), st.booleans()),
    st.tuples(st.just("fill"), st.integers(0, 3)),
    st.tuples(
        st.just("reader"),
        st.tuples(
            st.booleans(),
            st.sampled_from(["live", "earliest", "place"]),
            st.floats(0, 1),
            st.floats(0, 1),
        ),
    ),
    st.tuples(st.just("read"), st.tuples(st.integers(0, 7), st.integers(1, 9))),
)


async def add_reader(world: World, samples: bool, kind: str, where: float, far: float) -> None:
    """Begin to read somewhere."""
    one = Reader(world, samples)
    start: Start = StartLive()
    if kind == "earliest":
        start = StartEarliest()
    elif kind == "place":
        number = round(1 + where * (max(world.model) - 1))
        sequence = round(far * len(world.model[number].frames))
        start = StartPosition(number, sequence)
        one.place = (number, sequence)
    await one.connect(start)
    world.readers.append(one)


async def step(world: World, name: str, value: Any) -> None:
    """Do one of the steps."""
    if name == "frames":
        world.append_frames(value)
    elif name == "windows":
        world.append_windows(value)
    elif name == "change":
        world.append_change(*value)
    elif name == "commit":
        await world.commit()
    elif name == "meanwhile":
        await world.append_meanwhile(*value)
    elif name == "session":
        await world.new_session()
    elif name == "restart":
        await world.restart()
    elif name == "crash":
        await world.crash()
    elif name == "disk":
        world.refuse(value)
    elif name == "fill":
        world.fill(value)
    elif name == "reader":
        await add_reader(world, *value)
    elif world.readers:
        await world.readers[value[0] % len(world.readers)].read(value[1])


async def play(directory: Path, steps: list[tuple[str, Any]]) -> None:
    """Do all steps, then let every reader come to the end."""
    world = World(directory)
    await world.open()
    try:
        for name, value in steps:
            await step(world, name, value)
        world.log.finish(EndReason.STOPPING)
        for one in world.readers:
            await one.finish()
    finally:
        await world.stack.aclose()


def small_pages(directory: Path) -> sqlite3.Connection:
    """Open a file whose size tells a few rows."""
    connection = connect(directory)
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    return connection


def check(steps: list[tuple[str, Any]]) -> None:
    """Play with pages, messages and steps so small that all of them are needed."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(dir=MEMORY) as root,
    ):
        patch.setattr(reader, "MAX_PAGE_ROWS", 3)
        patch.setattr(retention, "STEP_ROWS", 2)
        patch.setattr(log_module, "_TRANSACTION_BYTES", 1500)
        patch.setattr(writer, "row_frames", lambda session, max_ns: ROW_FRAMES)
        patch.setattr(schema, "connect", small_pages)
        patch.setattr(sample_cursor, "MESSAGE_BYTES", 32)
        patch.setattr(sample_cursor, "PAGE_BYTES", 80)
        asyncio.run(play(Path(root), steps))


@given(steps=st.lists(STEPS, min_size=20, max_size=80))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.timeout(300)
def test_every_reader_has_everything_once_in_order(steps: list[tuple[str, Any]]) -> None:
    """Any interleaving gives each reader every frame and window once, or a Gap for it."""
    check(steps)


@pytest.mark.long
@given(steps=st.lists(STEPS, min_size=20, max_size=300))
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.timeout(7200)
def test_every_reader_has_everything_in_long_runs(steps: list[tuple[str, Any]]) -> None:
    """The same holds for many and longer interleavings."""
    check(steps)
