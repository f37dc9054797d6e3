"""The I2C bus: a seam, the kernel's /dev/i2c-N behind it, and what its errors mean to people.

smbus2 is imported here and nowhere else, when a bus is opened.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..errors import (
    AddressBusyError,
    BusMissingError,
    BusPermissionError,
    NoAnswerError,
    SourceError,
)

# <linux/i2c-dev.h>, <linux/i2c.h>
_I2C_TIMEOUT = 0x0702
_I2C_SLAVE = 0x0703
_I2C_FUNC_I2C = 0x00000001

# How long the adapter waits for a chip, in units of 10 ms; its default is a second.
_TIMEOUT_UNITS = 2


class I2cBus(Protocol):
    """One I2C bus. Every method raises OSError with the kernel's errno."""

    def claim(self, address: int) -> None:
        """Make sure that no kernel driver owns the address (EBUSY)."""

    def transfer(self, address: int, write: bytes | None, read_length: int) -> bytes:
        """One transaction: a write, where there is one, then after a repeated start a read.

        Returns:
            `read_length` bytes; 0 means that nothing is read.
        """

    def close(self) -> None:
        """Let go of the bus. Safe to repeat."""


OpenBus = Callable[[int], I2cBus]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """What people must be told of a chip.

    Attributes:
        name: as it is printed on it.
        kernel_module: the module of the kernel's own driver for it.
        address_hint: what chooses its address, in words.
        max_bus_hz: the bus clock that it can take.
    """

    name: str
    kernel_module: str
    address_hint: str
    max_bus_hz: float


class KernelBus:
    """/dev/i2c-N, through smbus2."""

    def __init__(self, number: int) -> None:
        import smbus2

        self._message = smbus2.i2c_msg
        self._bus = smbus2.SMBus(number)
        assert self._bus.fd is not None
        self._fd = self._bus.fd
        if not self._bus.funcs & _I2C_FUNC_I2C:
            self._bus.close()
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        fcntl.ioctl(self._fd, _I2C_TIMEOUT, _TIMEOUT_UNITS)

    def claim(self, address: int) -> None:
        """Ask for the address as SMBus calls do; plain transfers would not notice an owner."""
        fcntl.ioctl(self._fd, _I2C_SLAVE, address)

    def transfer(self, address: int, write: bytes | None, read_length: int) -> bytes:
        """One I2C_RDWR call."""
        messages = []
        if write is not None:
            messages.append(self._message.write(address, write))
        if read_length:
            messages.append(self._message.read(address, read_length))
        self._bus.i2c_rdwr(*messages)
        return bytes(messages[-1]) if read_length else b""

    def close(self) -> None:
        """Close the device file."""
        self._bus.close()


def open_bus(number: int) -> I2cBus:
    """Open /dev/i2c-`number`. Raises OSError."""
    return KernelBus(number)


def source_error(error: OSError, bus: int, address: int, chip: Chip) -> SourceError:
    """What an error of the bus means: a sentence of its own for each errno."""
    path, place = f"/dev/i2c-{bus}", f"address {address:#04x} on /dev/i2c-{bus}"
    kind, text = {
        errno.ENOENT: (
            BusMissingError,
            f"there is no I2C bus {path}{_other_buses()}; enable I2C (sudo raspi-config, Interface"
            " Options, I2C) and restart, or choose another bus with --bus",
        ),
        errno.EACCES: (
            BusPermissionError,
            f"this user may not open {path}; add the user to group i2c (sudo usermod -aG i2c"
            " $USER) and log in again",
        ),
        errno.EBUSY: (
            AddressBusyError,
            f"a kernel driver owns {place}; unload it (sudo modprobe -r {chip.kernel_module}) or"
            " take its overlay out of config.txt",
        ),
        errno.ETIMEDOUT: (
            NoAnswerError,
            f"the bus timed out at {place}: SDA or SCL is held low; check the wiring, the pull-ups"
            " and the chip's supply",
        ),
        errno.EIO: (
            NoAnswerError,
            f"the bus failed at {place} (input/output error): check for loose wires, long cables"
            " and two chips at one address",
        ),
        errno.EOPNOTSUPP: (
            SourceError,
            f"{path} speaks SMBus only, and the {chip.name} needs plain I2C transfers; choose"
            " another bus with --bus",
        ),
    }.get(error.errno or 0, (SourceError, f"{path} failed: {error.strerror or error}"))
    if error.errno in (errno.EREMOTEIO, errno.ENXIO, errno.ENODEV):
        kind = NoAnswerError
        text = (
            f"no chip answers at {place}; check its power, SDA, SCL and ground, and its address:"
            f" {chip.address_hint} (i2cdetect -y {bus} shows them)"
        )
    elif error.errno in (errno.EPERM, errno.EROFS):
        kind, text = BusPermissionError, f"this user may not use {path}: {error.strerror}"
    facts = {"bus": bus, "address": f"{address:#04x}", "errno": error.errno or 0}
    return kind(text, **facts)


def _other_buses() -> str:
    found = sorted(str(path) for path in Path("/dev").glob("i2c-*"))
    return f" (there is {', '.join(found)})" if found else ""
