"""The enumerations of holter.v1, by their names without the prefix.

Each has the members that this version knows, `UNSPECIFIED` for what was not set, and `UNRECOGNIZED`
for a number from a newer device: a new number is never an error. Members are strings:
`GapCause.BUS_ERROR == "BUS_ERROR"`.
"""

from __future__ import annotations

import enum


class SampleFormat(enum.StrEnum):
    """How one count is written."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    U8 = "U8"
    S16LE = "S16LE"


class GapCause(enum.StrEnum):
    """Why frames are missing."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    BUS_ERROR = "BUS_ERROR"
    LATE = "LATE"
    OVERRUN = "OVERRUN"
    SAMPLER_RESTARTED = "SAMPLER_RESTARTED"
    RETENTION = "RETENTION"


class LeadOffReason(enum.StrEnum):
    """Why an electrode counts as off."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    LO_PLUS = "LO_PLUS"
    LO_MINUS = "LO_MINUS"
    RAILED = "RAILED"
    SETTLING = "SETTLING"


class RecordingState(enum.StrEnum):
    """Whether frames reach the device's disk; STOPPED is an alarm."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    RECORDING = "RECORDING"
    STOPPED = "STOPPED"


class StreamEndReason(enum.StrEnum):
    """Why a device ended a stream."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    STOPPING = "STOPPING"
    SOURCE_ENDED = "SOURCE_ENDED"


class UnclassifiableReason(enum.StrEnum):
    """Why a window has no class; `UNSPECIFIED` where it has one."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    GAP = "GAP"
    LEADS_OFF = "LEADS_OFF"
    MODEL_ERROR = "MODEL_ERROR"
    TIMEOUT = "TIMEOUT"
    OVERLOADED = "OVERLOADED"
    RESTARTED = "RESTARTED"


class SamplerState(enum.StrEnum):
    """How the sampler does."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    ENDED = "ENDED"


class ClassifierState(enum.StrEnum):
    """How the classifier does."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    NO_MODEL = "NO_MODEL"
    STARTING = "STARTING"
    RUNNING = "RUNNING"


class ModelState(enum.StrEnum):
    """What a model is to the device."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    STORED = "STORED"
    ACTIVE = "ACTIVE"
    PREVIOUS = "PREVIOUS"


class ModelUnit(enum.StrEnum):
    """What values a model takes."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    COUNTS = "COUNTS"
    VOLTS = "VOLTS"
    MILLIVOLTS = "MILLIVOLTS"


class ProbationState(enum.StrEnum):
    """How a probation does, or did."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    RUNNING = "RUNNING"
    PASSED = "PASSED"
    RETURNED = "RETURNED"


class ReturnCause(enum.StrEnum):
    """Why a device went back to the model before; UNSPECIFIED where it did not."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    SCORES_NOT_FINITE = "SCORES_NOT_FINITE"
    MODEL_FAILED = "MODEL_FAILED"
    CLASSIFIER_ENDED = "CLASSIFIER_ENDED"
    DEADLINES_MISSED = "DEADLINES_MISSED"
    CRASH_LOOP = "CRASH_LOOP"
    NOT_RESTORED = "NOT_RESTORED"
    ROLLED_BACK = "ROLLED_BACK"


class ScoreKind(enum.StrEnum):
    """What a model's scores are."""

    UNSPECIFIED = "UNSPECIFIED"
    UNRECOGNIZED = "UNRECOGNIZED"
    PROBABILITIES = "PROBABILITIES"
    LOGITS = "LOGITS"
