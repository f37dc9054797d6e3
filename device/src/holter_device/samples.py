"""Frames, blocks, gaps and sessions: what is on the grid, and how it is counted.

A frame is one count for each channel at one tick of the grid; `sequence` counts ticks from 0. In a
session every frame is in exactly one Block or Gap.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from holter.frontend import linear_map

from .clock import UtcEstimate
from .grid import GapCause, Grid


class SampleFormat(enum.IntEnum):
    """How one count is written; the numbers are those of the wire."""

    U8 = 1
    S16LE = 2

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The numpy type of a count."""
        return np.dtype("u1") if self is SampleFormat.U8 else np.dtype("<i2")


class UnclassifiableReason(enum.IntEnum):
    """Why a window has no class; the numbers are those of the wire."""

    GAP = 1
    LEADS_OFF = 2
    MODEL_ERROR = 3
    TIMEOUT = 4
    OVERLOADED = 5
    RESTARTED = 6


class LeadOff(enum.IntFlag):
    """Why an electrode counts as off; bit n is number n of the wire's LeadOffReason."""

    NONE = 0
    LO_PLUS = 1 << 1
    LO_MINUS = 1 << 2
    RAILED = 1 << 3
    SETTLING = 1 << 4


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """One input and its linear maps; the default is PCF8591 behind an AD8232.

    volts = count * volts_per_count + offset_volts (data sheet of the converter);
    millivolts = (volts - baseline_volts) / gain * 1000 (data sheet of the front end).
    A count was true capture_offset_ns after its frame's instant on the grid.
    """

    name: str
    volts_per_count: float = 3.3 / 256
    offset_volts: float = 0.0
    gain: float = 1100.0
    baseline_volts: float = 1.65
    capture_offset_ns: int = 0

    def affine(self, unit: str) -> tuple[float, float]:
        """The map to "counts", "volts" or "millivolts" as (scale, offset) of a count."""
        return linear_map(
            unit, self.volts_per_count, self.offset_volts, self.gain, self.baseline_volts
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One grid of one run of holterd, and what came before it in the log.

    Attributes:
        session_id: from 1, plus 1 for each session of the log.
        log_id: identity of the log.
        grid: the times of the frames.
        channels: the channels of a frame, in the order of their counts.
        sample_format: how a count is written.
        boot_id: identity of the boot that the grid's clock belongs to.
        utc: the wall clock when the session started.
        previous_session_id: the session before; 0 where there was none.
        previous_next_sequence: sequence after the last frame that the session before kept.
        hole_ns: time from the end of the session before to frame 0, in ns.
        hole_uncertainty_ns: 0 where both share a boot.
    """

    session_id: int
    log_id: str
    grid: Grid
    channels: tuple[Channel, ...]
    sample_format: SampleFormat = SampleFormat.U8
    boot_id: str = ""
    utc: UtcEstimate = dataclasses.field(default_factory=UtcEstimate)
    previous_session_id: int = 0
    previous_next_sequence: int = 0
    hole_ns: int = 0
    hole_uncertainty_ns: int = 0

    @property
    def frame_size(self) -> int:
        """Bytes of one frame."""
        return len(self.channels) * self.sample_format.dtype.itemsize


@dataclasses.dataclass(frozen=True, slots=True)
class LeadOffRun:
    """Frames during which an electrode was off, or the front end not yet settled after it.

    Attributes:
        first_sequence: the first frame.
        frame_count: number of frames.
        channel_mask: bit c is set where channel c is not to be trusted; 0 means all channels.
        reasons: why, over all these channels.
    """

    first_sequence: int
    frame_count: int
    channel_mask: int = 0
    reasons: LeadOff = LeadOff.NONE

    @property
    def next_sequence(self) -> int:
        """The frame after the last one."""
        return self.first_sequence + self.frame_count


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A run of frames without a gap.

    Attributes:
        session_id: the session.
        first_sequence: sequence of the first frame.
        frame_count: number of frames, 1 or more.
        counts: raw counts, frame by frame and in each frame channel by channel.
        lead_off: runs with an electrode off, in order, within this block.
        late_count: frames whose read began late, but within one period.
    """

    session_id: int
    first_sequence: int
    frame_count: int
    counts: bytes
    lead_off: tuple[LeadOffRun, ...] = ()
    late_count: int = 0

    @property
    def next_sequence(self) -> int:
        """The frame after the last one."""
        return self.first_sequence + self.frame_count

    def array(self, session: Session) -> npt.NDArray[np.generic]:
        """The counts, shape (frames, channels), without a copy."""
        values = np.frombuffer(self.counts, dtype=session.sample_format.dtype)
        return values.reshape(self.frame_count, len(session.channels))


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """Frames for which there are no counts."""

    session_id: int
    first_sequence: int
    frame_count: int
    cause: GapCause

    @property
    def next_sequence(self) -> int:
        """The frame after the last one."""
        return self.first_sequence + self.frame_count


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What a model says of one window; with a reason, why it says nothing.

    Attributes:
        session_id: the session; 0 for a window that a caller brought.
        first_sequence: the window's first frame.
        last_sequence: the window's last frame.
        model_sha256: digest of the model's file.
        labels: names of the classes, in the model's order; empty with a reason.
        scores: one for each label.
        reason: why there is no class; None where there is one.
        inference_ns: time that the model took; 0 where it was not asked.
    """

    session_id: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    model_sha256: str
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    reason: UnclassifiableReason | None = None
    inference_ns: int = 0

    @property
    def label(self) -> str:
        """Name of the class with the greatest score, the first of equals; "" where none is."""
        if not self.scores:
            return ""
        return self.labels[max(range(len(self.scores)), key=self.scores.__getitem__)]


@dataclasses.dataclass(frozen=True, slots=True)
class ModelChange:
    """From `swap_sequence` on windows belong to this model; "" means that there are none."""

    session_id: int
    swap_sequence: int
    model_sha256: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How well the sampler keeps its grid; times in ns.

    Attributes:
        received_count: frames that were read.
        missing_count: frames in gaps.
        late_count: reads that began late, but within one period.
        retry_count: reads that were tried again within their tick.
        bus_errors: reads that failed, by errno.
        lateness_p50_ns: the time by which half of the reads began after their tick; likewise the
            other percentiles and the greatest.
    """

    received_count: int = 0
    missing_count: int = 0
    late_count: int = 0
    retry_count: int = 0
    bus_errors: Mapping[int, int] = dataclasses.field(default_factory=dict)
    lateness_p50_ns: int = 0
    lateness_p99_ns: int = 0
    lateness_p999_ns: int = 0
    lateness_max_ns: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecentQuality(Quality):
    """The newest minute of the grid, or the session where that is less.

    Attributes:
        duration_ns: time on the grid that this is about.
        achieved_rate_hz: frames that were read in a second of it.
    """

    duration_ns: int = 0
    achieved_rate_hz: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionQuality(Quality):
    """The session so far.

    Attributes:
        sampler_restart_count: starts of the sampler process after the first.
        last_minute: the newest minute.
    """

    sampler_restart_count: int = 0
    last_minute: RecentQuality = dataclasses.field(default_factory=RecentQuality)
