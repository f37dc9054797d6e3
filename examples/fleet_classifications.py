"""What the models of a whole fleet say, as it comes: one line a window.

    python examples/fleet_classifications.py fleet.toml ['site=a'] [WINDOWS]

Times are of this computer's clock, whatever the clocks of the devices say. Devices that are not
there are waited for; what they classified meanwhile comes when they are back.
"""

from __future__ import annotations

import asyncio
import sys

from holter_host import Classification, ConnectionChange, DeviceError, Fleet


async def main(inventory: str, select: str = "", count: str = "0") -> None:
    """Print the next `count` windows of all devices together; without one, for ever."""
    left = int(count)
    async with Fleet.load(inventory, select=select) as fleet:
        async for found in fleet.classifications():
            match found.event:
                case Classification() as window:
                    when = f"{found.time.astimezone():%H:%M:%S.%f}"[:12] if found.time else "-"
                    verdict = window.label or f"no class: {window.unclassifiable_reason}"
                    print(f"{when:<12}  {found.device.name:<16}  {verdict}", flush=True)
                    left -= 1
                    if left == 0:
                        return
                case ConnectionChange(connected=connected) as change:
                    word = "is back" if connected else f"is lost: {change.reason}"
                    print(f"{found.device.name} {word}", file=sys.stderr)
                case DeviceError() as error:
                    print(f"{found.device.name} gives no more: {error}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
