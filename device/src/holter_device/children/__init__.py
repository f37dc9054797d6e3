"""The child processes of holterd, and what each does first.

A child is started as `python -m holter_device.children.<name>` with its parent's pid as the first
argument; it reads framed messages on stdin and writes them on stdout. A frame is

    length of the payload (uint32, little-endian) | kind (uint8) | payload

A child ignores SIGINT and SIGTERM, which a terminal and systemd send to a whole group (the parent
decides), dies with the thread that made it, and exits at the end of its stdin, which is the real
guarantee.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys

FRAME = struct.Struct("<IB")
MAX_PAYLOAD = 256 * 2**20

_PR_SET_PDEATHSIG = 1


def begin(parent_pid: int) -> None:
    """Tie this process to its parent. Exits where the parent is already gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(0)


def write_frame(fd: int, kind: int, payload: bytes = b"") -> None:
    """Write one frame, whole. At most PIPE_BUF bytes are atomic on a pipe.

    Raises:
        OSError: the other end is gone, or `fd` is non-blocking and full.
    """
    frame = memoryview(FRAME.pack(len(payload), kind) + payload)
    while frame:
        frame = frame[os.write(fd, frame) :]


def read_frame(fd: int) -> tuple[int, bytes] | None:
    """Read one frame as (kind, payload); None at the end of the stream."""
    header = _read_exactly(fd, FRAME.size)
    if header is None:
        return None
    length, kind = FRAME.unpack(header)
    payload = _read_exactly(fd, length)
    return None if payload is None else (kind, payload)


def _read_exactly(fd: int, size: int) -> bytes | None:
    data = os.read(fd, size) if size else b""
    if len(data) == size:
        return data
    parts = [data]
    while data and size > (have := sum(map(len, parts))):
        data = os.read(fd, min(size - have, 2**20))
        parts.append(data)
    return b"".join(parts) if data else None
