"""A child process that answers each frame with one: the classifier's pipes, without a detour.

`process.Child` reads through a StreamReader and a task; here the loop's own callback hands an
answer to who waits for it, which spares about 6 us of CPU a window (bench/classify.py).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import deque
from collections.abc import Sequence
from typing import cast

from .children import FRAME, MAX_PAYLOAD
from .process import ChildEndedError, ChildStartError, command, ending, send_kill

Answer = tuple[int, bytes]

_PIECE_BYTES = 2**20
_STDERR_BYTES = 2000

_log = logging.getLogger(__name__)


class Link(asyncio.SubprocessProtocol):
    """One running child; made by `start`. Answers come in the order of the frames.

    What it says on stderr is logged when it does not end well.

    Attributes:
        greeting: the frame that the child sends first, unasked.
        ended: whether the child has ended.
    """

    def __init__(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        self._name = name
        self._buffer = bytearray()
        self._said = b""
        self._end: asyncio.Future[int] = loop.create_future()
        self.greeting: asyncio.Future[Answer] = loop.create_future()
        self._waiting = deque([self.greeting])
        self.ended = False
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def start(cls, name: str, *arguments: str, launcher: Sequence[str] = ()) -> Link:
        """Start `holter_device.children.<name>` with these arguments after the parent's pid.

        Raises:
            ChildStartError: the system does not let it.
        """
        loop = asyncio.get_running_loop()
        words = command(name, *arguments, launcher=launcher)
        try:
            _, link = await loop.subprocess_exec(lambda: cls(name), *words)
        except OSError as error:
            raise ChildStartError(name, words, error) from error
        return link

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._pid

    def send(self, kind: int, payload: bytes) -> None:
        """Send a frame that has no answer; nothing where the child has ended."""
        self._write(FRAME.pack(len(payload), kind) + payload)

    def ask(self, kind: int, payload: bytes) -> asyncio.Future[Answer]:
        """Send a frame.

        Returns:
            Its answer, as (kind, payload), or ChildEndedError.
        """
        answer = self._expect()
        self.send(kind, payload)
        return answer

    async def upload(self, kind: int, payload: bytes) -> Answer:
        """As `ask`, for a large payload: piece by piece, so that the loop and memory are free.

        Raises:
            ChildEndedError: the child has ended, or ends before it has answered.
        """
        answer = self._expect()
        try:
            self._write(FRAME.pack(len(payload), kind))
            for start in range(0, len(payload), _PIECE_BYTES):
                await self._writable.wait()
                self._write(memoryview(payload)[start : start + _PIECE_BYTES])
            return await answer
        except asyncio.CancelledError:
            self.signal_kill()  # half a frame may be on its way
            raise

    def signal_kill(self) -> None:
        """Send SIGKILL; whoever waits for an answer is told when the process is gone."""
        send_kill(self.pid, self._transport.get_returncode())

    async def kill(self) -> int:
        """End it at once. Returns its exit status; safe to repeat."""
        self.signal_kill()
        return await asyncio.shield(self._end)

    def _expect(self) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self.ended:
            answer.set_exception(self._error())
        else:
            self._waiting.append(answer)
        return answer

    def _write(self, data: bytes | memoryview) -> None:
        if not self.ended:
            self._stdin.write(data)

    def pause_writing(self) -> None:
        """The pipe is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The pipe has room."""
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        self._pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Hand each whole frame to who waits for it; keep the end of what it says on stderr."""
        if fd == 2:
            self._said = (self._said + data)[-_STDERR_BYTES:]
            return
        self._buffer += data
        while len(self._buffer) >= FRAME.size:
            length, kind = FRAME.unpack_from(self._buffer)
            end = FRAME.size + length
            if length > MAX_PAYLOAD or not self._waiting:
                self.signal_kill()
                return
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[FRAME.size : end])
            del self._buffer[:end]
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_result((kind, payload))

    def connection_lost(self, exc: Exception | None) -> None:
        """The process is gone, and all that it wrote has been read."""
        self.ended = True
        self._writable.set()
        returncode = self._transport.get_returncode() or 0
        self._end.set_result(returncode)
        self._transport.close()
        if returncode not in (0, -signal.SIGKILL):
            said = self._said.decode(errors="replace").strip()
            _log.warning("the %s process %s: %s", self._name, ending(returncode), said)
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(self._error())
                answer.exception()  # where a start was cancelled, nobody is left to be told

    def _error(self) -> ChildEndedError:
        return ChildEndedError(self._name, self._end.result())
