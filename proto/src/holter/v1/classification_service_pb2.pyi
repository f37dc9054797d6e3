from holter.v1 import stream_pb2 as _stream_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UnclassifiableReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNCLASSIFIABLE_REASON_UNSPECIFIED: _ClassVar[UnclassifiableReason]
    UNCLASSIFIABLE_REASON_GAP: _ClassVar[UnclassifiableReason]
    UNCLASSIFIABLE_REASON_LEADS_OFF: _ClassVar[UnclassifiableReason]
    UNCLASSIFIABLE_REASON_MODEL_ERROR: _ClassVar[UnclassifiableReason]
    UNCLASSIFIABLE_REASON_TIMEOUT: _ClassVar[UnclassifiableReason]
    UNCLASSIFIABLE_REASON_OVERLOADED: _ClassVar[UnclassifiableReason]
    UNCLASSIFIABLE_REASON_RESTARTED: _ClassVar[UnclassifiableReason]
UNCLASSIFIABLE_REASON_UNSPECIFIED: UnclassifiableReason
UNCLASSIFIABLE_REASON_GAP: UnclassifiableReason
UNCLASSIFIABLE_REASON_LEADS_OFF: UnclassifiableReason
UNCLASSIFIABLE_REASON_MODEL_ERROR: UnclassifiableReason
UNCLASSIFIABLE_REASON_TIMEOUT: UnclassifiableReason
UNCLASSIFIABLE_REASON_OVERLOADED: UnclassifiableReason
UNCLASSIFIABLE_REASON_RESTARTED: UnclassifiableReason

class StreamClassificationsRequest(_message.Message):
    __slots__ = ("start",)
    START_FIELD_NUMBER: _ClassVar[int]
    start: _stream_pb2.StreamStart
    def __init__(self, start: _Optional[_Union[_stream_pb2.StreamStart, _Mapping]] = ...) -> None: ...

class StreamClassificationsResponse(_message.Message):
    __slots__ = ("session_started", "model_changed", "classification", "gap", "heartbeat", "end")
    SESSION_STARTED_FIELD_NUMBER: _ClassVar[int]
    MODEL_CHANGED_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    session_started: _stream_pb2.SessionStarted
    model_changed: ModelChanged
    classification: Classification
    gap: _stream_pb2.Gap
    heartbeat: _stream_pb2.Heartbeat
    end: _stream_pb2.StreamEnd
    def __init__(self, session_started: _Optional[_Union[_stream_pb2.SessionStarted, _Mapping]] = ..., model_changed: _Optional[_Union[ModelChanged, _Mapping]] = ..., classification: _Optional[_Union[Classification, _Mapping]] = ..., gap: _Optional[_Union[_stream_pb2.Gap, _Mapping]] = ..., heartbeat: _Optional[_Union[_stream_pb2.Heartbeat, _Mapping]] = ..., end: _Optional[_Union[_stream_pb2.StreamEnd, _Mapping]] = ...) -> None: ...

class ModelChanged(_message.Message):
    __slots__ = ("session_id", "swap_sequence", "model_sha256")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SWAP_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    swap_sequence: int
    model_sha256: str
    def __init__(self, session_id: _Optional[int] = ..., swap_sequence: _Optional[int] = ..., model_sha256: _Optional[str] = ...) -> None: ...

class Classification(_message.Message):
    __slots__ = ("session_id", "first_sequence", "last_sequence", "monotonic_time_nanos", "model_sha256", "label", "scores", "unclassifiable_reason", "inference_nanos")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_TIME_NANOS_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    UNCLASSIFIABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_NANOS_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    first_sequence: int
    last_sequence: int
    monotonic_time_nanos: int
    model_sha256: str
    label: str
    scores: _containers.RepeatedCompositeFieldContainer[Score]
    unclassifiable_reason: UnclassifiableReason
    inference_nanos: int
    def __init__(self, session_id: _Optional[int] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ..., monotonic_time_nanos: _Optional[int] = ..., model_sha256: _Optional[str] = ..., label: _Optional[str] = ..., scores: _Optional[_Iterable[_Union[Score, _Mapping]]] = ..., unclassifiable_reason: _Optional[_Union[UnclassifiableReason, str]] = ..., inference_nanos: _Optional[int] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("label", "value")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    label: str
    value: float
    def __init__(self, label: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class ClassifyWindowRequest(_message.Message):
    __slots__ = ("counts", "model_values")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VALUES_FIELD_NUMBER: _ClassVar[int]
    counts: bytes
    model_values: WindowValues
    def __init__(self, counts: _Optional[bytes] = ..., model_values: _Optional[_Union[WindowValues, _Mapping]] = ...) -> None: ...

class WindowValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class ClassifyWindowResponse(_message.Message):
    __slots__ = ("classification",)
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    classification: Classification
    def __init__(self, classification: _Optional[_Union[Classification, _Mapping]] = ...) -> None: ...
