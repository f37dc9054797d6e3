import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SampleFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAMPLE_FORMAT_UNSPECIFIED: _ClassVar[SampleFormat]
    SAMPLE_FORMAT_U8: _ClassVar[SampleFormat]
    SAMPLE_FORMAT_S16LE: _ClassVar[SampleFormat]

class GapCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GAP_CAUSE_UNSPECIFIED: _ClassVar[GapCause]
    GAP_CAUSE_BUS_ERROR: _ClassVar[GapCause]
    GAP_CAUSE_LATE: _ClassVar[GapCause]
    GAP_CAUSE_OVERRUN: _ClassVar[GapCause]
    GAP_CAUSE_SAMPLER_RESTARTED: _ClassVar[GapCause]
    GAP_CAUSE_RETENTION: _ClassVar[GapCause]

class RecordingState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECORDING_STATE_UNSPECIFIED: _ClassVar[RecordingState]
    RECORDING_STATE_RECORDING: _ClassVar[RecordingState]
    RECORDING_STATE_STOPPED: _ClassVar[RecordingState]

class StreamEndReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STREAM_END_REASON_UNSPECIFIED: _ClassVar[StreamEndReason]
    STREAM_END_REASON_STOPPING: _ClassVar[StreamEndReason]
    STREAM_END_REASON_SOURCE_ENDED: _ClassVar[StreamEndReason]
SAMPLE_FORMAT_UNSPECIFIED: SampleFormat
SAMPLE_FORMAT_U8: SampleFormat
SAMPLE_FORMAT_S16LE: SampleFormat
GAP_CAUSE_UNSPECIFIED: GapCause
GAP_CAUSE_BUS_ERROR: GapCause
GAP_CAUSE_LATE: GapCause
GAP_CAUSE_OVERRUN: GapCause
GAP_CAUSE_SAMPLER_RESTARTED: GapCause
GAP_CAUSE_RETENTION: GapCause
RECORDING_STATE_UNSPECIFIED: RecordingState
RECORDING_STATE_RECORDING: RecordingState
RECORDING_STATE_STOPPED: RecordingState
STREAM_END_REASON_UNSPECIFIED: StreamEndReason
STREAM_END_REASON_STOPPING: StreamEndReason
STREAM_END_REASON_SOURCE_ENDED: StreamEndReason

class Channel(_message.Message):
    __slots__ = ("name", "volts_per_count", "offset_volts", "gain", "baseline_volts", "capture_offset_nanos")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VOLTS_PER_COUNT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_VOLTS_FIELD_NUMBER: _ClassVar[int]
    GAIN_FIELD_NUMBER: _ClassVar[int]
    BASELINE_VOLTS_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_OFFSET_NANOS_FIELD_NUMBER: _ClassVar[int]
    name: str
    volts_per_count: float
    offset_volts: float
    gain: float
    baseline_volts: float
    capture_offset_nanos: int
    def __init__(self, name: _Optional[str] = ..., volts_per_count: _Optional[float] = ..., offset_volts: _Optional[float] = ..., gain: _Optional[float] = ..., baseline_volts: _Optional[float] = ..., capture_offset_nanos: _Optional[int] = ...) -> None: ...

class UtcEstimate(_message.Message):
    __slots__ = ("offset_nanos", "uncertainty_nanos", "synchronized")
    OFFSET_NANOS_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_NANOS_FIELD_NUMBER: _ClassVar[int]
    SYNCHRONIZED_FIELD_NUMBER: _ClassVar[int]
    offset_nanos: int
    uncertainty_nanos: int
    synchronized: bool
    def __init__(self, offset_nanos: _Optional[int] = ..., uncertainty_nanos: _Optional[int] = ..., synchronized: bool = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("session_id", "log_id", "rate_hz", "start_monotonic_nanos", "channels", "sample_format", "boot_id", "utc")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    START_MONOTONIC_NANOS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    UTC_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    log_id: str
    rate_hz: float
    start_monotonic_nanos: int
    channels: _containers.RepeatedCompositeFieldContainer[Channel]
    sample_format: SampleFormat
    boot_id: str
    utc: UtcEstimate
    def __init__(self, session_id: _Optional[int] = ..., log_id: _Optional[str] = ..., rate_hz: _Optional[float] = ..., start_monotonic_nanos: _Optional[int] = ..., channels: _Optional[_Iterable[_Union[Channel, _Mapping]]] = ..., sample_format: _Optional[_Union[SampleFormat, str]] = ..., boot_id: _Optional[str] = ..., utc: _Optional[_Union[UtcEstimate, _Mapping]] = ...) -> None: ...

class SessionStarted(_message.Message):
    __slots__ = ("session", "previous_session_id", "previous_next_sequence", "hole_nanos", "hole_uncertainty_nanos")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HOLE_NANOS_FIELD_NUMBER: _ClassVar[int]
    HOLE_UNCERTAINTY_NANOS_FIELD_NUMBER: _ClassVar[int]
    session: Session
    previous_session_id: int
    previous_next_sequence: int
    hole_nanos: int
    hole_uncertainty_nanos: int
    def __init__(self, session: _Optional[_Union[Session, _Mapping]] = ..., previous_session_id: _Optional[int] = ..., previous_next_sequence: _Optional[int] = ..., hole_nanos: _Optional[int] = ..., hole_uncertainty_nanos: _Optional[int] = ...) -> None: ...

class LogPosition(_message.Message):
    __slots__ = ("log_id", "session_id", "sequence")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    log_id: str
    session_id: int
    sequence: int
    def __init__(self, log_id: _Optional[str] = ..., session_id: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class StartLive(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StartEarliest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StreamStart(_message.Message):
    __slots__ = ("live", "earliest", "position", "time")
    LIVE_FIELD_NUMBER: _ClassVar[int]
    EARLIEST_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    live: StartLive
    earliest: StartEarliest
    position: LogPosition
    time: _timestamp_pb2.Timestamp
    def __init__(self, live: _Optional[_Union[StartLive, _Mapping]] = ..., earliest: _Optional[_Union[StartEarliest, _Mapping]] = ..., position: _Optional[_Union[LogPosition, _Mapping]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("session_id", "first_sequence", "frame_count", "cause")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    first_sequence: int
    frame_count: int
    cause: GapCause
    def __init__(self, session_id: _Optional[int] = ..., first_sequence: _Optional[int] = ..., frame_count: _Optional[int] = ..., cause: _Optional[_Union[GapCause, str]] = ...) -> None: ...

class BusErrorCount(_message.Message):
    __slots__ = ("errno", "name", "count")
    ERRNO_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    errno: int
    name: str
    count: int
    def __init__(self, errno: _Optional[int] = ..., name: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class RecentQuality(_message.Message):
    __slots__ = ("duration_nanos", "received_count", "missing_count", "late_count", "retry_count", "bus_error_count", "achieved_rate_hz", "lateness_p50_nanos", "lateness_p99_nanos", "lateness_p999_nanos", "lateness_max_nanos")
    DURATION_NANOS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISSING_COUNT_FIELD_NUMBER: _ClassVar[int]
    LATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    RETRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    BUS_ERROR_COUNT_FIELD_NUMBER: _ClassVar[int]
    ACHIEVED_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    LATENESS_P50_NANOS_FIELD_NUMBER: _ClassVar[int]
    LATENESS_P99_NANOS_FIELD_NUMBER: _ClassVar[int]
    LATENESS_P999_NANOS_FIELD_NUMBER: _ClassVar[int]
    LATENESS_MAX_NANOS_FIELD_NUMBER: _ClassVar[int]
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
    def __init__(self, duration_nanos: _Optional[int] = ..., received_count: _Optional[int] = ..., missing_count: _Optional[int] = ..., late_count: _Optional[int] = ..., retry_count: _Optional[int] = ..., bus_error_count: _Optional[int] = ..., achieved_rate_hz: _Optional[float] = ..., lateness_p50_nanos: _Optional[int] = ..., lateness_p99_nanos: _Optional[int] = ..., lateness_p999_nanos: _Optional[int] = ..., lateness_max_nanos: _Optional[int] = ...) -> None: ...

class SamplingQuality(_message.Message):
    __slots__ = ("received_count", "missing_count", "late_count", "bus_error_count", "sampler_restart_count", "lateness_p50_nanos", "lateness_p99_nanos", "lateness_max_nanos", "lateness_p999_nanos", "retry_count", "bus_errors", "last_minute")
    RECEIVED_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISSING_COUNT_FIELD_NUMBER: _ClassVar[int]
    LATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    BUS_ERROR_COUNT_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_RESTART_COUNT_FIELD_NUMBER: _ClassVar[int]
    LATENESS_P50_NANOS_FIELD_NUMBER: _ClassVar[int]
    LATENESS_P99_NANOS_FIELD_NUMBER: _ClassVar[int]
    LATENESS_MAX_NANOS_FIELD_NUMBER: _ClassVar[int]
    LATENESS_P999_NANOS_FIELD_NUMBER: _ClassVar[int]
    RETRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    BUS_ERRORS_FIELD_NUMBER: _ClassVar[int]
    LAST_MINUTE_FIELD_NUMBER: _ClassVar[int]
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
    bus_errors: _containers.RepeatedCompositeFieldContainer[BusErrorCount]
    last_minute: RecentQuality
    def __init__(self, received_count: _Optional[int] = ..., missing_count: _Optional[int] = ..., late_count: _Optional[int] = ..., bus_error_count: _Optional[int] = ..., sampler_restart_count: _Optional[int] = ..., lateness_p50_nanos: _Optional[int] = ..., lateness_p99_nanos: _Optional[int] = ..., lateness_max_nanos: _Optional[int] = ..., lateness_p999_nanos: _Optional[int] = ..., retry_count: _Optional[int] = ..., bus_errors: _Optional[_Iterable[_Union[BusErrorCount, _Mapping]]] = ..., last_minute: _Optional[_Union[RecentQuality, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("session_id", "next_sequence", "utc", "quality", "recording_state")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UTC_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    RECORDING_STATE_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    next_sequence: int
    utc: UtcEstimate
    quality: SamplingQuality
    recording_state: RecordingState
    def __init__(self, session_id: _Optional[int] = ..., next_sequence: _Optional[int] = ..., utc: _Optional[_Union[UtcEstimate, _Mapping]] = ..., quality: _Optional[_Union[SamplingQuality, _Mapping]] = ..., recording_state: _Optional[_Union[RecordingState, str]] = ...) -> None: ...

class StreamEnd(_message.Message):
    __slots__ = ("session_id", "next_sequence", "reason")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    next_sequence: int
    reason: StreamEndReason
    def __init__(self, session_id: _Optional[int] = ..., next_sequence: _Optional[int] = ..., reason: _Optional[_Union[StreamEndReason, str]] = ...) -> None: ...
