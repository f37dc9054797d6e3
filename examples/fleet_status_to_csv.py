"""The status of every device of a fleet, as CSV: for a spreadsheet, or a cron job.

    python examples/fleet_status_to_csv.py fleet.toml > status.csv

Missing frames are those of the last minute; the clock is the device's wall clock less this
computer's, in milliseconds, empty where it is simulated.
"""

from __future__ import annotations

import asyncio
import csv
import sys

from holter_host import Device, DeviceStatus, Fleet

COLUMNS = ["device", "site", "state", "rate_hz", "missing", "model", "clock_ms", "error"]


async def look(device: Device) -> tuple[DeviceStatus, float | str]:
    """What is asked of each device: its status, and how its clock differs."""
    offset = await device.try_clock_offset()
    return await device.status(), offset.utc_difference_nanos / 1e6 if offset else ""


async def main(inventory: str) -> None:
    """Ask every device, and write a line each as it answers, or does not."""
    out = csv.writer(sys.stdout)
    out.writerow(COLUMNS)
    async with Fleet.load(inventory, timeout=5) as fleet:
        async for outcome in fleet.each(look):
            row = [outcome.device.name, outcome.device.labels.get("site", ""), outcome.state]
            if outcome.value is None:
                out.writerow([*row, "", "", "", "", outcome.error])
                continue
            status, clock_ms = outcome.value
            model = status.active_model.sha256[:12] if status.active_model else ""
            missing = status.quality.last_minute.missing_count
            out.writerow([*row, status.session.rate_hz, missing, model, clock_ms, ""])


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
