"""Room on the disk that is kept back, so that holterd can start where others have filled it.

A session is durable before it begins, and what SQLite needs for that is some tens of KiB. So a file
of nothing holds a little more than that; where a disk is full it makes way, and takes afterwards
what is left. Samples never get it: they can wait in memory, and be streamed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from ..errors import DataDirectoryError

FILE_NAME = "holter.reserve"
# A start takes about 60 KiB: the WAL's index, and some pages of the WAL.
RESERVE_BYTES = 512 << 10
_LEAST_BYTES = 64 << 10

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Reserve:
    """The reserve of one data directory; for one thread at a time.

    Args:
        directory: where it is.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._size = self._path.stat().st_size if self._path.exists() else 0

    def spend(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do what writes all or nothing; where that is refused, once more with the reserve's room.

        Raises:
            DataDirectoryError: as `work`.
        """
        try:
            return work(*args, **kwargs)
        except DataDirectoryError:
            if not self._size:
                raise
        self._release()
        try:
            return work(*args, **kwargs)
        finally:
            self._hold_what_is_left()

    def hold(self) -> None:
        """Take the room where there is twice as much or more. Safe to repeat; raises nothing.

        It is not synced: what a power cut takes of it is taken again at the next start.
        """
        if self._size < RESERVE_BYTES and self._free_bytes() >= 2 * RESERVE_BYTES:
            self._take(RESERVE_BYTES)

    def _hold_what_is_left(self) -> None:
        size = min(RESERVE_BYTES, self._free_bytes())
        while size >= _LEAST_BYTES and not self._size:
            self._take(size)
            size //= 2

    def _free_bytes(self) -> int:
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize

    def _take(self, size: int) -> None:
        with contextlib.suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(file, 0, size)
                self._size = size
            except OSError:
                self._release()
            finally:
                os.close(file)

    def _release(self) -> None:
        self._size = 0
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
