"""The device's clock: what time it is, and how to wait for a tick.

All times are nanoseconds on one monotonic clock, which a simulation may run faster than real time.
The wall clock is only ever estimated beside it.
"""

from __future__ import annotations

import ctypes
import dataclasses
import socket
import struct
import time
from pathlib import Path
from typing import Protocol

from .errors import ConfigError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIMER_ABSTIME = 1
_NANOS = 1_000_000_000
_BRACKETS = 3
# <linux/timex.h>
_STA_UNSYNC = 0x40


@dataclasses.dataclass(frozen=True, slots=True)
class UtcEstimate:
    """The wall clock: UTC is monotonic time + offset_ns, give or take uncertainty_ns.

    The uncertainty is that of reading two clocks, plus what the kernel says of its own wall clock.
    Where that is not `synchronized` to a time server, the true uncertainty is unknown.
    """

    offset_ns: int = 0
    uncertainty_ns: int = 0
    synchronized: bool = False


class Clock(Protocol):
    """A monotonic clock that one can wait on."""

    def monotonic_ns(self) -> int:
        """The device's monotonic time now, in ns."""

    def sleep_until(self, deadline_ns: int) -> None:
        """Return when `monotonic_ns()` has reached the deadline; at once where it is past."""

    def utc(self) -> UtcEstimate:
        """The wall clock, as it is seen now."""


class MonotonicClock:
    """CLOCK_MONOTONIC, waited on by absolute deadlines, so that errors never add up."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC now, in ns."""
        return time.monotonic_ns()

    def sleep_until(self, deadline_ns: int) -> None:
        """Sleep by clock_nanosleep(TIMER_ABSTIME), which has no drift."""
        deadline = _Timespec(*divmod(deadline_ns, _NANOS))
        while time.monotonic_ns() < deadline_ns:
            self._libc.clock_nanosleep(
                time.CLOCK_MONOTONIC, _TIMER_ABSTIME, ctypes.byref(deadline), None
            )

    def utc(self) -> UtcEstimate:
        """Read the wall clock between two reads of the monotonic one, and ask the kernel about it.

        Nothing is kept from call to call (it takes microseconds), so that a clock that was stepped
        is told at once, and as what it then is.
        """
        width, offset = min(_bracket() for _ in range(_BRACKETS))
        max_error_ns, synchronized = self._kernels_word()
        return UtcEstimate(offset, (width + 1) // 2 + max_error_ns, synchronized)

    def _kernels_word(self) -> tuple[int, bool]:
        """The greatest error of the wall clock in ns, and whether a time server holds it.

        Where there is no adjtimex(2), or a sandbox forbids it: 0 and False.
        """
        timex = _Timex()
        try:
            failed = self._libc.adjtimex(ctypes.byref(timex)) < 0
        except AttributeError:
            failed = True
        if failed:
            return 0, False
        return timex.max_error_us * 1000, not timex.status & _STA_UNSYNC


class ScaledClock:
    """CLOCK_MONOTONIC times `speed` since `epoch_ns`, at which both are equal."""

    def __init__(self, speed: float, epoch_ns: int) -> None:
        self._real = MonotonicClock()
        self._speed = speed
        self._epoch_ns = epoch_ns
        self._utc = self._real.utc()

    def monotonic_ns(self) -> int:
        """Simulated time now, in ns."""
        return self._epoch_ns + round((time.monotonic_ns() - self._epoch_ns) * self._speed)

    def sleep_until(self, deadline_ns: int) -> None:
        """Sleep until the simulated time is reached."""
        real = self._epoch_ns + round((deadline_ns - self._epoch_ns) / self._speed)
        self._real.sleep_until(real)

    def utc(self) -> UtcEstimate:
        """The wall clock at the epoch, from which simulated time runs on."""
        return self._utc


class FollowingClock:
    """A clock that is moved by who owns it: time is what the newest frame says it is."""

    def __init__(self, start_ns: int | None = None) -> None:
        self._now_ns = time.monotonic_ns() if start_ns is None else start_ns
        self._utc = MonotonicClock().utc()

    def advance_to(self, now_ns: int) -> None:
        """Move the clock on; it never goes back."""
        self._now_ns = max(self._now_ns, now_ns)

    def monotonic_ns(self) -> int:
        """The time that it was moved to, in ns."""
        return self._now_ns

    def sleep_until(self, deadline_ns: int) -> None:
        """Move to the deadline: nobody waits."""
        self.advance_to(deadline_ns)

    def utc(self) -> UtcEstimate:
        """The wall clock when the clock was made, from which its time runs on."""
        return self._utc


class LockstepClock:
    """A clock whose every tick is released by a test, over a Unix socket.

    `sleep_until` sends the deadline (8 bytes, little-endian, ns) and returns when 8 bytes come
    back: the time that it is then. A test that answers with a later time makes a read late.
    """

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.connect(path)
        self._following = FollowingClock(0)

    def monotonic_ns(self) -> int:
        """The newest released time, in ns; 0 before the first."""
        return self._following.monotonic_ns()

    def sleep_until(self, deadline_ns: int) -> None:
        """Wait for the release of this tick.

        Raises:
            ConnectionError: the test went away.
        """
        self._socket.send(struct.pack("<q", deadline_ns))
        answer = self._socket.recv(8)
        if not answer:
            raise ConnectionError("the lockstep clock's other end is gone")
        self._following.advance_to(*struct.unpack("<q", answer))

    def utc(self) -> UtcEstimate:
        """The wall clock when the clock was made."""
        return self._following.utc()

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanos", ctypes.c_long))


class _Timex(ctypes.Structure):
    """struct timex up to its status, with room for the rest; modes 0 only reads it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("max_error_us", ctypes.c_long),
        ("estimated_error_us", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def _bracket() -> tuple[int, int]:
    """One reading of the wall clock: how long it took, and its offset to the monotonic one."""
    before = time.monotonic_ns()
    wall = time.time_ns()
    after = time.monotonic_ns()
    return after - before, wall - (before + after) // 2


def make_clock(text: str) -> Clock:
    """Make the clock that `text` names, in a sampler process.

    Args:
        text: "monotonic", "scaled:SPEED:EPOCH_NS", "max" (nobody waits) or "lockstep:PATH".

    Raises:
        ConfigError: it names none.
    """
    kind, _, rest = text.partition(":")
    if kind == "monotonic" and not rest:
        return MonotonicClock()
    if kind == "max" and not rest:
        return FollowingClock(0)
    if kind == "scaled":
        speed, _, epoch = rest.partition(":")
        return ScaledClock(float(speed), int(epoch))
    if kind == "lockstep" and rest:
        return LockstepClock(rest)
    raise ConfigError(f"there is no clock {text!r}; use monotonic or lockstep:PATH", clock=text)


def boot_id() -> str:
    """Identity of this boot: two sessions with the same one share a monotonic clock."""
    if _BOOT_ID.exists():
        return _BOOT_ID.read_text().strip()
    return f"init-{Path('/proc/1').stat().st_ctime_ns}"
