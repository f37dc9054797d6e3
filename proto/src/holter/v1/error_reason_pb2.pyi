from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_FIELD: _ClassVar[ErrorReason]
    ERROR_REASON_SESSION_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_LOG_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_SEQUENCE_OUT_OF_RANGE: _ClassVar[ErrorReason]
    ERROR_REASON_DIGEST_MISMATCH: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_MALFORMED: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_UNFIT: _ClassVar[ErrorReason]
    ERROR_REASON_GOLDEN_MISMATCH: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_CRASHED: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_TIMEOUT: _ClassVar[ErrorReason]
    ERROR_REASON_DEPLOY_IN_PROGRESS: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_STORE_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_NO_ACTIVE_MODEL: _ClassVar[ErrorReason]
    ERROR_REASON_WINDOW_SIZE_MISMATCH: _ClassVar[ErrorReason]
    ERROR_REASON_CLASSIFIER_UNAVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_OP_UNSUPPORTED: _ClassVar[ErrorReason]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_INTERNAL: ErrorReason
ERROR_REASON_INVALID_FIELD: ErrorReason
ERROR_REASON_SESSION_NOT_FOUND: ErrorReason
ERROR_REASON_LOG_NOT_FOUND: ErrorReason
ERROR_REASON_SEQUENCE_OUT_OF_RANGE: ErrorReason
ERROR_REASON_DIGEST_MISMATCH: ErrorReason
ERROR_REASON_MODEL_MALFORMED: ErrorReason
ERROR_REASON_MODEL_TOO_LARGE: ErrorReason
ERROR_REASON_MODEL_UNFIT: ErrorReason
ERROR_REASON_GOLDEN_MISMATCH: ErrorReason
ERROR_REASON_MODEL_CRASHED: ErrorReason
ERROR_REASON_MODEL_TIMEOUT: ErrorReason
ERROR_REASON_DEPLOY_IN_PROGRESS: ErrorReason
ERROR_REASON_MODEL_NOT_FOUND: ErrorReason
ERROR_REASON_STORE_FULL: ErrorReason
ERROR_REASON_NO_ACTIVE_MODEL: ErrorReason
ERROR_REASON_WINDOW_SIZE_MISMATCH: ErrorReason
ERROR_REASON_CLASSIFIER_UNAVAILABLE: ErrorReason
ERROR_REASON_OP_UNSUPPORTED: ErrorReason
