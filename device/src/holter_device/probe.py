"""`holterd probe`: read the bus once, and say in a sentence what is there."""

from __future__ import annotations

import contextlib
from typing import Any

from .adc import SETTINGS, make_chip
from .adc.i2c import OpenBus, open_bus
from .config import ADCS, INPUTS, Config
from .errors import NoAnswerError


def probe(config: Config, open_bus: OpenBus = open_bus) -> str:
    """Read each input of the config's converter once.

    Args:
        config: says which bus and address; its source may be a simulation.
        open_bus: how to open an I2C bus by its number.

    Returns:
        A sentence such as "PCF8591 at 0x48 on /dev/i2c-1 answers: A0 127 (1.64 V), ...".

    Raises:
        SourceError: there is nothing to read; the sentence says why and what to do.
    """
    settings: dict[str, Any] = {key: getattr(config, key) for key in SETTINGS}
    settings |= {"inputs": INPUTS, "oversampling": "1", "rate": 1.0}
    adc = make_chip(settings, open_bus)
    try:
        info = adc.open()
        frame = adc.read(0)
    except NoAnswerError as error:
        others = _other_addresses(config, open_bus)
        if not others:
            raise
        raise NoAnswerError(f"{error}. There is an answer at {others}", **error.facts) from error
    finally:
        adc.close()
    size = info.frame_size // len(info.inputs)
    counts = [
        int.from_bytes(frame[place : place + size], "little", signed=size > 1)
        for place in range(0, len(frame), size)
    ]
    values = [
        f"{source.name} {count} ({count * source.volts_per_count + source.offset_volts:.2f} V)"
        for source, count in zip(info.inputs, counts, strict=True)
    ]
    where = f"{config.address:#04x} on /dev/i2c-{config.bus}"
    return f"{info.kind.upper()} at {where} answers: {', '.join(values)}"


def _other_addresses(config: Config, open_bus: OpenBus) -> str:
    """The other addresses of such a converter at which something answers, in words."""
    found = []
    with contextlib.suppress(OSError), contextlib.closing(open_bus(config.bus)) as bus:
        for address in ADCS[config.adc]:
            with contextlib.suppress(OSError):
                bus.transfer(address, None, 1)
                found.append(f"{address:#04x} (--address {address:#04x})")
    return ", ".join(found)
