"""Fakes that ship: chips at byte level, the bus that they are on, and clocks that a test holds.

The shipped driver runs on them unmodified, in this process (SimulatedBus) or in another one behind
/dev/i2c-N (I2cBusServer and the preloaded shim of `build_shim`). GpioChipServer is the
same for the lines of lead-off comparators at /dev/gpiochipN, and ScriptedLines is LeadOffLines.
"""

from .ads1115_chip import Ads1115Chip, Ads1115Conversion, Fetch
from .gpio_chip import GpioChipServer
from .i2c_bus import I2cBusServer, I2cChip, SimulatedBus
from .lockstep import LockstepClockServer
from .pcf8591_chip import Conversion, Pcf8591Chip, Read, Signal, level, played
from .scripted_lines import ScriptedLines
from .shim import build_shim

__all__ = [
    "Ads1115Chip",
    "Ads1115Conversion",
    "Conversion",
    "Fetch",
    "GpioChipServer",
    "I2cBusServer",
    "I2cChip",
    "LockstepClockServer",
    "Pcf8591Chip",
    "Read",
    "ScriptedLines",
    "Signal",
    "SimulatedBus",
    "build_shim",
    "level",
    "played",
]
