"""Who runs a rollout: a lock that the kernel lets go of when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import socket
from pathlib import Path
from typing import IO, Self

from holter_host.errors import HolterError


class RolloutBusyError(HolterError):
    """Error raised when somebody else runs a rollout, or one that has a device in common."""


def who() -> str:
    """Who this is: USER@HOST."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class Lock:
    """The lock on one rollout. Make it by `take`."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    @classmethod
    def take(cls, journal: Path, number: int) -> Self:
        """Hold rollout `number` of a journal until `release`, or until this process ends.

        Raises:
            RolloutBusyError: somebody holds it.
            OSError: the lock's file cannot be made.
        """
        file = _path(journal, number).open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _said(file)
            file.close()
            raise RolloutBusyError(
                f"Rollout {number} is being run by {holder}; wait until it is over, or stop it."
            ) from error
        file.truncate(0)
        file.write(f"{who()}, pid {os.getpid()}\n")
        file.flush()
        return cls(file)

    @staticmethod
    def holder(journal: Path, number: int) -> str:
        """Who holds rollout `number`; "" for nobody."""
        with contextlib.suppress(FileNotFoundError), _path(journal, number).open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return _said(file)
        return ""

    def release(self) -> None:
        """Let go of it."""
        self._file.close()


def _path(journal: Path, number: int) -> Path:
    folder = journal.with_name(f"{journal.name}.locks")
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder / str(number)


def _said(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "another process"
