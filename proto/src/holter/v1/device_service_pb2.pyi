from holter.v1 import model_service_pb2 as _model_service_pb2
from holter.v1 import stream_pb2 as _stream_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SamplerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAMPLER_STATE_UNSPECIFIED: _ClassVar[SamplerState]
    SAMPLER_STATE_STARTING: _ClassVar[SamplerState]
    SAMPLER_STATE_RUNNING: _ClassVar[SamplerState]
    SAMPLER_STATE_ENDED: _ClassVar[SamplerState]

class ClassifierState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLASSIFIER_STATE_UNSPECIFIED: _ClassVar[ClassifierState]
    CLASSIFIER_STATE_NO_MODEL: _ClassVar[ClassifierState]
    CLASSIFIER_STATE_STARTING: _ClassVar[ClassifierState]
    CLASSIFIER_STATE_RUNNING: _ClassVar[ClassifierState]
SAMPLER_STATE_UNSPECIFIED: SamplerState
SAMPLER_STATE_STARTING: SamplerState
SAMPLER_STATE_RUNNING: SamplerState
SAMPLER_STATE_ENDED: SamplerState
CLASSIFIER_STATE_UNSPECIFIED: ClassifierState
CLASSIFIER_STATE_NO_MODEL: ClassifierState
CLASSIFIER_STATE_STARTING: ClassifierState
CLASSIFIER_STATE_RUNNING: ClassifierState

class GetClockRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetClockResponse(_message.Message):
    __slots__ = ("monotonic_time_nanos", "utc", "boot_id", "speed")
    MONOTONIC_TIME_NANOS_FIELD_NUMBER: _ClassVar[int]
    UTC_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    monotonic_time_nanos: int
    utc: _stream_pb2.UtcEstimate
    boot_id: str
    speed: float
    def __init__(self, monotonic_time_nanos: _Optional[int] = ..., utc: _Optional[_Union[_stream_pb2.UtcEstimate, _Mapping]] = ..., boot_id: _Optional[str] = ..., speed: _Optional[float] = ...) -> None: ...

class GetDeviceRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetDeviceResponse(_message.Message):
    __slots__ = ("version", "hostname", "log_id", "session", "next_sequence", "source", "sampler_state", "quality", "monotonic_time_nanos", "utc", "classifier_state", "active_model", "runtime", "limits", "uptime_nanos", "sampler_error", "classifier_error", "recording", "trusted_keys")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_STATE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_TIME_NANOS_FIELD_NUMBER: _ClassVar[int]
    UTC_FIELD_NUMBER: _ClassVar[int]
    CLASSIFIER_STATE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_MODEL_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_NANOS_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_ERROR_FIELD_NUMBER: _ClassVar[int]
    CLASSIFIER_ERROR_FIELD_NUMBER: _ClassVar[int]
    RECORDING_FIELD_NUMBER: _ClassVar[int]
    TRUSTED_KEYS_FIELD_NUMBER: _ClassVar[int]
    version: str
    hostname: str
    log_id: str
    session: _stream_pb2.Session
    next_sequence: int
    source: Source
    sampler_state: SamplerState
    quality: _stream_pb2.SamplingQuality
    monotonic_time_nanos: int
    utc: _stream_pb2.UtcEstimate
    classifier_state: ClassifierState
    active_model: _model_service_pb2.Model
    runtime: Runtime
    limits: Limits
    uptime_nanos: int
    sampler_error: str
    classifier_error: str
    recording: Recording
    trusted_keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[str] = ..., hostname: _Optional[str] = ..., log_id: _Optional[str] = ..., session: _Optional[_Union[_stream_pb2.Session, _Mapping]] = ..., next_sequence: _Optional[int] = ..., source: _Optional[_Union[Source, _Mapping]] = ..., sampler_state: _Optional[_Union[SamplerState, str]] = ..., quality: _Optional[_Union[_stream_pb2.SamplingQuality, _Mapping]] = ..., monotonic_time_nanos: _Optional[int] = ..., utc: _Optional[_Union[_stream_pb2.UtcEstimate, _Mapping]] = ..., classifier_state: _Optional[_Union[ClassifierState, str]] = ..., active_model: _Optional[_Union[_model_service_pb2.Model, _Mapping]] = ..., runtime: _Optional[_Union[Runtime, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., uptime_nanos: _Optional[int] = ..., sampler_error: _Optional[str] = ..., classifier_error: _Optional[str] = ..., recording: _Optional[_Union[Recording, _Mapping]] = ..., trusted_keys: _Optional[_Iterable[str]] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("kind", "description", "speed", "oversampling", "frame_read_nanos", "real_time_priority", "memory_locked")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    OVERSAMPLING_FIELD_NUMBER: _ClassVar[int]
    FRAME_READ_NANOS_FIELD_NUMBER: _ClassVar[int]
    REAL_TIME_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LOCKED_FIELD_NUMBER: _ClassVar[int]
    kind: str
    description: str
    speed: float
    oversampling: int
    frame_read_nanos: int
    real_time_priority: bool
    memory_locked: bool
    def __init__(self, kind: _Optional[str] = ..., description: _Optional[str] = ..., speed: _Optional[float] = ..., oversampling: _Optional[int] = ..., frame_read_nanos: _Optional[int] = ..., real_time_priority: bool = ..., memory_locked: bool = ...) -> None: ...

class Recording(_message.Message):
    __slots__ = ("state", "error", "size_bytes", "size_limit_bytes", "earliest", "durable_sequence", "lost_frame_count", "written_bytes")
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIZE_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    EARLIEST_FIELD_NUMBER: _ClassVar[int]
    DURABLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LOST_FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    state: _stream_pb2.RecordingState
    error: str
    size_bytes: int
    size_limit_bytes: int
    earliest: _stream_pb2.LogPosition
    durable_sequence: int
    lost_frame_count: int
    written_bytes: int
    def __init__(self, state: _Optional[_Union[_stream_pb2.RecordingState, str]] = ..., error: _Optional[str] = ..., size_bytes: _Optional[int] = ..., size_limit_bytes: _Optional[int] = ..., earliest: _Optional[_Union[_stream_pb2.LogPosition, _Mapping]] = ..., durable_sequence: _Optional[int] = ..., lost_frame_count: _Optional[int] = ..., written_bytes: _Optional[int] = ...) -> None: ...

class Runtime(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_model_bytes", "max_window_frame_count")
    MAX_MODEL_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_WINDOW_FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    max_model_bytes: int
    max_window_frame_count: int
    def __init__(self, max_model_bytes: _Optional[int] = ..., max_window_frame_count: _Optional[int] = ...) -> None: ...
