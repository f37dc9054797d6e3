"""A clock that a test holds: the other end of clock.LockstepClock."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

_DEADLINE = struct.Struct("<q")


class LockstepClockServer:
    """Releases the ticks that a sampler waits for; a context manager.

    Args:
        path: the socket to make.
        time_of: the time at which a deadline is released. A later one makes that read late.

    Attributes:
        text: what a Config's `clock` must be.
        asked_count: ticks that were asked for so far, the one that is waited for among them.
    """

    def __init__(
        self, path: Path, time_of: Callable[[int], int] = lambda deadline: deadline
    ) -> None:
        self.text = f"lockstep:{path}"
        self.asked_count = 0
        self._time_of = time_of
        self._now_ns = 0
        self._permits: float = 0
        self._changed = threading.Condition()
        self._closed = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LockstepClockServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for end in (self._listener, self._connection):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        self._thread.join()

    def now_ns(self) -> int:
        """The newest released time, in ns; 0 before the first."""
        return self._now_ns

    def release(self, tick_count: float = float("inf")) -> None:
        """Let so many more ticks come; every one from now on, by default."""
        with self._changed:
            self._permits += tick_count
            self._changed.notify_all()

    def _run(self) -> None:
        """Serve one sampler after the other."""
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            with accepted as connection, contextlib.suppress(OSError):
                with self._changed:
                    # Whoever closes either sees this connection, or is seen here.
                    if self._closed:
                        return
                    self._connection = connection
                while request := connection.recv(_DEADLINE.size):
                    self.asked_count += 1
                    if not self._permit():
                        return
                    (deadline_ns,) = _DEADLINE.unpack(request)
                    self._now_ns = max(self._now_ns, self._time_of(deadline_ns))
                    connection.send(_DEADLINE.pack(self._now_ns))

    def _permit(self) -> bool:
        """Wait for a tick to be released; False where the test is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._permits > 0)
            self._permits -= 1
            return not self._closed
