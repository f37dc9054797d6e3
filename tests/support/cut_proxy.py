"""A TCP proxy that fails as networks do: it cuts, loses, delays and falls silent."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import NamedTuple, Self

CHUNK = 4096


class How(enum.Enum):
    """What becomes of a connection."""

    FIN = "both sides are told that it is over"
    RST = "both sides are told that it broke"
    BLACK_HOLE = "nobody is told anything, and nothing arrives any more"


class Cut(NamedTuple):
    """What becomes of the connection that is open when so many bytes came from the device."""

    after: int
    how: How


class CutProxy:
    """Forwards to `address` until it is told to cut.

    Attributes:
        address: where it listens.
        sent: bytes that went to the device since `lose_upload` or `lose_answer`.
        received: bytes that came from the device and were passed on.
        cuts: connections that it cut.
        connections: connections that were made to it.
        uploaded: set when `lose_answer` has let all of the upload through.
        silent: called when a connection has become a black hole.
        delay: seconds that each chunk from the device waits.
        refusing: whether a new connection is closed at once.
    """

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut_at = 0
        self._mute_at = 0
        self._plan: list[Cut] = []
        self._holes: set[asyncio.Event] = set()
        self.address = ""
        self.sent = 0
        self.received = 0
        self.cuts = 0
        self.connections = 0
        self.uploaded = asyncio.Event()
        self.silent: Callable[[], object] = lambda: None
        self.delay = 0.0
        self.refusing = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    async def idle(self) -> None:
        """Wait until every connection is over."""
        await asyncio.gather(*self._tasks)

    def retarget(self, address: str) -> None:
        """Forward new connections to another place, as when the device is started again."""
        self._host, _, port = address.rpartition(":")
        self._port = int(port)

    def lose_upload(self, size: int) -> None:
        """Cut the connection, once, when `size` more bytes went to the device."""
        self.sent, self._cut_at = 0, size

    def lose_answer(self, size: int) -> None:
        """Hold back what the device says as soon as `size` more bytes went to it, until `cut`."""
        self.sent, self._mute_at = 0, size

    def plan(self, cuts: Iterable[Cut]) -> None:
        """Do these cuts, in order; each counts bytes from the one before it."""
        self._plan = list(cuts)
        self.received = 0

    def cut(self, how: How = How.RST) -> None:
        """Cut every connection; new ones work."""
        self._cut_at = self._mute_at = 0
        self.cuts += bool(self._writers)
        if how is How.BLACK_HOLE:
            for hole in self._holes:
                hole.set()
            return
        for writer in self._writers:
            if how is How.FIN:
                writer.close()
                continue
            # Without lingering, closing a socket sends RST; one that is closed already sent it.
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        writers = {writer}
        hole = asyncio.Event()
        self._holes.add(hole)
        try:
            if self.refusing:
                return
            there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
            writers.add(there_writer)
            self._writers |= writers
            await asyncio.gather(
                self._up(reader, there_writer, hole), self._down(there_reader, writer, hole)
            )
        except OSError:
            pass  # nobody listens there at the moment
        finally:
            self._holes.discard(hole)
            self._writers -= writers
            for end in writers:
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hole: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if hole.is_set():
                    continue
                self.sent += len(data)
                if self._cut_at and self.sent >= self._cut_at:
                    self.cut()
                    return
                writer.write(data)
                await writer.drain()
                if self._mute_at and self.sent >= self._mute_at:
                    self.uploaded.set()
            writer.close()

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hole: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if hole.is_set() or (self._mute_at and self.uploaded.is_set()):
                    continue
                if self.delay:
                    await asyncio.sleep(self.delay)
                cut = self._due(data)
                if cut is None:
                    await self._pass(writer, data)
                    continue
                await self._pass(writer, data[: cut.after - self.received])
                self.received = 0
                await self._fail(cut.how, hole)
            if not hole.is_set():
                writer.close()

    def _due(self, data: bytes) -> Cut | None:
        """The cut that falls into the data."""
        if self._plan and self.received + len(data) >= self._plan[0].after:
            return self._plan.pop(0)
        return None

    async def _pass(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        self.received += len(data)
        writer.write(data)
        await writer.drain()

    async def _fail(self, how: How, hole: asyncio.Event) -> None:
        if how is How.BLACK_HOLE:
            self.cuts += 1
            hole.set()
            self.silent()
        else:
            self.cut(how)
