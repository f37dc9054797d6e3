"""What converters on an I2C bus have in common: they are opened, measured and paced alike."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..clock import Clock, MonotonicClock
from ..errors import BusReadError, ConfigError, DeviceError, SourceError
from . import AdcInfo, Input
from .i2c import Chip, I2cBus, OpenBus, source_error
from .pace import Pace
from .timing import BusTiming, Cost, fastest_ns

# Before frames are said not to fit, the bus is measured so many times more, with pauses.
_MORE_MEASUREMENTS = 4
_PAUSE_NS = 100_000_000


class ChipAdc(abc.ABC):
    """An Adc on I2C. Each count is the mean of M conversions, rounded half up.

    Args:
        settings: the values of adc.SETTINGS.
        open_bus: how to open an I2C bus by its number.
        clock: what the bus is measured by and conversions are waited for on.

    Attributes:
        chip: what it is.
        sample_format: how a count is written: the name of a SampleFormat.
        count_size: bytes of a count.
    """

    chip: ClassVar[Chip]
    sample_format: ClassVar[str]
    count_size: ClassVar[int]

    def __init__(
        self, settings: Mapping[str, Any], open_bus: OpenBus, clock: Clock | None = None
    ) -> None:
        self._number = settings["bus"]
        self._address = settings["address"]
        self._names = tuple(settings["inputs"])
        self._channels = [int(name.removeprefix("A")) for name in self._names]
        self._rate_hz = float(settings["rate"])
        self._asked = str(settings["oversampling"])
        self._reference_volts = settings["reference_volts"]
        self._oversampling = 1
        self._open_bus = open_bus
        self._clock = clock or MonotonicClock()
        self._bus: I2cBus | None = None

    def open(self) -> AdcInfo:
        """Open the bus, measure it by reads of the chip, and see how much both have time for.

        Raises:
            SourceError: the bus or the chip does not answer, or it is another chip.
            ConfigError: a frame takes longer than a period.
        """
        try:
            return self._open()
        except DeviceError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise self._error(error) from error

    def read(self, sequence: int) -> bytes:
        """Convert each input now.

        Raises:
            BusReadError: the chip did not answer. The next read takes nothing of this one for its
                own.
        """
        try:
            return self._checked_frame()
        except OSError as error:
            raise BusReadError(error.errno or 0) from error

    def close(self) -> None:
        """Let go of the bus."""
        self._forget()
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.close()

    @abc.abstractmethod
    def _measure(self) -> BusTiming:
        """Measure the bus by reads of the chip; what comes out of them is of no use.

        Raises:
            OSError: the chip cannot be read.
        """

    @abc.abstractmethod
    def _cost(self, channels: Sequence[int], oversampling: int) -> Cost:
        """What a frame costs."""

    @abc.abstractmethod
    def _read_frame(self) -> bytes:
        """Read one frame."""

    @abc.abstractmethod
    def _forget(self) -> None:
        """Forget what the chip was told: a read failed, so nobody knows what it took in."""

    @abc.abstractmethod
    def _inputs(self, timing: BusTiming, frame_read_ns: int) -> tuple[Input, ...]:
        """The inputs of a frame."""

    def _error(self, error: OSError) -> SourceError:
        """What an error of opening means."""
        return source_error(error, self._number, self._address, self.chip)

    def _open(self) -> AdcInfo:
        self._bus = self._open_bus(self._number)
        self._bus.claim(self._address)
        timing = self._paced()
        frame_read_ns = fastest_ns(self._clock, self._checked_frame)
        return AdcInfo(
            kind=self.chip.name.lower(),
            description=self._description(),
            inputs=self._inputs(timing, frame_read_ns),
            sample_format=self.sample_format,
            frame_size=self.count_size * len(self._names),
            oversampling=self._oversampling,
            frame_read_ns=frame_read_ns,
        )

    def _paced(self) -> BusTiming:
        """Measure the bus, and choose how many conversions a count is the mean of.

        Where frames do not fit it is measured again, as the machine may have been busy: what was
        fast once can be.
        """
        for _ in range(_MORE_MEASUREMENTS):
            try:
                return self._paced_once()
            except ConfigError:
                self._clock.sleep_until(self._clock.monotonic_ns() + _PAUSE_NS)
        return self._paced_once()

    def _paced_once(self) -> BusTiming:
        timing = self._measure()
        pace = Pace(
            rate_hz=self._rate_hz,
            channels=self._channels,
            bus=self._number,
            max_bus_hz=self.chip.max_bus_hz,
            timing=timing,
            cost=self._cost,
        )
        self._oversampling = pace.oversampling(self._asked)
        return timing

    def _description(self) -> str:
        mean = f", mean of {self._oversampling}" if self._oversampling > 1 else ""
        where = f"{self._address:#04x} on /dev/i2c-{self._number}"
        return f"{self.chip.name} at {where}, {', '.join(self._names)}{mean}"

    def _checked_frame(self) -> bytes:
        try:
            return self._read_frame()
        except OSError:
            self._forget()
            raise

    def _transfer(self, write: bytes | None, read_length: int) -> bytes:
        assert self._bus is not None, "the converter is not open"
        return self._bus.transfer(self._address, write, read_length)

    def _mean(self, total: int) -> int:
        """The mean of M conversions by their sum, rounded half up."""
        return (2 * total + self._oversampling) // (2 * self._oversampling)
