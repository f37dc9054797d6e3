"""Say who needs a visit: an electrode that is off for some seconds, or a device that is lost.

    python examples/fleet_alert.py fleet.toml [COMMAND ...]

Each alert is a line; with a COMMAND it is run with the line as its last argument, as in

    python examples/fleet_alert.py fleet.toml notify-send

Holter is not a medical device: this tells of loose electrodes, not of patients.
"""

from __future__ import annotations

import asyncio
import sys

from holter_host import ConnectionChange, Fleet, FleetEvent, Gap, SampleBlock

PATIENCE_SECONDS = 2.0  # an electrode that is touched is off for a moment


class Watch:
    """What is wrong with one device."""

    def __init__(self) -> None:
        self._off_frames = 0
        self._alerted = False

    def take(self, found: FleetEvent) -> str:
        """What is new of it, in words; "" where nothing is."""
        match found.event:
            case ConnectionChange(connected=False):
                return "does not answer"
            case ConnectionChange(connected=True):
                return "answers again"
            case Gap():
                return self._frames(found.event.frame_count, found, off=True)
            case SampleBlock() as block:
                return self._frames(block.frame_count, found, off=bool(block.lead_off()[-1]))
        return ""

    def _frames(self, count: int, found: FleetEvent, off: bool) -> str:
        self._off_frames = self._off_frames + count if off else 0
        assert found.session is not None
        alert = self._off_frames >= PATIENCE_SECONDS * found.session.rate_hz
        if alert == self._alerted:
            return ""
        self._alerted = alert
        return "has an electrode off, or no signal" if alert else "has its signal back"


async def main(inventory: str, *command: str) -> None:
    """Watch the samples of all devices for ever."""
    async with Fleet.load(inventory) as fleet:
        watches = {device.name: Watch() for device in fleet.inventory.devices}
        async for found in fleet.samples():
            words = watches[found.device.name].take(found)
            if words:
                line = f"{found.device.name} {words}"
                print(line, flush=True)
                if command:
                    await asyncio.create_subprocess_exec(*command, line)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
