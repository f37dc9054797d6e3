"""A Raspberry Pi whose chip plays a real record, whatever happens to holterd."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from holter_device.testing import LockstepClockServer, Read, played
from holter_host import Device, Session, connect
from support.daemon import Daemon, holterd
from support.i2c import VirtualI2c, record_volts, virtual_i2c
from support.ledger import Part

RATE_HZ = 360


@dataclasses.dataclass
class Run:
    """One run of holterd, which is one session.

    Attributes:
        daemon: the process.
        device: a connection to it.
        clock: releases its ticks.
        session: what it samples.
        reads: the chip's journal of this run, complete when the run is over.
        codes: what the record is at each frame of the session, as the chip converts it.
    """

    daemon: Daemon
    device: Device
    clock: LockstepClockServer
    session: Session
    reads: list[Read]
    codes: bytes

    def assert_played(self, part: Part) -> None:
        """Each count is what the chip converted at that very tick, which is the record's value."""
        at = {read.time_ns: read.conversions[0].code for read in self.reads}
        for first, counts in part.runs():
            ticks = range(first, first + len(counts))
            assert counts == bytes(at[self.session.monotonic_nanos(tick)] for tick in ticks)
            assert counts == self.codes[first : first + len(counts)]


class PlayingPi:
    """Its chip stays as it is while holterd is killed and started again.

    Each session plays the record from the place where the one before would have come after a
    minute, so that no session's counts could be taken for another's.

    Attributes:
        listen: where holterd is: a Unix socket, unless it is changed.
    """

    def __init__(self, folder: Path, volts: npt.NDArray[np.float64]) -> None:
        self.listen = f"unix:{folder / 'socket'}"
        self._folder = folder
        self._volts = volts
        self._runs = 0
        self._clock: LockstepClockServer | None = None
        self._i2c: VirtualI2c

    @classmethod
    @contextlib.contextmanager
    def with_record(cls, folder: Path, record: Path, seconds: float) -> Iterator[Self]:
        """Connect the chip to lead MLII of a record, behind the front end."""
        pi = cls(folder, record_volts(record, seconds))
        with virtual_i2c(now_ns=pi.now_ns) as pi._i2c:
            yield pi

    def now_ns(self) -> int:
        """The chip's time: that of the run."""
        return self._clock.now_ns() if self._clock else 0

    @contextlib.asynccontextmanager
    async def run(self, *flags: str, launcher: Sequence[str] = ()) -> AsyncIterator[Run]:
        """Run holterd at the same address, with the data of the run before."""
        self._runs += 1
        path = self._folder / f"clock-{self._runs}"
        volts = self._volts[(self._runs - 1) * 60 * RATE_HZ :]
        before = len(self._i2c.chip.reads)
        with LockstepClockServer(path) as clock:
            self._clock = clock
            words = ("--clock", clock.text, "--listen", self.listen, *flags)
            async with (
                holterd(
                    self._folder, *words, env=self._i2c.environment, launcher=launcher
                ) as daemon,
                connect(self.listen) as device,
            ):
                session = (await device.status()).session
                self._i2c.chip.inputs[0] = played(volts, RATE_HZ, session.start_monotonic_nanos)
                codes = np.clip(np.floor(volts * 256 / 3.3), 0, 255).astype(np.uint8).tobytes()
                run = Run(daemon, device, clock, session, [], codes)
                try:
                    yield run
                finally:
                    run.reads += self._i2c.chip.reads[before:]
