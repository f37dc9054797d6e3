"""The parent of a simulated fleet: its processes, its inventory, and who comes back when."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import errors
from ..children.simulation import Kind
from ..config import Config
from ..errors import ConfigError, DeviceError
from ..process import Child, ChildEndedError
from .faults import Fault

# Devices of one seed have the same ECG, which a process computes once.
_SEEDS = 8
_STOP_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One device of a fleet, before it runs: its name, address, labels, seed and fault."""

    name: str
    address: str
    labels: Mapping[str, str]
    seed: int
    fault: Fault = Fault.NONE


def device_names(count: int) -> list[str]:
    """The names of that many devices: sim-0000, sim-0001 …"""
    return [f"sim-{number:04}" for number in range(count)]


def device_specs(
    count: int, listen: str, sites: int, seed: int, faults: Mapping[str, Fault]
) -> list[DeviceSpec]:
    """The devices of a fleet.

    The first device of each site has the role "canary"; whoever has a fault has it as a label.

    Args:
        count: how many.
        listen: HOST:PORT for the first, the others have the ports after it (or each a free one,
            where it is 0); or unix:DIR for a socket each.
        sites: how many sites they are spread over.
        seed: of the first one's ECG.
        faults: those that have one.

    Raises:
        ConfigError: there are not so many ports, or it is no address.
    """
    specs = []
    for number, name in enumerate(device_names(count)):
        fault = faults.get(name, Fault.NONE)
        labels = {"site": f"site-{number % sites + 1}"}
        labels["role"] = "canary" if number < sites else "bed"
        if fault is not Fault.NONE:
            labels["fault"] = fault.value
        address = _address(listen, number, name, count)
        specs.append(DeviceSpec(name, address, labels, seed + number % _SEEDS, fault))
    return specs


def _address(listen: str, number: int, name: str, count: int) -> str:
    if listen.startswith("unix:"):
        return f"{listen.rstrip('/')}/{name}.sock"
    host, _, text = listen.rpartition(":")
    if not host or not text.isdecimal() or int(text) + (count if int(text) else 0) > 65536:
        raise ConfigError(
            f"--listen is {listen!r}; give 127.0.0.1:PORT, so that there are {count} ports from it "
            "on, 127.0.0.1:0 for free ones, or unix:DIR",
            key="listen",
        )
    return f"{host}:{int(text) + number}" if int(text) else listen


class SimulatedFleet:
    """A running fleet. `start` it, `change` faults, wait for `ended`, `stop` it.

    Args:
        config: the settings that all devices share.
        specs: the devices.
        processes: over how many processes they are spread.
        delay: seconds by which slow devices answer later.

    Attributes:
        specs: the devices; with their ports once they are started.
    """

    def __init__(
        self, config: Config, specs: Sequence[DeviceSpec], processes: int, delay: float
    ) -> None:
        self.specs = list(specs)
        self._config = config
        self._delay = delay
        self._shards = [self.specs[first::processes] for first in range(processes)]
        self._children: list[Child] = []
        self._faults = {spec.name: spec.fault for spec in specs}
        self._changing = asyncio.Lock()

    @property
    def counts(self) -> Counter[Fault]:
        """How many devices have which fault."""
        return Counter(self._faults.values())

    async def start(self) -> None:
        """Start every device; returns when all serve that are to.

        Raises:
            DeviceError: one cannot listen, or its source cannot be used.
        """
        for shard in filter(None, self._shards):
            child = await Child.start("simulation")
            self._children.append(child)
            await child.send(Kind.START, self._start_frame(shard))
        addresses: dict[str, str] = {}
        for child in self._children:
            addresses |= json.loads(await _answer(child))
        self.specs = [
            dataclasses.replace(spec, address=addresses[spec.name]) for spec in self.specs
        ]

    async def change(self, faults: Mapping[str, Fault]) -> None:
        """Give devices other faults; returns when they have them.

        Raises:
            DeviceError: one cannot come back, as its address has been taken.
        """
        async with self._changing:
            changed = {name: f for name, f in faults.items() if self._faults[name] is not f}
            shards = zip(self._children, filter(None, self._shards), strict=True)
            for child, shard in shards:
                names = {spec.name for spec in shard}
                own = {name: f.value for name, f in changed.items() if name in names}
                await child.send(Kind.FAULTS, json.dumps(own).encode())
            for child in self._children:
                await _answer(child)
            self._faults |= changed

    async def bring_back(self) -> None:
        """Have all devices online that are offline; as `change`."""
        offline = [name for name, fault in self._faults.items() if fault is Fault.OFFLINE]
        await self.change(dict.fromkeys(offline, Fault.NONE))

    async def ended(self) -> None:
        """Wait until one of the processes is gone.

        Raises:
            ChildEndedError: it is.
        """
        waiting = [asyncio.create_task(child.wait()) for child in self._children]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        raise ChildEndedError("simulation", done.pop().result())

    async def stop(self) -> None:
        """End the devices and their processes. Safe to repeat."""
        await asyncio.gather(*(child.stop(_STOP_SECONDS) for child in self._children))

    def write_inventory(self, path: Path) -> None:
        """Write fleet.toml.

        Raises:
            ConfigError: it cannot be written.
        """
        lines = [f"# {len(self.specs)} simulated devices, written by holterd-sim."]
        for spec in self.specs:
            labels = ", ".join(f'{key} = "{value}"' for key, value in spec.labels.items())
            lines += ["", "[[device]]", f'name = "{spec.name}"', f'address = "{spec.address}"']
            lines += [f"labels = {{ {labels} }}"]
            if self._config.insecure:
                lines += ["insecure = true"]
        temporary = path.with_name(f"{path.name}.tmp")
        try:
            temporary.write_text("\n".join(lines) + "\n")
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise ConfigError(f"cannot write {path}: {error.strerror}", key="inventory") from error

    def _start_frame(self, shard: Sequence[DeviceSpec]) -> bytes:
        devices = [
            {
                "name": spec.name,
                "address": spec.address,
                "seed": spec.seed,
                "fault": spec.fault.value,
            }
            for spec in shard
        ]
        start = {
            "config": dataclasses.asdict(self._config),
            "delay": self._delay,
            "devices": devices,
        }
        return json.dumps(start).encode()


async def _answer(child: Child) -> bytes:
    """What a process answers.

    Raises:
        DeviceError: what ended it.
    """
    kind, payload = await child.receive()
    if kind != Kind.FATAL:
        return payload
    fatal = json.loads(payload)
    error = getattr(errors, fatal["error"], DeviceError)
    try:
        raise error(fatal["message"], **fatal["facts"])
    except TypeError:
        raise DeviceError(fatal["message"], **fatal["facts"]) from None
