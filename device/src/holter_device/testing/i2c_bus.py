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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ..clock import Clock, MonotonicClock

_READ_FLAG = 0x0001  # I2C_M_RD
_ERRNO = struct.Struct("=i")
_MESSAGE = struct.Struct("=HHH")
_MAX_PACKET = 2**16

# Environment variable that tells the shim where the socket is.
SOCKET_VARIABLE = "HOLTER_I2C_SOCKET"


class I2cChip(Protocol):
    """A chip: what it does with the messages that are for it."""

    address: int

    def write(self, data: bytes, delay_ns: float = 0) -> None:
        """Take a write message, whose last byte is acknowledged `delay_ns` from now."""

    def read(self, length: int, delay_ns: float = 0, byte_ns: float = 0) -> bytes:
        """Answer a read message with `length` bytes.

        Its address is acknowledged `delay_ns` from now, and each byte takes `byte_ns`.
        """


class Message(NamedTuple):
    """One message of a transaction: a read of `length` bytes, or a write of `data`."""

    address: int
    length: int = 0
    data: bytes | None = None


class SimulatedBus:
    """Chips on a bus; in this process it is an I2cBus itself.

    In bus time a START or repeated START and a STOP take a clock each, a byte or an address nine;
    chips are told when their bytes go over the bus, and a transaction takes its time on `clock`.

    Args:
        chips: who is on it.
        clock_hz: its clock; 0 for a bus that takes no time.
        host_ns: what the host takes before the START and after the STOP of each transaction.
        clock: what takes the time; a FollowingClock makes it simulated.

    Attributes:
        chips: who answers, by address.
        fault: called with the number of each transaction, from 0; an errno that is not 0 makes it
            fail before it reaches a chip.
        open_errno: the errno of opening the bus; 0 lets it succeed.
        claim_errno: the errno of claiming an address.
        clock_hz: its clock; may be changed while it runs.
        transaction_count: transactions so far.
    """

    def __init__(
        self,
        *chips: I2cChip,
        clock_hz: float = 0,
        host_ns: tuple[int, int] = (0, 0),
        clock: Clock | None = None,
    ) -> None:
        self.chips: dict[int, I2cChip] = {chip.address: chip for chip in chips}
        self.fault: Callable[[int], int] = lambda _: 0
        self.open_errno = 0
        self.claim_errno = 0
        self.clock_hz = clock_hz
        self.transaction_count = 0
        self._host_ns = host_ns
        self._clock = clock or MonotonicClock()

    def claim(self, address: int) -> None:
        """As a kernel does that has no driver there, or `claim_errno`."""
        _raise(self.claim_errno)

    def transfer(self, address: int, write: bytes | None, read_length: int) -> bytes:
        """One transaction with one chip."""
        messages = [] if write is None else [Message(address, data=write)]
        if read_length:
            messages.append(Message(address, read_length))
        return self.transact(messages)

    def transact(self, messages: Iterable[Message]) -> bytes:
        """Messages with a repeated start between them; what was read, one after the other.

        Raises:
            OSError: EREMOTEIO where no chip acknowledges the address, as a Pi's adapter says.
        """
        number, self.transaction_count = self.transaction_count, self.transaction_count + 1
        _raise(self.fault(number))
        begun_ns = self._clock.monotonic_ns()
        clock_ns = 1e9 / self.clock_hz if self.clock_hz else 0.0
        before_ns, after_ns = self._host_ns
        taken_ns = float(before_ns)
        read = bytearray()
        try:
            for message in messages:
                taken_ns += 10 * clock_ns  # START, and the address with its acknowledge
                chip = self._chip(message.address)
                byte_ns = 9 * clock_ns
                if message.data is None:
                    read += chip.read(message.length, taken_ns, byte_ns)
                    taken_ns += message.length * byte_ns
                else:
                    taken_ns += len(message.data) * byte_ns
                    chip.write(message.data, taken_ns)
        finally:
            taken_ns += clock_ns + after_ns  # STOP
            if taken_ns:
                self._clock.sleep_until(begun_ns + round(taken_ns))
        return bytes(read)

    def close(self) -> None:
        """Nothing is held."""

    def _chip(self, address: int) -> I2cChip:
        chip = self.chips.get(address)
        if chip is None:
            raise OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))
        return chip


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
