"""What the sampler process and its parent say to each other. Nothing heavy is imported here.

    sampler -> parent: HELLO or FATAL; then any of DATA, MISSING, BUS and QUALITY; END at last
    parent -> sampler: START

Each is one frame of `holter_device.children`; from the sampler at most PIPE_BUF bytes, so that a
write is atomic: whatever ends the sampler, its parent never reads half a frame.
"""

from __future__ import annotations

import select
import struct

from . import FRAME

# JSON: the fields of an AdcInfo, real_time_priority and memory_locked.
HELLO = 1
# JSON: error (name of a class of holter_device.errors), message, facts.
FATAL = 2
# JSON: start_ns, rate_hz, first_sequence. Sampling begins at the first tick that is not past.
START = 3
# DATA_HEADER, then the counts of the frames.
DATA = 4
# MISSING_HEADER.
MISSING = 5
# What `take` of a holter_device.lateness.Lateness gave: the reads since the last one.
QUALITY = 6
# Nothing: the source has no more frames.
END = 7
# BUS_HEADER, then a BUS_ERROR for each errno: what failed and was retried since the last one. It
# comes before the frames of these reads: who has seen a gap has seen its errors.
BUS = 8

# first_sequence, late_count
DATA_HEADER = struct.Struct("<qH")
# first_sequence, frame_count, cause (GapCause)
MISSING_HEADER = struct.Struct("<qqB")
# sequence of the newest read that failed, reads that were tried again
BUS_HEADER = struct.Struct("<qI")
# errno, reads that failed with it
BUS_ERROR = struct.Struct("<iI")

# Bytes of counts that fit a DATA frame.
MAX_COUNTS = select.PIPE_BUF - FRAME.size - DATA_HEADER.size
