"""Make a process that must be on time less likely to wait: priority, memory, garbage.

What is not permitted is said on stderr, with what to grant; sampling goes on without it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys

# Above ordinary work, below the kernel's interrupt threads (50).
PRIORITY = 40

_MCL_CURRENT = 1
_MCL_FUTURE = 2


def freeze_garbage() -> None:
    """Leave what exists now out of every later collection."""
    gc.collect()
    gc.freeze()


def set_priority() -> bool:
    """Run under SCHED_FIFO; children of this process do not. Says so where it may not."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    except OSError as error:
        say(
            f"no real-time priority ({error.strerror}), so reads may be late under load; grant"
            f" LimitRTPRIO={PRIORITY} in the unit, or '@i2c - rtprio {PRIORITY}' in"
            " /etc/security/limits.conf"
        )
        return False
    return True


def lock_memory() -> bool:
    """Keep this process's pages in memory. Says so where it may not.

    Those that exist now; those to come too only where nothing limits them: where there is a limit,
    an allocation beyond it would fail.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    if libc.mlockall(_MCL_CURRENT | (_MCL_FUTURE if unlimited else 0)):
        say(
            f"memory is not locked ({os.strerror(ctypes.get_errno())}), so reads may be late when"
            " memory is short; grant LimitMEMLOCK=infinity in the unit, or"
            " '@i2c - memlock unlimited' in /etc/security/limits.conf"
        )
        return False
    return True


def say(text: str) -> None:
    """One line for the log."""
    sys.stderr.write(f"sampler: {text}\n")
    sys.stderr.flush()
