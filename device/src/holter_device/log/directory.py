"""The data directory: made when it is missing, and held by one holterd at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..errors import AlreadyRunningError, DataDirectoryError

_LOCK_NAME = "holter.lock"


class DirectoryLock:
    """An flock on the data directory, which ends with the process that holds it."""

    def __init__(self, directory: Path) -> None:
        """Make the directory and take the lock.

        Raises:
            AlreadyRunningError: another process holds it.
            DataDirectoryError: the directory cannot be made or written.
        """
        try:
            _make(directory)
            self._file = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unusable(directory, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Over what is there: a file that was emptied first might get no room on a full disk.
            os.pwrite(self._file, f"{os.getpid():<10}\n".encode(), 0)
        except BlockingIOError as error:
            owner = self._owner()
            self.release()
            raise AlreadyRunningError(
                f"holterd is already running as pid {owner} on the data directory {directory}: "
                "stop it, or choose another directory with --data-dir",
                directory=directory,
                pid=owner,
            ) from error
        except OSError as error:
            self.release()
            raise _unusable(directory, error) from error

    def release(self) -> None:
        """Let another process have the directory."""
        os.close(self._file)

    def _owner(self) -> str:
        return os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"


def _make(directory: Path) -> None:
    """Make a directory, and its parents, so that a power cut does not take them away again."""
    if directory.is_dir():
        return
    if not directory.parent.is_dir():
        _make(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    parent = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _unusable(directory: Path, error: OSError) -> DataDirectoryError:
    advice = "choose a directory that this user may write with --data-dir"
    return DataDirectoryError(
        f"the data directory {directory} cannot be used ({error.strerror}): {advice}",
        directory=directory,
        errno=error.errno,
    )
