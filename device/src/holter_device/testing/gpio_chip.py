"""A GPIO chip whose lines a test drives, as the kernel shows it to gpiod (<linux/gpio.h>, v2)."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import threading
import time
from pathlib import Path

SOCKET_VARIABLE = "HOLTER_GPIO_SOCKET"

_WORD = struct.Struct("=I")
_OPEN = 0
_GET_CHIP_INFO = 0x8044B401
_GET_LINE_INFO = 0xC100B405
_GET_LINE = 0xC250B407
_GET_VALUES = 0xC010B40E
_CHIP_INFO = struct.Struct("=32s32sI")
_LINE_INFO_OFFSET = 64
_COUNT_OFFSET = 560
_VALUES = struct.Struct("=2Q")
_EVENT = struct.Struct("=Q4I24x")
_RISING, _FALLING = 1, 2
_MAX_PACKET = 2048


class GpioChipServer:
    """Serves one chip to processes with the shim `gpio_shim`; a context manager.

    Args:
        path: the socket to make.
        number: N of /dev/gpiochipN; opening any other fails with ENOENT.
        line_count: lines of the chip.

    Attributes:
        open_errno: with what opening the chip fails; 0 succeeds.
        request_errno: with what requesting lines fails; 0 succeeds.
        reads_errno: with what reading their levels fails; 0 succeeds.
    """

    def __init__(self, path: Path, number: int = 0, line_count: int = 54) -> None:
        self.open_errno = self.request_errno = self.reads_errno = 0
        self._path, self._number, self._line_count = path, number, line_count
        self._high = [False] * line_count
        self._requested: list[int] = []
        self._events: socket.socket | None = None
        self._seen = [0] * line_count
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> GpioChipServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.hang_up()

    def environment(self, shim: Path) -> dict[str, str]:
        """What a process needs in its environment to find the chip."""
        return {"LD_PRELOAD": str(shim), SOCKET_VARIABLE: str(self._path)}

    def drive(
        self, number: int, *, high: bool, time_ns: int | None = None, dropped: bool = False
    ) -> None:
        """Drive a line; whoever requested it is told.

        Args:
            number: the line.
            high: its level from now on.
            time_ns: when the kernel says that it was, on CLOCK_MONOTONIC; now where it is None.
            dropped: whether the kernel's queue was full, so that the edge was dropped from it.
        """
        self._high[number] = high
        if number not in self._requested or self._events is None:
            return
        self._seen[number] += 1
        at_ns = time.monotonic_ns() if time_ns is None else time_ns
        kind = _RISING if high else _FALLING
        if not dropped:
            event = _EVENT.pack(at_ns, kind, number, sum(self._seen), self._seen[number])
            self._events.send(event)

    def hang_up(self) -> None:
        """Take the chip away from whoever requested its lines."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            request = connection.recv(_MAX_PACKET)
            (word,) = _WORD.unpack_from(request)
            status, data = self._answer(word, request[_WORD.size :])
            if word == _GET_LINE and not status:
                self._events = connection
            connection.send(_WORD.pack(status) + data)
            if self._events is not connection:
                connection.close()

    def _answer(self, word: int, data: bytes) -> tuple[int, bytes]:
        """An errno, and what the struct of a request becomes."""
        if word == _OPEN:
            found = _WORD.unpack(data)[0] == self._number
            return self.open_errno if found else errno.ENOENT, data
        if word == _GET_CHIP_INFO:
            name = f"gpiochip{self._number}".encode()
            return 0, _CHIP_INFO.pack(name, b"simulated", self._line_count)
        if word == _GET_LINE_INFO:
            return 0, bytes(_LINE_INFO_OFFSET) + data[_LINE_INFO_OFFSET:]
        if word == _GET_LINE:
            (count,) = _WORD.unpack_from(data, _COUNT_OFFSET)
            self._requested = list(struct.unpack_from(f"={count}I", data))
            return self.request_errno, data
        if word == _GET_VALUES:
            _, mask = _VALUES.unpack(data)
            high = sum(1 << bit for bit, line in enumerate(self._requested) if self._high[line])
            return self.reads_errno, _VALUES.pack(high & mask, mask)
        return errno.ENOTTY, data
