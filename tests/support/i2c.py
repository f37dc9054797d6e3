"""A virtual /dev/i2c-1 with a converter on it, for processes that a test starts."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from holter.frontend import FrontEnd
from holter_device.testing import (
    Ads1115Chip,
    I2cBusServer,
    Pcf8591Chip,
    Signal,
    SimulatedBus,
    build_shim,
)

AnyChip = TypeVar("AnyChip", Pcf8591Chip, Ads1115Chip)


@dataclasses.dataclass
class Served(Generic[AnyChip]):
    """A bus with one chip.

    Attributes:
        chip: the chip, with its journal; `chip.inputs` is what is connected.
        bus: its bus: faults, errnos and bus time are set here.
        environment: what a process needs in its environment to find it at /dev/i2c-1.
    """

    chip: AnyChip
    bus: SimulatedBus
    environment: dict[str, str]


class VirtualI2c(Served[Pcf8591Chip]):
    """A bus with a PCF8591."""

    def frames_since(self, start_ns: int) -> list[bytes]:
        """The frames that were read from `start_ns` on, by a driver that does not average.

        A read's frame is all of its conversions but the last, which nobody fetched.
        """
        return [
            bytes(conversion.code for conversion in read.conversions[:-1])
            for read in list(self.chip.reads)
            if read.time_ns >= start_ns
        ]


@contextlib.contextmanager
def virtual_i2c(
    inputs: Sequence[Signal] = (),
    *,
    now_ns: Callable[[], int] = time.monotonic_ns,
    number: int = 1,
) -> Iterator[VirtualI2c]:
    """Serve a PCF8591 at 0x48 of /dev/i2c-<number> to processes with the environment.

    Args:
        inputs: what is connected to A0 up to A3.
        now_ns: the chip's time; for lockstep, the `now_ns` of a LockstepClockServer.
        number: the bus.
    """
    chip = Pcf8591Chip(inputs, now_ns=now_ns)
    bus = SimulatedBus(chip)
    with _served(bus, number) as environment:
        yield VirtualI2c(chip, bus, environment)


@contextlib.contextmanager
def virtual_ads1115(inputs: Sequence[Signal] = ()) -> Iterator[Served[Ads1115Chip]]:
    """Serve an ADS1115 at 0x48 of /dev/i2c-1 to processes with the environment.

    Args:
        inputs: what is connected to A0 up to A3.
    """
    chip = Ads1115Chip(inputs)
    bus = SimulatedBus(chip)
    with _served(bus, 1) as environment:
        yield Served(chip, bus, environment)


@contextlib.contextmanager
def _served(bus: SimulatedBus, number: int) -> Iterator[dict[str, str]]:
    """The environment in which a bus is /dev/i2c-<number>."""
    with (
        tempfile.TemporaryDirectory(prefix="i2c-") as directory,
        I2cBusServer(Path(directory) / "bus", {number: bus}) as server,
    ):
        yield server.environment(built_shim())


@functools.cache
def _shim_directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="shim-")


@functools.cache
def built_shim() -> Path:
    """The shim, built once in a run."""
    return build_shim(Path(_shim_directory().name))


def record_volts(record: Path, seconds: float) -> npt.NDArray[np.float64]:
    """What the front end gives the converter for lead MLII of a record, in volts, at its rate."""
    with warnings.catch_warnings(action="ignore"):  # pandas, which wfdb uses
        import wfdb

        header = wfdb.rdheader(str(record))
        channel = header.sig_name.index("MLII")
        frames = round(seconds * header.fs)
        signal = wfdb.rdrecord(str(record), sampto=frames, channels=[channel]).p_signal[:, 0]
    front_end = FrontEnd()
    millivolts = front_end.band_limit(signal, header.fs)
    return millivolts / 1000 * front_end.gain + front_end.baseline_volts
