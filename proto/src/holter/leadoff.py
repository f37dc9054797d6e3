"""When counts alone tell that an electrode is off.

A front end without its electrodes drives its output to a rail. From RAILED_SECONDS after the counts
reached a rail until they leave it the channel is railed; for SETTLE_SECONDS after that it settles:
the amplifiers' high pass takes that long to come back (AD8232 data sheet, "Fast Restore"). A device
classifies no window with such a frame. It sees this frame by frame (`holter_device.leads`);
`untrusted` is the same of a whole recording. Needs numpy.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

RAILED_SECONDS: Final = 0.2
SETTLE_SECONDS: Final = 1.0
_NEVER: Final = -(2**62)


def railed_frames(rate_hz: float) -> int:
    """How long a stay at a rail is, at least, once it counts."""
    return max(1, round(RAILED_SECONDS * rate_hz))


def settle_frames(rate_hz: float) -> int:
    """How long a channel settles."""
    return round(SETTLE_SECONDS * rate_hz)


def untrusted(
    counts: npt.NDArray[np.integer[Any]], rate_hz: float, low: int = 0, high: int = 255
) -> npt.NDArray[np.bool_]:
    """Whether a channel is railed or settles, for each frame.

    Args:
        counts: of one channel, from the first frame of a session on, shape (frames,).
        rate_hz: frames a second.
        low: the count at or below which it is at its lower rail.
        high: the count at or above which it is at its upper rail.

    Returns:
        Shape (frames,).
    """
    at_rail = (counts <= low) | (counts >= high)
    index = np.arange(len(counts))
    good = np.maximum.accumulate(np.where(at_rail, -1, index))
    railed = index - good > railed_frames(rate_hz)
    last = np.maximum.accumulate(np.where(railed, index, _NEVER))
    return index - last <= settle_frames(rate_hz)
