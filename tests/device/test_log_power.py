"""A power cut after any step of the process that writes the log takes nothing that was committed.

The steps are those of one run of log_writer.py, journalled once; see support/power.py. It has two
sessions, a close, rows that are joined, checkpoints of the WAL, and retention.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holter_device.grid import GapCause
from holter_device.log import Cursor, CursorItem, EndReason, Log, StartPosition
from holter_device.log.join import cut
from holter_device.samples import Block, Classification, Gap, Session
from support import log_writer
from support.logs import MEMORY, begin, block, drain, gap, joined, opened, window
from support.power import Disk, Record, Step, build_shim, read_image, record, write_image

ROUNDS = 12
LONG_ROUNDS = 200
TESTS = str(Path(__file__).parents[1])
# Each step of a process that could have been the last one before the cut.
CUTS = {Step.WRITE, Step.TRUNCATE, Step.SYNC, Step.CREATE, Step.UNLINK, Step.RENAME, Step.SAY}

Image = dict[str, bytes | None]


def journalled(root: Path, rounds: int) -> list[Record]:
    """The steps of one run, below `root`."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, for the shim")
    root.mkdir()
    command = [sys.executable, log_writer.__file__, str(root / "data"), str(rounds)]
    return record(root, command, build_shim(root.parent), {"PYTHONPATH": TESTS})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """One run's directory and steps."""
    root = tmp_path_factory.mktemp("power") / "root"
    return root, journalled(root, ROUNDS)


def test_the_journal_is_complete(run: tuple[Path, list[Record]]) -> None:
    """Where the journal ends are the very files, and what is mapped is the WAL's index alone."""
    root, steps = run
    disk = Disk()
    for step in steps:
        disk.do(step)
    assert disk.now() == read_image(root)
    files = {path.name for path in (root / "data").iterdir()}
    assert files == {"holter.db", "holter.lock", "holter.reserve"}
    made = {step.inode: step.data.decode() for step in steps if step.step is Step.CREATE}
    assert {made[inode] for inode in disk.mapped} == {"data/holter.db-shm"}


def test_the_run_does_what_a_log_does(run: tuple[Path, list[Record]]) -> None:
    """In the run the WAL was written back many times, and then removed; and rows were joined."""
    _, steps = run
    database = {step.inode for step in steps if step.data == b"data/holter.db"}
    synced = [step for step in steps if step.step is Step.SYNC and step.inode in database]
    assert len(synced) > 5
    assert (
        sum(step.data == b"data/holter.db-wal" for step in steps if step.step is Step.UNLINK) == 2
    )
    assert b"committed" in b"".join(step.data for step in steps if step.step is Step.SAY)


VARIANTS: dict[str, Callable[[Disk, int], Image]] = {
    "synced": lambda disk, number: disk.synced(),
    "torn": lambda disk, number: disk.torn(),
    "shuffled": lambda disk, number: disk.shuffled(number),
}


# Every step is a cut of the strict disk; of the others, which differ with each, these.
STRIDES = {"synced": 1, "torn": 4, "shuffled": 7}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cut_after_any_step_takes_nothing_committed(
    run: tuple[Path, list[Record]], variant: str, record_property: Callable[[str, object], None]
) -> None:
    """The log opens without complaint, has all that was told as committed and nothing that was not
    appended, and goes on. A disk keeps what was synced only; or all but half of the last write; or
    any of the sectors since the last sync."""
    cuts, distinct = asyncio.run(cut_everywhere(run[1], VARIANTS[variant], STRIDES[variant]))
    record_property("power_cuts", f"{cuts} ({distinct} different disks)")
    assert cuts > 50


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_cut_after_any_step_of_a_long_run(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The same holds for a run that is ten times as long, and in many shuffles."""
    steps = journalled(tmp_path / "root", LONG_ROUNDS)
    counts = [asyncio.run(cut_everywhere(steps, variant)) for variant in VARIANTS.values()]
    for seed in range(5):
        shuffled = lambda disk, number, seed=seed: disk.shuffled(-number - seed)  # noqa: E731
        counts.append(asyncio.run(cut_everywhere(steps, shuffled)))
    cuts, distinct = map(sum, zip(*counts, strict=True))
    record_property("power_cuts", f"{cuts} ({distinct} different disks)")


async def cut_everywhere(
    steps: list[Record], cut: Callable[[Disk, int], Image], stride: int = 1
) -> tuple[int, int]:
    """Cut the power after every step; how often, and how many different disks that gave."""
    disk, cuts, seen = Disk(), 0, set()
    for number, step in enumerate(steps):
        disk.do(step)
        if step.step not in CUTS or number % stride:
            continue
        cuts += 1
        image = cut(disk, number)
        digest = hashlib.blake2b(repr(sorted(image.items())).encode() + disk.said).digest()
        if digest not in seen:
            seen.add(digest)
            with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
                write_image(image, Path(folder) / "root")
                await check(Path(folder) / "root" / "data", whole_lines(disk.said))
    return cuts, len(seen)


def whole_lines(said: bytes) -> list[str]:
    """What was said to its end."""
    return said.decode().rpartition("\n")[0].splitlines()


async def check(directory: Path, said: list[str]) -> None:
    """The log has what was committed, and goes on."""
    told = [(word, int(number)) for word, number in (line.split() for line in said)]
    sessions = [number for word, number in told if word == "session"]
    async with opened(directory) as log:
        left = await log.unfinished()
        newest = left.session.session_id if left else 0
        assert max(sessions, default=0) <= newest <= max(sessions, default=0) + 1
        for session_id in range(1, newest + 1):
            of_it = list(of_session(told, session_id))
            committed = max((n for word, n in of_it if word == "committed"), default=0)
            appended = max((n for word, n in of_it if word == "appended"), default=0)
            await check_session(log, session_id, committed, appended)
        session = await begin(log)
        assert session.session_id == newest + 1
        log.append([block(session, 0, 50), window(session, 20)])
        await log.commit()
        assert not log.recording.stopped
        log.finish(EndReason.STOPPING)
        items = await drain(await log.samples(StartPosition(session.session_id, 0)))
        assert joined(items) == [block(session, 0, 50)]


def of_session(told: list[tuple[str, int]], session_id: int) -> Iterator[tuple[str, int]]:
    """What was told of one session."""
    current = 0
    for word, number in told:
        current = number if word == "session" else current
        if current == session_id:
            yield word, number


async def of(cursor: Cursor, session_id: int) -> list[CursorItem]:
    """What a cursor has of a session that is over, or of which there is no more."""
    items: list[CursorItem] = []
    while got := await cursor.next(timeout=0):
        items += [item for item in got if getattr(item, "session_id", session_id) == session_id]
        if cursor.position.session_id != session_id:
            break
    return items


async def check_session(log: Log, session_id: int, committed: int, appended: int) -> None:
    """A session has its frames and windows, from where retention left them."""
    samples = await of(await log.samples(StartPosition(session_id, 0)), session_id)
    session = samples[0]
    assert isinstance(session, Session)
    frames = joined(samples)
    end = frames[-1].next_sequence if frames else 0
    assert committed <= end <= max(committed, appended)
    expected, windows = appended_upto(session, end)
    kept = 0
    if isinstance(frames[0] if frames else None, Gap):
        kept = frames[0].next_sequence
        assert frames[0] == gap(session, 0, kept, GapCause.RETENTION)
        expected = [
            frames[0],
            *joined([cut(x, kept, end) for x in expected if x.next_sequence > kept]),
        ]
    assert frames == expected
    classified = await of(await log.classifications(StartPosition(session_id, 0)), session_id)
    assert [item for item in classified if isinstance(item, Classification)] == [
        item for item in windows if item.last_sequence >= kept
    ]


def appended_upto(session: Session, end: int) -> tuple[list[Block | Gap], list[Classification]]:
    """What the writer appended before a frame."""
    frames: list[Block | Gap] = []
    windows: list[Classification] = []
    number = 0
    while not frames or frames[-1].next_sequence < end:
        of_round = log_writer.round_of(session, number)
        frames += of_round[0]
        windows += of_round[1]
        number += 1
    return (joined(frames), windows) if end else ([], [])
