"""A process of simulated devices.

    python -m holter_device.children.simulation PARENT_PID

The frames, whose payloads are JSON:

    to the child                                          from the child
    START   {config, delay, devices: [{name, address,     READY    {name: address}
             seed, fault}]}
    FAULTS  {name: fault}                                 CHANGED

Any of them may be answered by FATAL ({error, message, facts}; `error` names a class of
holter_device.errors), after which the process ends, as it does at the end of its stdin.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
import logging
import os
import sys
from typing import Any

from ..classifier import ClassifierSettings
from ..config import MIB, load_config
from ..errors import DeviceError
from ..simulation.device import Shared, SimulatedDevice
from ..simulation.faults import Condition, Fault
from . import begin, read_frame, write_frame


class Kind(enum.IntEnum):
    """Kinds of frames."""

    START = 1
    FAULTS = 2
    READY = 16
    CHANGED = 17
    FATAL = 18


def main() -> None:
    """Serve devices until the parent closes our stdin."""
    begin(int(sys.argv[1]))
    # What a library prints must not get between the frames.
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        asyncio.run(_serve(out))
    except DeviceError as error:
        fatal = {"error": type(error).__name__, "message": str(error), "facts": error.facts}
        write_frame(out, Kind.FATAL, json.dumps(fatal).encode())


async def _serve(out: int) -> None:
    frame = await asyncio.to_thread(read_frame, 0)
    if frame is None:
        return
    running: dict[str, SimulatedDevice] = {}
    try:
        for device in _devices(json.loads(frame[1])):
            await device.start()
            running[device.name] = device
        addresses = {name: device.address for name, device in running.items()}
        write_frame(out, Kind.READY, json.dumps(addresses).encode())
        while (frame := await asyncio.to_thread(read_frame, 0)) is not None:
            for name, fault in json.loads(frame[1]).items():
                await running[name].suffer(Fault(fault))
            write_frame(out, Kind.CHANGED)
    finally:
        await asyncio.gather(*(device.stop() for device in running.values()))


def _devices(start: dict[str, Any]) -> list[SimulatedDevice]:
    """The devices of a START frame."""
    config = load_config(None, start["config"])
    logging.basicConfig(
        stream=sys.stderr,
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )
    settings = ClassifierSettings(
        runtime=config.runtime,
        memory_bytes=round(config.model_memory_mib * MIB),
        model_timeout=config.model_timeout,
        launcher=config.child_launcher,
    )
    shared = Shared(settings)
    return [
        SimulatedDevice(
            device["name"],
            dataclasses.replace(config, listen=(device["address"],), seed=device["seed"]),
            shared,
            Condition(Fault(device["fault"]), start["delay"]),
        )
        for device in start["devices"]
    ]


if __name__ == "__main__":
    main()
