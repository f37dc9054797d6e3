"""Cuts the power after any step of a process's journal: what is on the disk then?

A process runs once, under a shim that journals its writes, syncs, creates, renames and unlinks with
their data (power_shim.c). From the journal follows what a disk has after every step of it, if the
disk keeps to the letter of POSIX and not a word more: only what was synced is there, and a name
only where its directory was. That the journal is complete is seen by comparing where it ends with
the files themselves.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_HEADER = struct.Struct("=cQQQ")
_SECTOR = 512


def build_shim(directory: Path) -> Path:
    """Compile the shim, with gcc or what $CC names.

    Raises:
        FileNotFoundError: there is no C compiler.
    """
    compiler = shutil.which(os.environ.get("CC", "gcc"))
    if compiler is None:
        raise FileNotFoundError("the shim needs a C compiler: install gcc, or name one in CC")
    library = directory / "power_shim.so"
    options = ["-O2", "-U_FORTIFY_SOURCE", "-Wall", "-Werror", "-shared", "-fPIC"]
    source = Path(__file__).with_name("power_shim.c")
    command = [compiler, *options, "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


class Step(enum.Enum):
    """What a process did; the values are the shim's letters."""

    CREATE = b"c"
    OPEN = b"o"
    OPEN_DIRECTORY = b"d"
    MAKE_DIRECTORY = b"k"
    WRITE = b"w"
    TRUNCATE = b"t"
    SYNC = b"f"
    MAP = b"m"
    UNLINK = b"u"
    RENAME = b"r"
    SAY = b"s"


@dataclasses.dataclass(frozen=True)
class Record:
    """One step: `number` is an offset or a size, `data` what was written, or a name."""

    step: Step
    inode: int
    number: int
    data: bytes


def record(root: Path, command: Sequence[str], shim: Path, env: Mapping[str, str]) -> list[Record]:
    """Run a command to its end and return what it did below `root`, and said on stdout."""
    journal = root.with_name(f"{root.name}.journal")
    power = {"LD_PRELOAD": str(shim), "POWER_ROOT": str(root), "POWER_JOURNAL": str(journal)}
    subprocess.run(command, check=True, env={**os.environ, **env, **power}, capture_output=True)
    data, records, place = journal.read_bytes(), [], 0
    while place < len(data):
        kind, inode, number, length = _HEADER.unpack_from(data, place)
        place += _HEADER.size + length
        records.append(Record(Step(kind), inode, number, data[place - length : place]))
    return records


@dataclasses.dataclass
class File:
    """What was written to a file, what of it was synced, and what was done since."""

    content: bytearray = dataclasses.field(default_factory=bytearray)
    synced: bytes = b""
    unsynced: list[Record] = dataclasses.field(default_factory=list)


class Disk:
    """Files and names as a process sees them, and as they would be found after a power cut."""

    def __init__(self) -> None:
        self.files: dict[int, File] = {}
        self.names: dict[str, int] = {}
        self.synced_names: dict[str, int] = {}
        self.directories: dict[int, str] = {}
        self.mapped: set[int] = set()
        self.said = b""

    def do(self, done: Record) -> None:
        """Take one step."""
        name = done.data.decode() if done.step in _NAMED else ""
        match done.step:
            case Step.CREATE:
                self.files[done.inode] = File()
                self.names[name] = done.inode
            case Step.OPEN:
                assert self.names[name] == done.inode
                if done.number:
                    self._change(Record(Step.TRUNCATE, done.inode, 0, b""))
            case Step.OPEN_DIRECTORY:
                self.directories[done.inode] = name
            case Step.MAKE_DIRECTORY:
                self.directories[done.inode] = name
                self.names[name] = done.inode
            case Step.WRITE | Step.TRUNCATE:
                self._change(done)
            case Step.SYNC if done.inode in self.directories:
                self._sync_names(self.directories[done.inode])
            case Step.SYNC:
                file = self.files[done.inode]
                file.synced, file.unsynced = bytes(file.content), []
            case Step.MAP:
                self.mapped.add(done.inode)
            case Step.UNLINK:
                del self.names[name]
            case Step.RENAME:
                old, new = name.split("\0")
                self.names[new] = self.names.pop(old)
            case Step.SAY:
                self.said += done.data

    def _change(self, done: Record) -> None:
        file = self.files[done.inode]
        _apply(file.content, done)
        file.unsynced.append(done)

    def _sync_names(self, directory: str) -> None:
        gone = [name for name in self.synced_names if _directory(name) == directory]
        for name in gone:
            del self.synced_names[name]
        there = {name: inode for name, inode in self.names.items() if _directory(name) == directory}
        self.synced_names.update(there)

    def now(self) -> dict[str, bytes | None]:
        """Files by name as the process sees them; None is a directory. Not what is mapped."""
        return self._image(self.names, {inode: bytes(f.content) for inode, f in self.files.items()})

    def synced(self) -> dict[str, bytes | None]:
        """What a disk has that forgets all that was not synced."""
        return self._image(
            self.synced_names, {inode: file.synced for inode, file in self.files.items()}
        )

    def torn(self) -> dict[str, bytes | None]:
        """What a disk has that took everything in time, but of the last write only the half."""
        return self._image(
            self.names,
            {
                inode: _replayed(file, [*file.unsynced[:-1], *map(_half, file.unsynced[-1:])])
                for inode, file in self.files.items()
            },
        )

    def shuffled(self, seed: int) -> dict[str, bytes | None]:
        """What a disk has that took some of the sectors since the last sync, and not others."""
        choose = random.Random(seed)
        contents = {}
        for inode, file in self.files.items():
            kept = [part for done in file.unsynced for part in _sectors(done)]
            contents[inode] = _replayed(file, [part for part in kept if choose.random() < 0.5])
        return self._image(self.names, contents)

    def _image(
        self, names: Mapping[str, int], contents: Mapping[int, bytes]
    ) -> dict[str, bytes | None]:
        there = {name: contents.get(inode) for name, inode in names.items()}
        return {
            name: content
            for name, content in there.items()
            if names[name] not in self.mapped and all(up in names for up in _above(name))
        }


_NAMED = {
    Step.CREATE,
    Step.OPEN,
    Step.OPEN_DIRECTORY,
    Step.MAKE_DIRECTORY,
    Step.UNLINK,
    Step.RENAME,
}


def _apply(content: bytearray, done: Record) -> None:
    if done.step is Step.TRUNCATE:
        del content[done.number :]
        content.extend(bytes(done.number - len(content)))
        return
    if len(content) < done.number:
        content.extend(bytes(done.number - len(content)))
    content[done.number : done.number + len(done.data)] = done.data


def _replayed(file: File, records: Sequence[Record]) -> bytes:
    content = bytearray(file.synced)
    for done in records:
        _apply(content, done)
    return bytes(content)


def _half(done: Record) -> Record:
    return dataclasses.replace(done, data=done.data[: len(done.data) // 2])


def _sectors(done: Record) -> Iterator[Record]:
    """A write as the sectors that a disk takes it in."""
    if done.step is Step.TRUNCATE:
        yield done
        return
    first = 0
    while first < len(done.data):
        end = first + _SECTOR - (done.number + first) % _SECTOR
        yield Record(done.step, done.inode, done.number + first, done.data[first:end])
        first = end


def _directory(name: str) -> str:
    return name.rpartition("/")[0]


def _above(name: str) -> list[str]:
    """The directories above a name, but for the root."""
    return [str(path) for path in Path(name).parents if str(path) != "."]


def write_image(image: Mapping[str, bytes | None], root: Path) -> None:
    """Make a directory that has the files of an image."""
    root.mkdir()
    for name, content in sorted(image.items()):
        path = root / name
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)


def read_image(root: Path) -> dict[str, bytes | None]:
    """The files of a directory, by name; None is a directory."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in sorted(root.rglob("*"))
    }
