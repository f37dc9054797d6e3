"""Record the ECGs of a whole fleet at the same time, on one clock.

    python examples/fleet_record.py fleet.toml recordings [SECONDS]

Each device's signal goes into recordings/NAME.npz (holter_host.Capture.load). Its clock is measured
before and after, so that `host_time_nanos()` of all of them is time of this computer's clock; here
they are resampled to one time axis and put side by side into recordings/aligned.npz.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np

from holter_host import Capture, Device, Fleet

RATE_HZ = 360


def align(captures: dict[str, Capture]) -> dict[str, np.ndarray]:
    """The first channel of each in millivolts on one time axis: where all of them have frames.

    A frame that is missing is NaN, and so is what lies between it and its neighbours.
    """
    times = {name: taken.host_time_nanos()[:, 0] for name, taken in captures.items()}
    first, last = max(t[0] for t in times.values()), min(t[-1] for t in times.values())
    # From the first on: nanoseconds since 1970 have more digits than a float64.
    axis = np.arange(0, last - first + 1, 1e9 / RATE_HZ)
    signals = {
        name: np.interp(axis, times[name] - first, taken.millivolts()[:, 0])
        for name, taken in captures.items()
    }
    return {"utc_nanos": first + np.rint(axis).astype(np.int64), **signals}


async def record(inventory: str, out: Path, seconds: float) -> dict[str, Capture]:
    """Capture all devices at once, and save each; those whose clocks are known."""

    async def capture(device: Device) -> Capture:
        return await device.capture(seconds)

    captures: dict[str, Capture] = {}
    # All of them at a time: who has to wait for room would be recorded later.
    async with Fleet.load(inventory, concurrency=1000) as fleet:
        async for outcome in fleet.each(capture, deadline=seconds + 30):
            name, taken = outcome.device.name, outcome.value
            if taken is None:
                print(f"{name}: {outcome.error}", file=sys.stderr)
                continue
            taken.save(out / f"{name}.npz")
            if taken.clock_offsets:
                captures[name] = taken
                error_ms = max(offset.uncertainty_nanos for offset in taken.clock_offsets) / 1e6
                print(f"{name}: {taken.seconds:.1f} s, its clock known to {error_ms:.2f} ms")
    return captures


def main(inventory: str, folder: str, seconds: str = "10") -> None:
    """Record, then put those that answered side by side."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    captures = asyncio.run(record(inventory, out, float(seconds)))
    if captures:
        aligned = align(captures)
        np.savez_compressed(out / "aligned.npz", **aligned)
        print(f"{len(captures)} devices share {len(aligned['utc_nanos']) / RATE_HZ:.1f} s")


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
