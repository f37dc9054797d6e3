import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from holter.v1 import stream_pb2 as _stream_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeadOffReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEAD_OFF_REASON_UNSPECIFIED: _ClassVar[LeadOffReason]
    LEAD_OFF_REASON_LO_PLUS: _ClassVar[LeadOffReason]
    LEAD_OFF_REASON_LO_MINUS: _ClassVar[LeadOffReason]
    LEAD_OFF_REASON_RAILED: _ClassVar[LeadOffReason]
    LEAD_OFF_REASON_SETTLING: _ClassVar[LeadOffReason]
LEAD_OFF_REASON_UNSPECIFIED: LeadOffReason
LEAD_OFF_REASON_LO_PLUS: LeadOffReason
LEAD_OFF_REASON_LO_MINUS: LeadOffReason
LEAD_OFF_REASON_RAILED: LeadOffReason
LEAD_OFF_REASON_SETTLING: LeadOffReason

class StreamSamplesRequest(_message.Message):
    __slots__ = ("start", "max_latency")
    START_FIELD_NUMBER: _ClassVar[int]
    MAX_LATENCY_FIELD_NUMBER: _ClassVar[int]
    start: _stream_pb2.StreamStart
    max_latency: _duration_pb2.Duration
    def __init__(self, start: _Optional[_Union[_stream_pb2.StreamStart, _Mapping]] = ..., max_latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StreamSamplesResponse(_message.Message):
    __slots__ = ("session_started", "sample_block", "gap", "heartbeat", "end")
    SESSION_STARTED_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_BLOCK_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    session_started: _stream_pb2.SessionStarted
    sample_block: SampleBlock
    gap: _stream_pb2.Gap
    heartbeat: _stream_pb2.Heartbeat
    end: _stream_pb2.StreamEnd
    def __init__(self, session_started: _Optional[_Union[_stream_pb2.SessionStarted, _Mapping]] = ..., sample_block: _Optional[_Union[SampleBlock, _Mapping]] = ..., gap: _Optional[_Union[_stream_pb2.Gap, _Mapping]] = ..., heartbeat: _Optional[_Union[_stream_pb2.Heartbeat, _Mapping]] = ..., end: _Optional[_Union[_stream_pb2.StreamEnd, _Mapping]] = ...) -> None: ...

class SampleBlock(_message.Message):
    __slots__ = ("session_id", "first_sequence", "frame_count", "channel_count", "monotonic_time_nanos", "counts", "sample_format", "lead_off_runs", "late_count")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_TIME_NANOS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    LEAD_OFF_RUNS_FIELD_NUMBER: _ClassVar[int]
    LATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    first_sequence: int
    frame_count: int
    channel_count: int
    monotonic_time_nanos: int
    counts: bytes
    sample_format: _stream_pb2.SampleFormat
    lead_off_runs: _containers.RepeatedCompositeFieldContainer[LeadOffRun]
    late_count: int
    def __init__(self, session_id: _Optional[int] = ..., first_sequence: _Optional[int] = ..., frame_count: _Optional[int] = ..., channel_count: _Optional[int] = ..., monotonic_time_nanos: _Optional[int] = ..., counts: _Optional[bytes] = ..., sample_format: _Optional[_Union[_stream_pb2.SampleFormat, str]] = ..., lead_off_runs: _Optional[_Iterable[_Union[LeadOffRun, _Mapping]]] = ..., late_count: _Optional[int] = ...) -> None: ...

class LeadOffRun(_message.Message):
    __slots__ = ("first_sequence", "frame_count", "channel_indexes", "reasons")
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_INDEXES_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    first_sequence: int
    frame_count: int
    channel_indexes: _containers.RepeatedScalarFieldContainer[int]
    reasons: _containers.RepeatedScalarFieldContainer[LeadOffReason]
    def __init__(self, first_sequence: _Optional[int] = ..., frame_count: _Optional[int] = ..., channel_indexes: _Optional[_Iterable[int]] = ..., reasons: _Optional[_Iterable[_Union[LeadOffReason, str]]] = ...) -> None: ...
