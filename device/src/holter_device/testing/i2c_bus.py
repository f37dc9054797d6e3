"""A simulated I2C bus, in this process or served to others over a Unix socket.

The wire to the preloaded shim (i2c_shim.c), one SEQPACKET message each way, native byte order:

    'O' bus:i32                        -> errno:i32     open /dev/i2c-<bus>
    'S' address:i32                    -> errno:i32     claim an address
    'X' n:u8 n*(address flags length:u16) written data
                                       -> errno:i32 read data
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

_READ_FLAG = 0x0001  # I2C_M_RD
_ERRNO = struct.Struct("=i")
_MESSAGE = struct.Struct("=HHH")
_MAX_PACKET = 2**16

# Environment variable that tells the shim where the socket is.
SOCKET_VARIABLE = "HOLTER_I2C_SOCKET"


class I2cChip(Protocol):
    """A chip: what it does with the messages that are for it."""

    address: int

    def write(self, data: bytes) -> None:
        """Take a write message."""

    def read(self, length: int) -> bytes:
        """Answer a read message with `length` bytes."""


class Message(NamedTuple):
    """One message of a transaction: a read of `length` bytes, or a write of `data`."""

    address: int
    length: int = 0
    data: bytes | None = None


class SimulatedBus:
    """Chips on a bus; in this process it is an I2cBus itself.

    Attributes:
        chips: who answers, by address.
        fault: called with the number of each transaction, from 0; an errno that is not 0 makes it
            fail before it reaches a chip.
        open_errno: the errno of opening the bus; 0 lets it succeed.
        claim_errno: the errno of claiming an address.
        clock_hz: where it is not 0, a transaction takes as long as at this clock.
        transaction_count: transactions so far.
    """

    def __init__(self, *chips: I2cChip, clock_hz: float = 0) -> None:
        self.chips: dict[int, I2cChip] = {chip.address: chip for chip in chips}
        self.fault: Callable[[int], int] = lambda _: 0
        self.open_errno = 0
        self.claim_errno = 0
        self.clock_hz = clock_hz
        self.transaction_count = 0

    def claim(self, address: int) -> None:
        """As a kernel does that has no driver there, or `claim_errno`."""
        _raise(self.claim_errno)

    def transfer(self, address: int, write: bytes | None, read_length: int) -> bytes:
        """One transaction with one chip."""
        messages = [] if write is None else [Message(address, data=write)]
        return self.transact([*messages, Message(address, read_length)])

    def transact(self, messages: Iterable[Message]) -> bytes:
        """Messages with a repeated start between them; what was read, one after the other.

        Raises:
            OSError: EREMOTEIO where no chip acknowledges the address, as a Pi's adapter says.
        """
        number, self.transaction_count = self.transaction_count, self.transaction_count + 1
        _raise(self.fault(number))
        return b"".join(map(self._deliver, messages))

    def close(self) -> None:
        """Nothing is held."""

    def _deliver(self, message: Message) -> bytes:
        length = message.length if message.data is None else len(message.data)
        if self.clock_hz:
            # Start, address, stop, and nine clocks a byte.
            time.sleep((11 + 9 * length) / self.clock_hz)
        chip = self.chips.get(message.address)
        if chip is None:
            raise OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))
        if message.data is None:
            return chip.read(length)
        chip.write(message.data)
        return b""


class I2cBusServer:
    """Serves simulated buses to processes that have the shim preloaded; a context manager.

    Args:
        path: the socket to make.
        buses: the bus of each number; opening any other fails with ENOENT.
    """

    def __init__(self, path: Path, buses: dict[int, SimulatedBus]) -> None:
        self.path = path
        self._buses = buses
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> I2cBusServer:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        # First whoever accepts, then what was accepted: none can come between.
        _shut(self._listener)
        self._threads[0].join()
        for connection in self._connections:
            _shut(connection)
        for thread in self._threads[1:]:
            thread.join()

    def environment(self, shim: Path) -> dict[str, str]:
        """What a process needs in its environment to find these buses at /dev/i2c-N."""
        return {"LD_PRELOAD": str(shim), SOCKET_VARIABLE: str(self.path)}

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        bus = SimulatedBus()
        with connection:
            while request := _receive(connection):
                read = b""
                status = 0
                try:
                    if request[:1] == b"O":
                        bus = self._open(*_ERRNO.unpack_from(request, 1))
                    elif request[:1] == b"S":
                        bus.claim(*_ERRNO.unpack_from(request, 1))
                    else:
                        read = bus.transact(_messages(request))
                except OSError as error:
                    status = error.errno or errno.EIO
                try:
                    connection.send(_ERRNO.pack(status) + read)
                except OSError:
                    return

    def _open(self, number: int) -> SimulatedBus:
        bus = self._buses.get(number)
        if bus is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        _raise(bus.open_errno)
        return bus


def _messages(request: bytes) -> Sequence[Message]:
    count = request[1]
    offset = 2 + count * _MESSAGE.size
    messages = []
    for address, flags, length in _MESSAGE.iter_unpack(request[2:offset]):
        if flags & _READ_FLAG:
            messages.append(Message(address, length))
        else:
            messages.append(Message(address, data=request[offset : offset + length]))
            offset += length
    return messages


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_MAX_PACKET)
    except OSError:
        return b""


def _shut(connection: socket.socket) -> None:
    """Wake whoever waits on it, then close it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _raise(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))
