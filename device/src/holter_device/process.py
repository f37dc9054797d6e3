"""The parent's end of a child process: start it, talk to it in frames, see it end.

Children are started from the event loop's thread, which must be the main one (a child dies with the
thread that made it). The environment is inherited, so that LD_PRELOAD reaches them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from .children import FRAME, MAX_PAYLOAD
from .errors import DeviceError

_READ_BYTES = 2**18


class ChildEndedError(DeviceError):
    """Error raised when a child ends while something is awaited from it.

    Attributes:
        returncode: its exit status; -N where signal N ended it.
    """

    def __init__(self, name: str, returncode: int) -> None:
        super().__init__(f"the {name} process {ending(returncode)}", returncode=returncode)
        self.returncode = returncode


class ChildStartError(DeviceError):
    """Error raised when the system does not start a child: no such launcher, or no memory."""

    def __init__(self, name: str, words: Sequence[str], error: OSError) -> None:
        super().__init__(f"the {name} process does not start: {words[0]}: {error.strerror}")


class Child:
    """One running child; made by `start`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.name = name
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._received = bytearray()
        self._reading = False

    @classmethod
    async def start(cls, name: str, *arguments: str, launcher: Sequence[str] = ()) -> Child:
        """Start `holter_device.children.<name>` with these arguments after the parent's pid.

        Raises:
            ChildStartError: the system does not let it.
        """
        words = command(name, *arguments, launcher=launcher)
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**18,
            )
        except OSError as error:
            raise ChildStartError(name, words, error) from error
        return cls(name, process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def send(self, kind: int, payload: bytes = b"") -> None:
        """Send one frame.

        Raises:
            ChildEndedError: it has ended.
        """
        try:
            self._stdin.write(FRAME.pack(len(payload), kind) + payload)
            await self._stdin.drain()
        except OSError as error:
            raise ChildEndedError(self.name, await self._process.wait()) from error

    async def receive(self) -> tuple[int, bytes]:
        """Receive one frame as (kind, payload). Nothing is lost where it is cancelled.

        Raises:
            ChildEndedError: it has ended, or wrote what is no frame.
        """
        while (frame := self._take_frame()) is None:
            if not (data := await self._read()):
                raise ChildEndedError(self.name, await self._process.wait())
            self._received += data
        return frame

    async def receive_many(self) -> list[tuple[int, bytes]]:
        """Receive one frame or more: all that one read of the pipe brought.

        Raises:
            ChildEndedError: as `receive`.
        """
        frames = [await self.receive()]
        while (frame := self._take_frame()) is not None:
            frames.append(frame)
        return frames

    async def _read(self) -> bytes:
        self._reading = True
        try:
            return await self._stdout.read(_READ_BYTES)
        finally:
            self._reading = False

    async def _ended(self) -> int:
        """Wait for its end, and take what it still wrote: asyncio waits for the pipe's end too."""
        while not self._reading and await self._read():
            pass
        return await self._process.wait()

    def _take_frame(self) -> tuple[int, bytes] | None:
        """The first frame of what was received, where it is whole."""
        if len(self._received) < FRAME.size:
            return None
        length, kind = FRAME.unpack_from(self._received)
        if length > MAX_PAYLOAD:
            send_kill(self._process.pid, self._process.returncode)
            return None
        end = FRAME.size + length
        if len(self._received) < end:
            return None
        payload = bytes(memoryview(self._received)[FRAME.size : end])
        del self._received[:end]
        return kind, payload

    async def wait(self) -> int:
        """Wait for its end. Returns its exit status."""
        return await self._process.wait()

    async def stop(self, grace_seconds: float = 2.0) -> int:
        """Close its stdin, wait, then kill. Returns its exit status; safe to repeat."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            async with asyncio.timeout(grace_seconds):
                return await self._ended()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End it at once. Returns its exit status; safe to repeat."""
        send_kill(self._process.pid, self._process.returncode)
        self._stdin.close()
        return await self._ended()


def command(name: str, *arguments: str, launcher: Sequence[str] = ()) -> tuple[str, ...]:
    """The command line of `holter_device.children.<name>`, a child of this process."""
    module = f"holter_device.children.{name}"
    return (*launcher, sys.executable, "-m", module, str(os.getpid()), *arguments)


def send_kill(pid: int, returncode: int | None) -> None:
    """Send SIGKILL to a child of asyncio's whose end is not known yet (None).

    Process.kill and transport.kill poll the child first. Where it has ended meanwhile they take its
    exit status from asyncio, which then warns of an unknown child and reports 255.
    """
    if returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def ending(returncode: int) -> str:
    """How a process ended, in words: "was ended by SIGSEGV", "ended with status 3"."""
    if returncode >= 0:
        return f"ended with status {returncode}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"was ended by signal {-returncode}"
