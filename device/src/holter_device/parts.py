"""What a device is made of: a Core gets its parts here, and does not ask of what kind they are.

`DeviceParts` are those of holterd: a sampler and classifiers in processes of their own, the log and
the models in a data directory. `holter_device.simulation` has others.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Protocol

from .classifier import Classifier, ClassifierSettings, ProcessClassifier
from .clock import Clock
from .config import MIB, Config
from .errors import DataDirectoryError
from .log import Log
from .sampler import ProcessSampler, Sampler, child_clock
from .store import FileModelStore, ModelStore


class Parts(Protocol):
    """The parts of one device.

    Attributes:
        hostname: the name by which it is known.
    """

    hostname: str

    def make_sampler(self, config: Config, clock: Clock, epoch_ns: int) -> Sampler:
        """Its sampler, not open yet.

        Args:
            config: the settings.
            clock: the device's clock.
            epoch_ns: where the clock is a ScaledClock, its epoch.
        """

    async def open_log(self, config: Config, clock: Clock, *, real_time: bool) -> Log:
        """Its log, open.

        Raises:
            DataDirectoryError: it cannot be used.
        """

    def open_store(self, config: Config) -> ModelStore:
        """Its models; called in a thread.

        Raises:
            DataDirectoryError: they cannot be used.
        """

    async def start_classifier(self, settings: ClassifierSettings) -> Classifier:
        """A classifier without a model.

        Raises:
            ClassifierUnavailableError: it does not start.
        """


class DeviceParts:
    """The parts of holterd, with what it keeps in one directory."""

    def __init__(self, data_dir: Path) -> None:
        self.hostname = socket.gethostname()
        self._data_dir = data_dir

    def make_sampler(self, config: Config, clock: Clock, epoch_ns: int) -> Sampler:
        """A sampler in a process of its own."""
        return ProcessSampler(config, child_clock(config, epoch_ns))

    async def open_log(self, config: Config, clock: Clock, *, real_time: bool) -> Log:
        """The log of the directory."""
        return await Log.open(
            self._data_dir,
            retention_hours=config.retention_hours,
            commit_interval=config.commit_interval,
            clock=clock,
            retention_bytes=round(config.retention_mib * MIB),
            real_time=real_time,
        )

    def open_store(self, config: Config) -> ModelStore:
        """The models of the directory."""
        directory = self._data_dir / "models"
        try:
            return FileModelStore(directory, round(config.models_mib * MIB))
        except OSError as error:
            raise DataDirectoryError(
                f"the models in {directory} cannot be used ({error.strerror}): make it a directory "
                "that this user may write, or choose another data directory with --data-dir",
                directory=directory,
                errno=error.errno,
            ) from error

    async def start_classifier(self, settings: ClassifierSettings) -> Classifier:
        """A classifier in a process of its own."""
        return await ProcessClassifier.start(settings)
