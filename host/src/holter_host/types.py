"""What a device streams, as frozen dataclasses; their fields are named as in holter.v1.

Counts are the truth that is stored and streamed. Volts and ECG millivolts are linear views of them:

    volts      = count * volts_per_count + offset_volts
    millivolts = (volts - baseline_volts) / gain * 1000

A frame is one count of each channel at one instant of the session's grid; `sequence` counts the
instants from 0. Arrays have the shape (frames, channels). Times called monotonic are in nanoseconds
on the device's monotonic clock.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from holter_host.enums import (
    GapCause,
    LeadOffReason,
    RecordingState,
    SampleFormat,
    StreamEndReason,
    UnclassifiableReason,
)

Counts = npt.NDArray[np.uint8] | npt.NDArray[np.int16]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """One input of the converter and its linear map; `gain` is volts at the converter a volt.

    Its counts were true `capture_offset_nanos` after the grid time of their frame.
    """

    name: str
    volts_per_count: float
    offset_volts: float
    gain: float
    baseline_volts: float
    capture_offset_nanos: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class UtcEstimate:
    """The device's wall clock: UTC in nanoseconds since 1970 is monotonic time + `offset_nanos`.

    `uncertainty_nanos` is half the width of the interval in which the offset lies. Where the clock
    is not `synchronized` to a time server, how wrong it is is unknown.
    """

    offset_nanos: int
    uncertainty_nanos: int
    synchronized: bool = False

    def time(self, monotonic_time_nanos: int) -> datetime.datetime:
        """The wall-clock time (UTC) of a monotonic time, cut to microseconds."""
        micros = (monotonic_time_nanos + self.offset_nanos) // 1000
        return _EPOCH + datetime.timedelta(microseconds=micros)


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """One grid of sample times: frame k is at start_monotonic_nanos + round(k * 1e9 / rate_hz)."""

    session_id: int
    log_id: str
    rate_hz: float
    start_monotonic_nanos: int
    channels: tuple[Channel, ...]
    sample_format: SampleFormat
    boot_id: str
    utc: UtcEstimate

    def monotonic_nanos(self, sequence: int) -> int:
        """The monotonic time of a frame."""
        return self.start_monotonic_nanos + round(sequence * 10**9 / Fraction(self.rate_hz))

    def time(self, sequence: int) -> datetime.datetime:
        """The wall-clock time (UTC) of a frame, as it was estimated when the session started."""
        return self.utc.time(self.monotonic_nanos(sequence))

    def index(self, names: Sequence[str]) -> list[int]:
        """Where the channels of these names stand in a frame; without names, the first.

        Raises:
            LookupError: a name that the session has not.
        """
        own = [channel.name for channel in self.channels]
        for name in names:
            if name not in own:
                raise LookupError(f"no channel {name!r}; the channels are {', '.join(own)}")
        return [own.index(name) for name in names] or [0]


def volts(counts: Counts, channels: Sequence[Channel]) -> npt.NDArray[np.float64]:
    """Volts at the converter, in the shape (frames, channels) of `counts`."""
    scale = np.array([channel.volts_per_count for channel in channels])
    offset = np.array([channel.offset_volts for channel in channels])
    return np.asarray(counts * scale + offset, dtype=np.float64)


def millivolts(counts: Counts, channels: Sequence[Channel]) -> npt.NDArray[np.float64]:
    """ECG in millivolts at the electrodes, in the shape (frames, channels) of `counts`."""
    baseline = np.array([channel.baseline_volts for channel in channels])
    gain = np.array([channel.gain for channel in channels])
    return np.asarray((volts(counts, channels) - baseline) / gain * 1000, dtype=np.float64)


@dataclasses.dataclass(frozen=True, slots=True)
class LogPosition:
    """A place in a device's log: the first sequence of a session that is wanted, from 0.

    An empty `log_id` means whatever log the device has.
    """

    session_id: int
    sequence: int
    log_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class SessionStarted:
    """What follows in a stream belongs to `session`, until the next of these.

    `previous_session_id` is 0 where there was none before; `hole_nanos` is the time from its end to
    frame 0 of this one, give or take `hole_uncertainty_nanos`.
    """

    session: Session
    previous_session_id: int
    previous_next_sequence: int
    hole_nanos: int
    hole_uncertainty_nanos: int


@dataclasses.dataclass(frozen=True, slots=True)
class LeadOffRun:
    """Frames during which an electrode was off, or not yet settled after it, and why.

    The counts of the channels at `channel_indexes` are not to be trusted; () means all channels.
    """

    first_sequence: int
    frame_count: int
    channel_indexes: tuple[int, ...] = ()
    reasons: tuple[LeadOffReason, ...] = ()

    @property
    def next_sequence(self) -> int:
        """Sequence after the last frame."""
        return self.first_sequence + self.frame_count


def lead_off_mask(
    runs: Sequence[LeadOffRun], first_sequence: int, frame_count: int, channel_count: int
) -> npt.NDArray[np.bool_]:
    """Which counts of `frame_count` frames from `first_sequence` on are not to be trusted.

    Its shape is (frames, channels).
    """
    mask = np.zeros((frame_count, channel_count), dtype=np.bool_)
    for run in runs:
        first = max(run.first_sequence - first_sequence, 0)
        rows = mask[first : max(run.next_sequence - first_sequence, 0)]
        # A channel that the session has not is a newer device's affair, not an IndexError.
        columns = [index for index in run.channel_indexes if index < channel_count]
        rows[:, columns if run.channel_indexes else slice(None)] = True
    return mask


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class SampleBlock:
    """A run of frames without a gap. Where one block ends and the next begins means nothing.

    Attributes:
        session: the session that the frames belong to.
        first_sequence: sequence of the first frame.
        monotonic_time_nanos: grid time of the first frame.
        counts: raw counts, uint8 or int16, shape (frames, channels), read-only.
        lead_off_runs: runs of frames with an electrode off, in order.
        late_count: frames whose read began late, but within one period.
    """

    session: Session
    first_sequence: int
    monotonic_time_nanos: int
    counts: Counts
    lead_off_runs: tuple[LeadOffRun, ...] = ()
    late_count: int = 0

    def __repr__(self) -> str:
        names = ", ".join(channel.name for channel in self.session.channels)
        off = sum(run.frame_count for run in self.lead_off_runs)
        return (
            f"<SampleBlock: frames {self.first_sequence} to {self.next_sequence - 1} of {names} "
            f"in session {self.session_id}, {off} with an electrode off, {self.late_count} late>"
        )

    @property
    def session_id(self) -> int:
        """Number of the session."""
        return self.session.session_id

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return len(self.counts)

    @property
    def channel_count(self) -> int:
        """Number of channels in each frame."""
        return int(self.counts.shape[1])

    @property
    def next_sequence(self) -> int:
        """Sequence after the last frame."""
        return self.first_sequence + len(self.counts)

    def volts(self) -> npt.NDArray[np.float64]:
        """Volts at the converter, shape (frames, channels)."""
        return volts(self.counts, self.session.channels)

    def millivolts(self) -> npt.NDArray[np.float64]:
        """ECG in millivolts at the electrodes, shape (frames, channels)."""
        return millivolts(self.counts, self.session.channels)

    def lead_off(self) -> npt.NDArray[np.bool_]:
        """Whether an electrode of any channel was off, shape (frames,)."""
        return np.asarray(self.channel_lead_off().any(axis=1))

    def channel_lead_off(self) -> npt.NDArray[np.bool_]:
        """Whether an electrode of a channel was off, shape (frames, channels)."""
        return lead_off_mask(
            self.lead_off_runs, self.first_sequence, self.frame_count, self.channel_count
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """Frames of the grid without counts. Each frame of a session is in one block or one gap."""

    session_id: int
    first_sequence: int
    frame_count: int
    cause: GapCause

    @property
    def next_sequence(self) -> int:
        """Sequence after the last missing frame."""
        return self.first_sequence + self.frame_count


@dataclasses.dataclass(frozen=True, slots=True)
class BusErrorCount:
    """Reads that failed with one errno of Linux, e.g. 121, "EREMOTEIO"."""

    errno: int
    name: str
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class RecentQuality:
    """How well the sampler kept its grid over its newest `duration_nanos`, at most a minute.

    See stream.proto, RecentQuality.
    """

    duration_nanos: int
    received_count: int
    missing_count: int
    late_count: int
    retry_count: int
    bus_error_count: int
    achieved_rate_hz: float
    lateness_p50_nanos: int
    lateness_p99_nanos: int
    lateness_p999_nanos: int
    lateness_max_nanos: int


@dataclasses.dataclass(frozen=True, slots=True)
class SamplingQuality:
    """How well the sampler keeps its grid since the session started; lateness in nanoseconds.

    See stream.proto, SamplingQuality.
    """

    received_count: int
    missing_count: int
    late_count: int
    bus_error_count: int
    sampler_restart_count: int
    lateness_p50_nanos: int
    lateness_p99_nanos: int
    lateness_max_nanos: int
    lateness_p999_nanos: int
    retry_count: int
    bus_errors: tuple[BusErrorCount, ...]
    last_minute: RecentQuality


@dataclasses.dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sent once a second: everything below `next_sequence` has been sent."""

    session_id: int
    next_sequence: int
    utc: UtcEstimate
    quality: SamplingQuality
    recording_state: RecordingState


@dataclasses.dataclass(frozen=True, slots=True)
class StreamEnd:
    """The device ended the stream; a stream from `next_sequence` on misses nothing."""

    session_id: int
    next_sequence: int
    reason: StreamEndReason


@dataclasses.dataclass(frozen=True, slots=True)
class ModelChanged:
    """Windows with last_sequence >= swap_sequence belong to this model; "" means to none."""

    session_id: int
    swap_sequence: int
    model_sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """The score of one class: a probability or a logit, as the model's spec says."""

    label: str
    value: float


@dataclasses.dataclass(frozen=True, slots=True)
class Classification:
    """What a model says of one window.

    Attributes:
        session_id: the session; 0 for values that a caller brought.
        first_sequence: sequence of the window's first frame.
        last_sequence: sequence of the window's last frame.
        monotonic_time_nanos: grid time of the last frame.
        model_sha256: digest of the model's file in lower-case hex.
        label: the class with the greatest score; "" where there is none.
        scores: one for each label, in the model's order; empty where there is no class.
        unclassifiable_reason: why there is no class; UNSPECIFIED where there is one.
        inference_nanos: time that the model took; 0 where it was not asked.
    """

    session_id: int
    first_sequence: int
    last_sequence: int
    monotonic_time_nanos: int
    model_sha256: str
    label: str
    scores: tuple[Score, ...]
    unclassifiable_reason: UnclassifiableReason
    inference_nanos: int

    @property
    def score(self) -> float | None:
        """The greatest score; None where there is no class."""
        return max((score.value for score in self.scores), default=None)
