"""A wall clock that a test steps, for processes that it starts; every other clock is left alone."""

from __future__ import annotations

import contextlib
import functools
import mmap
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from holter_device.testing.shim import compile_shim

STA_UNSYNC = 0x40
_WALL = struct.Struct("=3q")


class WallClock:
    """What processes with the environment take for CLOCK_REALTIME, and for the kernel's word on it.

    Attributes:
        environment: what a process needs in its environment.
    """

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_WALL.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._shift_ns = 0
        self.environment = {"LD_PRELOAD": str(_shim()), "HOLTER_WALL_CLOCK": str(path)}

    def step(self, step_ns: int) -> None:
        """Set the wall clock forward, or back; at once, in every process."""
        self._shift_ns += step_ns
        struct.pack_into("=q", self._map, 0, self._shift_ns)

    def say(self, max_error_us: int, status: int) -> None:
        """What adjtimex tells from now on; a max_error_us below 0 forbids it."""
        struct.pack_into("=2q", self._map, 8, max_error_us, status)

    def close(self) -> None:
        """Let go of the memory."""
        self._map.close()


@contextlib.contextmanager
def wall_clock(folder: Path) -> Iterator[WallClock]:
    """A wall clock that is right at first, and synchronized with no error.

    Args:
        folder: where it keeps its file.
    """
    clock = WallClock(folder / "wall-clock")
    try:
        yield clock
    finally:
        clock.close()


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="shim-")


@functools.cache
def _shim() -> Path:
    """The shim, built once in a run."""
    return compile_shim(Path(__file__).with_name("wall_clock.c"), Path(_directory().name))
