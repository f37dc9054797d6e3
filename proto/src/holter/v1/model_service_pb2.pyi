import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNSPECIFIED: _ClassVar[ModelState]
    MODEL_STATE_STORED: _ClassVar[ModelState]
    MODEL_STATE_ACTIVE: _ClassVar[ModelState]
    MODEL_STATE_PREVIOUS: _ClassVar[ModelState]

class ModelUnit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_UNIT_UNSPECIFIED: _ClassVar[ModelUnit]
    MODEL_UNIT_COUNTS: _ClassVar[ModelUnit]
    MODEL_UNIT_VOLTS: _ClassVar[ModelUnit]
    MODEL_UNIT_MILLIVOLTS: _ClassVar[ModelUnit]

class ScoreKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCORE_KIND_UNSPECIFIED: _ClassVar[ScoreKind]
    SCORE_KIND_PROBABILITIES: _ClassVar[ScoreKind]
    SCORE_KIND_LOGITS: _ClassVar[ScoreKind]

class ProbationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROBATION_STATE_UNSPECIFIED: _ClassVar[ProbationState]
    PROBATION_STATE_RUNNING: _ClassVar[ProbationState]
    PROBATION_STATE_PASSED: _ClassVar[ProbationState]
    PROBATION_STATE_RETURNED: _ClassVar[ProbationState]

class ReturnCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETURN_CAUSE_UNSPECIFIED: _ClassVar[ReturnCause]
    RETURN_CAUSE_SCORES_NOT_FINITE: _ClassVar[ReturnCause]
    RETURN_CAUSE_MODEL_FAILED: _ClassVar[ReturnCause]
    RETURN_CAUSE_CLASSIFIER_ENDED: _ClassVar[ReturnCause]
    RETURN_CAUSE_DEADLINES_MISSED: _ClassVar[ReturnCause]
    RETURN_CAUSE_CRASH_LOOP: _ClassVar[ReturnCause]
    RETURN_CAUSE_NOT_RESTORED: _ClassVar[ReturnCause]
    RETURN_CAUSE_ROLLED_BACK: _ClassVar[ReturnCause]
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_STORED: ModelState
MODEL_STATE_ACTIVE: ModelState
MODEL_STATE_PREVIOUS: ModelState
MODEL_UNIT_UNSPECIFIED: ModelUnit
MODEL_UNIT_COUNTS: ModelUnit
MODEL_UNIT_VOLTS: ModelUnit
MODEL_UNIT_MILLIVOLTS: ModelUnit
SCORE_KIND_UNSPECIFIED: ScoreKind
SCORE_KIND_PROBABILITIES: ScoreKind
SCORE_KIND_LOGITS: ScoreKind
PROBATION_STATE_UNSPECIFIED: ProbationState
PROBATION_STATE_RUNNING: ProbationState
PROBATION_STATE_PASSED: ProbationState
PROBATION_STATE_RETURNED: ProbationState
RETURN_CAUSE_UNSPECIFIED: ReturnCause
RETURN_CAUSE_SCORES_NOT_FINITE: ReturnCause
RETURN_CAUSE_MODEL_FAILED: ReturnCause
RETURN_CAUSE_CLASSIFIER_ENDED: ReturnCause
RETURN_CAUSE_DEADLINES_MISSED: ReturnCause
RETURN_CAUSE_CRASH_LOOP: ReturnCause
RETURN_CAUSE_NOT_RESTORED: ReturnCause
RETURN_CAUSE_ROLLED_BACK: ReturnCause

class DeployModelRequest(_message.Message):
    __slots__ = ("model", "sha256", "validate_only", "signature")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    model: bytes
    sha256: str
    validate_only: bool
    signature: ModelSignature
    def __init__(self, model: _Optional[bytes] = ..., sha256: _Optional[str] = ..., validate_only: bool = ..., signature: _Optional[_Union[ModelSignature, _Mapping]] = ...) -> None: ...

class ModelSignature(_message.Message):
    __slots__ = ("public_key", "value")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    value: bytes
    def __init__(self, public_key: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class DeployModelResponse(_message.Message):
    __slots__ = ("model", "gate_report", "session_id", "swap_sequence", "already_active")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    GATE_REPORT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SWAP_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ALREADY_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    model: Model
    gate_report: GateReport
    session_id: int
    swap_sequence: int
    already_active: bool
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., gate_report: _Optional[_Union[GateReport, _Mapping]] = ..., session_id: _Optional[int] = ..., swap_sequence: _Optional[int] = ..., already_active: bool = ...) -> None: ...

class GateReport(_message.Message):
    __slots__ = ("steps",)
    STEPS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[GateStep]
    def __init__(self, steps: _Optional[_Iterable[_Union[GateStep, _Mapping]]] = ...) -> None: ...

class GateStep(_message.Message):
    __slots__ = ("name", "elapsed_nanos", "facts")
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_NANOS_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    elapsed_nanos: int
    facts: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., elapsed_nanos: _Optional[int] = ..., facts: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("sha256", "state", "size_bytes", "store_time", "spec", "signer")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORE_TIME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    state: ModelState
    size_bytes: int
    store_time: _timestamp_pb2.Timestamp
    spec: ModelSpec
    signer: str
    def __init__(self, sha256: _Optional[str] = ..., state: _Optional[_Union[ModelState, str]] = ..., size_bytes: _Optional[int] = ..., store_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., spec: _Optional[_Union[ModelSpec, _Mapping]] = ..., signer: _Optional[str] = ...) -> None: ...

class ModelSpec(_message.Message):
    __slots__ = ("name", "version", "rate_hz", "window_frame_count", "hop_frame_count", "channels", "unit", "labels", "score_kind", "tolerance")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    HOP_FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SCORE_KIND_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    rate_hz: float
    window_frame_count: int
    hop_frame_count: int
    channels: _containers.RepeatedScalarFieldContainer[str]
    unit: ModelUnit
    labels: _containers.RepeatedScalarFieldContainer[str]
    score_kind: ScoreKind
    tolerance: float
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., rate_hz: _Optional[float] = ..., window_frame_count: _Optional[int] = ..., hop_frame_count: _Optional[int] = ..., channels: _Optional[_Iterable[str]] = ..., unit: _Optional[_Union[ModelUnit, str]] = ..., labels: _Optional[_Iterable[str]] = ..., score_kind: _Optional[_Union[ScoreKind, str]] = ..., tolerance: _Optional[float] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "probation")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    PROBATION_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    probation: Probation
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., probation: _Optional[_Union[Probation, _Mapping]] = ...) -> None: ...

class Probation(_message.Message):
    __slots__ = ("sha256", "previous_sha256", "state", "return_cause", "reason", "start_time", "end_time", "window_count")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_SHA256_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RETURN_CAUSE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    WINDOW_COUNT_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    previous_sha256: str
    state: ProbationState
    return_cause: ReturnCause
    reason: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    window_count: int
    def __init__(self, sha256: _Optional[str] = ..., previous_sha256: _Optional[str] = ..., state: _Optional[_Union[ProbationState, str]] = ..., return_cause: _Optional[_Union[ReturnCause, str]] = ..., reason: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., window_count: _Optional[int] = ...) -> None: ...

class ActivateModelRequest(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    def __init__(self, sha256: _Optional[str] = ...) -> None: ...

class ActivateModelResponse(_message.Message):
    __slots__ = ("model", "gate_report", "session_id", "swap_sequence", "already_active")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    GATE_REPORT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SWAP_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ALREADY_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    model: Model
    gate_report: GateReport
    session_id: int
    swap_sequence: int
    already_active: bool
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., gate_report: _Optional[_Union[GateReport, _Mapping]] = ..., session_id: _Optional[int] = ..., swap_sequence: _Optional[int] = ..., already_active: bool = ...) -> None: ...

class DeleteModelRequest(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    def __init__(self, sha256: _Optional[str] = ...) -> None: ...

class DeleteModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...
