"""A simulated I2C bus of 100 kHz with a PCF8591, as a process of its own.

    python bench/_i2c_bus.py SOCKET

Prints "ready". At the end of its stdin it prints when each read began, in ns on CLOCK_MONOTONIC, as
a JSON list. It stands for the adapter and its interrupt, and so runs above the sampler, where that
is permitted: what it takes is the bus's time.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from pathlib import Path

from holter_device.testing import I2cBusServer, Pcf8591Chip, SimulatedBus, level

PRIORITY = 50
BUS_HZ = 100_000


def main() -> None:
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    gc.disable()  # a bus has no pauses; what is collected here is the journal, which stays
    chip = Pcf8591Chip([level(1.65)], now_ns=time.monotonic_ns)
    with I2cBusServer(Path(sys.argv[1]), {1: SimulatedBus(chip, clock_hz=BUS_HZ)}):
        print("ready", flush=True)
        sys.stdin.read()
    print(json.dumps([read.time_ns for read in chip.reads]))


if __name__ == "__main__":
    main()
