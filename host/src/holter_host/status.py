"""What a device says of itself and of its models; fields are named as in holter.v1."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping

from holter_host.enums import (
    ClassifierState,
    ModelState,
    ModelUnit,
    ProbationState,
    RecordingState,
    ReturnCause,
    SamplerState,
    ScoreKind,
)
from holter_host.types import LogPosition, SamplingQuality, Session, UtcEstimate


@dataclasses.dataclass(frozen=True, slots=True)
class SpecSummary:
    """What a stored model says of itself; see model_service.proto, ModelSpec."""

    name: str
    version: int
    rate_hz: float
    window_frame_count: int
    hop_frame_count: int
    channels: tuple[str, ...]
    unit: ModelUnit
    labels: tuple[str, ...]
    score_kind: ScoreKind
    tolerance: float

    @property
    def channel_count(self) -> int:
        """Number of channels in a window: 1 where `channels` leaves it to the device."""
        return max(1, len(self.channels))


@dataclasses.dataclass(frozen=True, slots=True)
class StoredModel:
    """A model that a device holds; `sha256` is its name everywhere, `store_time` is UTC.

    `signer` is the key of the signature that came with it, "" where none came; the device looked
    whether it is true if it has trusted keys.
    """

    sha256: str
    state: ModelState
    size_bytes: int
    store_time: datetime.datetime | None
    spec: SpecSummary
    signer: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class GateStep:
    """One step of the gate that passed, what it found by name, and the nanoseconds it took."""

    name: str
    elapsed_nanos: int
    facts: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate found, in the order in which it went."""

    steps: tuple[GateStep, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class DeployResult:
    """What a deploy or an activation did.

    Attributes:
        model: the model as the device holds it; with validate_only, as it would.
        gate_report: what the gate found.
        session_id: the session of the swap; 0 where nothing was swapped.
        swap_sequence: windows with last_sequence at or after this one belong to the model.
        already_active: whether the model was active before, so that nothing was done.
    """

    model: StoredModel
    gate_report: GateReport
    session_id: int
    swap_sequence: int
    already_active: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Probation:
    """Whether a model that was swapped in does well; see model_service.proto, Probation.

    Attributes:
        sha256: the model on probation.
        previous_sha256: the model that the device goes back to.
        state: how it does, or did.
        return_cause: why the device went back, if it did.
        reason: the same as a sentence.
        start_time: when it was swapped in, UTC; None where the device does not know.
        end_time: when it was over; None while it runs.
        window_count: windows that the model was asked for.
    """

    sha256: str
    previous_sha256: str
    state: ProbationState
    return_cause: ReturnCause
    reason: str
    start_time: datetime.datetime | None
    end_time: datetime.datetime | None
    window_count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where a device's frames come from; `speed` is 1 in real time, 0 as fast as can be.

    `frame_read_nanos` is the time that reading one frame takes, 0 where nothing is read. See
    device_service.proto, Source.
    """

    kind: str
    description: str
    speed: float
    oversampling: int
    frame_read_nanos: int
    real_time_priority: bool
    memory_locked: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """How a device's log does; see device_service.proto, Recording.

    `earliest` is the first frame that is kept, None where there is none; `size_limit_bytes` is 0
    where only their age counts. Frames of the running session below `durable_sequence` survive a
    power cut.
    """

    state: RecordingState
    error: str
    size_bytes: int
    size_limit_bytes: int
    earliest: LogPosition | None
    durable_sequence: int
    lost_frame_count: int
    written_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Runtime:
    """The TFLite runtime of a device."""

    name: str
    version: str


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a device accepts; 0 where it does not say."""

    max_model_bytes: int
    max_window_frame_count: int


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What a device is and how it does; see device_service.proto, GetDeviceResponse."""

    version: str
    hostname: str
    log_id: str
    session: Session
    next_sequence: int
    source: Source
    sampler_state: SamplerState
    quality: SamplingQuality
    monotonic_time_nanos: int
    utc: UtcEstimate
    classifier_state: ClassifierState
    active_model: StoredModel | None
    runtime: Runtime | None
    limits: Limits
    uptime_nanos: int
    sampler_error: str
    classifier_error: str
    recording: Recording
    trusted_keys: tuple[str, ...] = ()
