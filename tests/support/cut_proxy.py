"""A TCP proxy that can lose an upload, or the answer to it, as a bad network does."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class CutProxy:
    """Forwards to `address` until it is told to cut.

    Attributes:
        address: where it listens.
        sent: bytes that went to the device since `lose_upload` or `lose_answer`.
        cuts: connections that it cut.
        uploaded: set when `lose_answer` has let all of the upload through.
    """

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut_at = 0
        self._mute_at = 0
        self.address = ""
        self.sent = 0
        self.cuts = 0
        self.uploaded = asyncio.Event()

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

    def lose_upload(self, size: int) -> None:
        """Cut the connection, once, when `size` more bytes went to the device."""
        self.sent, self._cut_at = 0, size

    def lose_answer(self, size: int) -> None:
        """Hold back what the device says as soon as `size` more bytes went to it, until `cut`."""
        self.sent, self._mute_at = 0, size

    def cut(self) -> None:
        """Cut every connection; new ones work."""
        self._cut_at = self._mute_at = 0
        self.cuts += bool(self._writers)
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        writers = {writer, there_writer}
        self._writers |= writers
        try:
            await asyncio.gather(self._up(reader, there_writer), self._down(there_reader, writer))
        finally:
            self._writers -= writers
            for end in writers:
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                self.sent += len(data)
                if self._cut_at and self.sent >= self._cut_at:
                    self.cut()
                    return
                writer.write(data)
                await writer.drain()
                if self._mute_at and self.sent >= self._mute_at:
                    self.uploaded.set()
            writer.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                if not (self._mute_at and self.uploaded.is_set()):
                    writer.write(data)
                    await writer.drain()
            writer.close()
