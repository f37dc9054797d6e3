"""What makes the sampler punctual, where it is permitted and where it is not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, resource, sys
from holter_device.children import realtime
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, 4096))
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
realtime.freeze_garbage()
print(realtime.set_priority(), realtime.lock_memory())
"""


def test_what_is_not_permitted_is_said_with_what_to_grant() -> None:
    """Without the rights sampling goes on, and one line each says which limit to raise."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.stdout == "False False\n"
    first, second = done.stderr.splitlines()
    assert "LimitRTPRIO=40" in first
    assert "LimitMEMLOCK=infinity" in second


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: run the tests as root to see it granted")
def test_what_is_permitted_is_done() -> None:
    """With the rights the process runs under SCHED_FIFO, and its children do not."""
    script = (
        "import os\n"
        "from holter_device.children import realtime\n"
        "granted = realtime.set_priority()\n"
        "reset = os.sched_getscheduler(0) & os.SCHED_RESET_ON_FORK\n"
        "print(granted == bool(os.sched_getscheduler(0) & os.SCHED_FIFO), granted == bool(reset))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True True\n"


@pytest.mark.parametrize("limit", ["resource.RLIM_INFINITY", "2**25"])
def test_memory_to_come_is_locked_only_where_nothing_limits_it(limit: str) -> None:
    """Under a limit a later allocation must not fail: what exists is locked, and no more."""
    # Few may raise a limit; who may lock beyond it is only told another one here.
    script = f"""
import mmap, resource
from holter_device.children import realtime
resource.getrlimit = lambda _: ({limit}, {limit})

def locked():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmLck")))

if realtime.lock_memory():
    before = locked()
    later = mmap.mmap(-1, 2**26)
    print(before > 0, locked() - before >= 2**26)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    if not done.stdout:
        pytest.skip("this user may not lock so much memory: run the tests as root")
    assert done.stdout == f"True {limit == 'resource.RLIM_INFINITY'}\n"
