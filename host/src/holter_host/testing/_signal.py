"""The invented signal of a fake device."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

LOG_ID: Final = "00000000-0000-4000-8000-000000000001"
START_NANOS: Final = 1_000_000_000
HOLE_NANOS: Final = 1_000_000_000  # between one session and the next
UTC_OFFSET_NANOS: Final = 1_767_225_600_000_000_000  # monotonic 0 is 2026-01-01T00:00:00Z


def fake_counts(first: int, frame_count: int, channel_count: int) -> npt.NDArray[np.uint8]:
    """The fake signal: (7 * sequence + 31 * channel) mod 251, shape (frames, channels)."""
    sequence = np.arange(first, first + frame_count)[:, None]
    return ((7 * sequence + 31 * np.arange(channel_count)) % 251).astype(np.uint8)
