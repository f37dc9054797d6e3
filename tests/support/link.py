"""A link that dies: a relay to holterd's Unix socket, and a network of its own for holterd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, Self

import pytest

# How a link dies: both ends are told in order, by a reset, or not at all.
Death = Literal["fin", "rst", "hole"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger


class DyingLink:
    """Relays what goes to a Unix socket, until it is told to die.

    It dies in the middle of the next bytes that the device sends, half of which still arrive. What
    connects while it is down fares alike; what connects after `up` works.

    Attributes:
        address: where it listens.
        died_count: connections that died so far.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._death: Death | None = None
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self.address = ""
        self.died_count = 0

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
        self._over.set()
        for end in self._ends:
            end.transport.abort()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    def down(self, death: Death) -> None:
        """Die with the next bytes."""
        self._death = death

    def up(self) -> None:
        """Let new connections through; the dead ones stay dead."""
        self._death = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._ends.add(writer)
        try:
            if self._death is not None or await self._connect(reader, writer):
                await self._die(writer)
        finally:
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Be the link; whether it died."""
        try:
            there, back = await asyncio.open_unix_connection(self._path)
        except OSError:
            return False  # no holterd is running
        self._ends.add(back)
        self._tasks.add(asyncio.create_task(_pump(reader, back)))
        try:
            return await self._relay(there, writer)
        finally:
            back.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass on what the device sends; whether the link died of it."""
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if self._death is not None:
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    return True
                writer.write(data)
                await writer.drain()
        return False

    async def _die(self, writer: asyncio.StreamWriter) -> None:
        self.died_count += 1
        if self._death == "hole":
            await self._over.wait()
        elif self._death == "rst":
            end = writer.get_extra_info("socket")
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on all that comes, as long as both ends are open."""
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


class Network:
    """A network namespace at the other end of a cable, which can be pulled.

    Attributes:
        host: the address of what listens in there.
        launcher: words that run a command in there.
    """

    def __init__(self, name: str) -> None:
        self._cable = f"{name}-a"
        self.host = "10.213.0.2"
        self.launcher = ("ip", "netns", "exec", name)

    def pull(self) -> None:
        """Take the link down; nobody is told."""
        _ip("link", "set", self._cable, "down")

    def plug(self) -> None:
        """Take the link up again."""
        _ip("link", "set", self._cable, "up")


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network namespace on a cable of its own; skips where they are not permitted."""
    name = f"holter{os.getpid()}"
    try:
        _ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        pytest.skip(f"a network namespace needs iproute2 and CAP_SYS_ADMIN: {said}".strip())
    try:
        there, here = f"{name}-b", f"{name}-a"
        _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        _ip("address", "add", "10.213.0.1/30", "dev", here)
        _ip("link", "set", here, "up")
        _ip("-n", name, "address", "add", "10.213.0.2/30", "dev", there)
        _ip("-n", name, "link", "set", there, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield Network(name)
    finally:
        _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
