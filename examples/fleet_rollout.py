"""Bring a model to a fleet in waves, each behind a health check of one's own.

    python examples/fleet_rollout.py fleet.toml rhythm.tflite [WAVES] [WINDOWS]

Beside the devices' own probation, which a rollout waits for anyway, the next WINDOWS windows of the
devices that have the new model are read before each wave. Where more than 5 % of them have no
class, all that the rollout changed is taken back. The rollout is in the journal, so that it can be
looked at, and resumed, by `holter fleet history` and `holter fleet resume`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys

from holter_host import (
    Classification,
    DeviceState,
    Fleet,
    Rollout,
    RolloutState,
    resume_rollout,
    undo_rollout,
)

MOST_WITHOUT_CLASS = 0.05
CHECK_SECONDS = 120


async def is_healthy(fleet: Fleet, rollout: Rollout, windows: int) -> bool:
    """Whether the devices that have the new model give classes."""
    rows = rollout.devices.values()
    changed = tuple(row.device for row in rows if row.state is DeviceState.HEALTHY)
    those = Fleet(dataclasses.replace(fleet.inventory, devices=changed))
    count = without = 0
    try:
        async with asyncio.timeout(CHECK_SECONDS), those:
            async for found in those.classifications():
                if isinstance(found.event, Classification):
                    count += 1
                    without += not found.event.label
                    if count == windows:
                        break
    except TimeoutError:
        print(f"only {count} windows came in {CHECK_SECONDS} s")
        return False
    print(f"{without} of {count} windows on {len(changed)} devices have no class")
    return without <= count * MOST_WITHOUT_CLASS


async def main(
    inventory: str, model: str, waves: str = "1,10%,100%", windows: str = "50"
) -> RolloutState:
    """Wave after wave, as long as all is well."""
    async with Fleet.load(inventory) as fleet:
        rollout = fleet.deploy(model, waves=waves, max_failures="2%", approve=True)
        while True:
            async for row in rollout:
                print(f"{row.device.name:<16} {row.state:<12} {row.message}", flush=True)
            if rollout.state is not RolloutState.PAUSED:
                print(f"rollout {rollout.id}: {rollout.state}")
                return rollout.state
            healthy = await is_healthy(fleet, rollout, int(windows))
            again = resume_rollout(rollout.id, approve=True)
            rollout = again if healthy else undo_rollout(rollout.id)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(*sys.argv[1:])) is not RolloutState.DONE)
