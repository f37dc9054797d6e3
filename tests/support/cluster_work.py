"""Work that travels to the workers of a cluster, so it must be of a module that they have too."""

from __future__ import annotations

import dataclasses
import os

from holter_host import Device


@dataclasses.dataclass(frozen=True)
class Pid:
    """Tells which process works on a device."""

    async def __call__(self, device: Device) -> int:
        """Its pid."""
        return os.getpid()


@dataclasses.dataclass(frozen=True)
class Broken:
    """Raises what is no error of Holter's."""

    async def __call__(self, device: Device) -> int:
        """Raise it."""
        raise ZeroDivisionError(device.address)
