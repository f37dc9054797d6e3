"""One device of a simulated fleet: a core and a server, and the server gone while it is offline."""

from __future__ import annotations

import asyncio
import dataclasses
import socket

from ..classifier import Classifier, ClassifierSettings
from ..clock import Clock
from ..config import MIB, Config
from ..core import Core
from ..errors import ListenError
from ..log import Log
from ..rpc.server import Server
from ..sampler import Sampler
from ..store import ModelStore
from .classifier import ClassifierPool
from .faults import Condition, Fault, FaultyCalls, FaultyClassifier
from .sampler import UNWATCHED_SECONDS, Sources, TaskSampler
from .store import MemoryModelStore, ModelFiles

# How much of the newest frames a device keeps; those before are gone, as if retention had them.
TAIL_SECONDS = 60.0

GRACE_SECONDS = 1.0


class Shared:
    """What the devices of one process share.

    Args:
        settings: how classifier processes are started.
    """

    def __init__(self, settings: ClassifierSettings) -> None:
        self.sources = Sources()
        self.pool = ClassifierPool(settings)
        self.files = ModelFiles()


class SimulatedParts:
    """The parts of a simulated device; as parts.Parts."""

    def __init__(self, hostname: str, shared: Shared, condition: Condition) -> None:
        self.hostname = hostname
        self._shared = shared
        self._condition = condition
        self._log: Log | None = None

    def make_sampler(self, config: Config, clock: Clock, epoch_ns: int) -> Sampler:
        """A sampler in this process."""
        return TaskSampler(config, clock, self._shared.sources, self._watched)

    async def open_log(self, config: Config, clock: Clock, *, real_time: bool) -> Log:
        """A log in memory."""
        self._log = await Log.open_in_memory(clock, real_time=real_time, tail_seconds=TAIL_SECONDS)
        return self._log

    def open_store(self, config: Config) -> ModelStore:
        """Models in memory."""
        return MemoryModelStore(self._shared.files, round(config.models_mib * MIB))

    async def start_classifier(self, settings: ClassifierSettings) -> Classifier:
        """A classifier of the process that other devices with the model have."""
        return FaultyClassifier(self._shared.pool, self._condition)

    def _watched(self) -> bool:
        """Whether frames are waited for, by a reader or by windows in plenty."""
        if self._condition.hop_seconds < UNWATCHED_SECONDS:
            return True
        return self._log is not None and self._log.watched


class SimulatedDevice:
    """One device. `start` it, let it `suffer` another fault, `stop` it.

    Args:
        name: its name.
        config: its settings, with one address.
        shared: what it shares with the others in this process.
        condition: what is wrong with it.

    Attributes:
        address: where it is served; with its port once it is started.
    """

    def __init__(self, name: str, config: Config, shared: Shared, condition: Condition) -> None:
        self.name = name
        self.address = config.listen[0]
        self._config = config
        self._condition = condition
        self._core = Core(config, SimulatedParts(name, shared, condition))
        self._running: asyncio.Task[None] | None = None
        self._server: Server | None = None
        self._reserved: socket.socket | None = None

    async def start(self) -> None:
        """Begin to sample, and serve unless it is offline.

        Raises:
            ListenError: it cannot listen at its address.
            DeviceError: the source cannot be used.
        """
        await self._core.open()
        self._running = asyncio.create_task(self._core.run(), name=self.name)
        await self.suffer(self._condition.fault)

    async def suffer(self, fault: Fault) -> None:
        """Have this fault from now on.

        Raises:
            ListenError: it was offline, and its address has been taken meanwhile.
        """
        self._condition.fault = fault
        if fault is Fault.OFFLINE:
            await self._go_offline()
        elif self._server is None:
            await self._go_online()

    async def stop(self) -> None:
        """End it, its streams first. Safe to repeat."""
        self._core.stop()
        if self._running is not None:
            await asyncio.wait({self._running})
        if self._server is not None:
            await self._server.stop(GRACE_SECONDS)
        if self._reserved is not None:
            self._reserved.close()
        await self._core.close()

    async def _go_online(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        config = dataclasses.replace(self._config, listen=(self.address,))
        server = Server(config, [FaultyCalls(self._condition)])
        self.address = server.addresses[0]
        await server.start(self._core)
        self._server = server

    async def _go_offline(self) -> None:
        """Refuse connections; the port stays this device's own."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(0)
        if not self.address.startswith("unix:") and self._reserved is None:
            self._reserved, self.address = _reserve(self.address)


def _reserve(address: str) -> tuple[socket.socket, str]:
    """Take a port without listening on it, so that whoever connects is refused."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    reserved = socket.socket(family)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host.strip("[]"), int(port)))
    except OSError as error:
        reserved.close()
        raise ListenError(
            f"cannot listen on {address}: {error.strerror}; choose another with --listen",
            address=address,
        ) from error
    return reserved, f"{host}:{reserved.getsockname()[1]}"
