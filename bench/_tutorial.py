"""The tutorial's loop: read, then sleep for a period. Prints when each read began, as a JSON list.

python bench/_tutorial.py RATE_HZ SECONDS
"""

from __future__ import annotations

import json
import sys
import time

import smbus2

rate_hz, seconds = float(sys.argv[1]), float(sys.argv[2])
times = []
end = time.monotonic() + seconds
with smbus2.SMBus(1) as bus:
    bus.write_byte(0x48, 0x40)
    while time.monotonic() < end:
        times.append(time.monotonic_ns())
        bus.read_byte(0x48)
        time.sleep(1 / rate_hz)
print(json.dumps(times))
