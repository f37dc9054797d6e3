"""holter: convert, prove, deploy and watch ECG models on Holter devices.

    async with holter_host.connect("127.0.0.1:50051") as device:
        async for event in device.classifications():
            print(event)

Names are loaded when they are first used: importing this package loads neither gRPC nor numpy, and
TensorFlow only ever by `convert`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from holter_host._reconnect import ConnectionChange
    from holter_host.bundle import Bundle, read_bundle
    from holter_host.capture import Capture
    from holter_host.client import Device, connect
    from holter_host.clock import ClockOffset
    from holter_host.enums import (
        ClassifierState,
        GapCause,
        LeadOffReason,
        ModelState,
        ModelUnit,
        ProbationState,
        RecordingState,
        ReturnCause,
        SampleFormat,
        SamplerState,
        ScoreKind,
        StreamEndReason,
        UnclassifiableReason,
    )
    from holter_host.errors import (
        BadInputError,
        ClassifierUnavailableError,
        ConversionError,
        DeadlineError,
        DeployInProgressError,
        DeviceError,
        DeviceUnreachableError,
        HolterError,
        InvalidRequestError,
        ModelRefusedError,
        NoActiveModelError,
        NotFoundError,
        ProtocolError,
    )
    from holter_host.fleet import Fleet, Outcome, OutcomeState
    from holter_host.fleet_streams import FleetEvent
    from holter_host.inventory import (
        FleetDevice,
        Inventory,
        InventoryError,
        InventoryProblem,
        NothingSelectedError,
        load_inventory,
    )
    from holter_host.rollout.api import (
        DeviceState,
        Rollout,
        RolloutBusyError,
        RolloutDevice,
        RolloutRecord,
        RolloutState,
        RolloutSummary,
        approve_rollout,
        default_hands,
        resume_rollout,
        rollout_devices,
        rollouts,
        undo_rollout,
    )
    from holter_host.rollout.start import RolloutOptions
    from holter_host.status import (
        DeployResult,
        DeviceStatus,
        GateReport,
        GateStep,
        Limits,
        Probation,
        Recording,
        Runtime,
        Source,
        SpecSummary,
        StoredModel,
    )
    from holter_host.streams import (
        ClassificationEvent,
        ClassificationStream,
        EventStream,
        SampleEvent,
        SampleStream,
    )
    from holter_host.sync import SyncDevice, connect_sync
    from holter_host.types import (
        BusErrorCount,
        Channel,
        Classification,
        Gap,
        Heartbeat,
        LeadOffRun,
        LogPosition,
        ModelChanged,
        RecentQuality,
        SampleBlock,
        SamplingQuality,
        Score,
        Session,
        SessionStarted,
        StreamEnd,
        UtcEstimate,
    )

__version__ = "0.1.0"

# Lightest first: a name is looked for in each, and each needs those before it anyway.
_MODULES: Final = (
    "errors",
    "enums",
    "types",
    "status",
    "inventory",
    "clock",
    "_reconnect",
    "streams",
    "capture",
    "client",
    "fleet_streams",
    "fleet",
    "rollout.api",
    "rollout.start",
    "sync",
    "bundle",
)

__all__ = [
    "BadInputError",
    "Bundle",
    "BusErrorCount",
    "Capture",
    "Channel",
    "Classification",
    "ClassificationEvent",
    "ClassificationStream",
    "ClassifierState",
    "ClassifierUnavailableError",
    "ClockOffset",
    "ConnectionChange",
    "ConversionError",
    "DeadlineError",
    "DeployInProgressError",
    "DeployResult",
    "Device",
    "DeviceError",
    "DeviceState",
    "DeviceStatus",
    "DeviceUnreachableError",
    "EventStream",
    "Fleet",
    "FleetDevice",
    "FleetEvent",
    "Gap",
    "GapCause",
    "GateReport",
    "GateStep",
    "Heartbeat",
    "HolterError",
    "InvalidRequestError",
    "Inventory",
    "InventoryError",
    "InventoryProblem",
    "LeadOffReason",
    "LeadOffRun",
    "Limits",
    "LogPosition",
    "ModelChanged",
    "ModelRefusedError",
    "ModelState",
    "ModelUnit",
    "NoActiveModelError",
    "NotFoundError",
    "NothingSelectedError",
    "Outcome",
    "OutcomeState",
    "Probation",
    "ProbationState",
    "ProtocolError",
    "RecentQuality",
    "Recording",
    "RecordingState",
    "ReturnCause",
    "Rollout",
    "RolloutBusyError",
    "RolloutDevice",
    "RolloutOptions",
    "RolloutRecord",
    "RolloutState",
    "RolloutSummary",
    "Runtime",
    "SampleBlock",
    "SampleEvent",
    "SampleFormat",
    "SampleStream",
    "SamplerState",
    "SamplingQuality",
    "Score",
    "ScoreKind",
    "Session",
    "SessionStarted",
    "Source",
    "SpecSummary",
    "StoredModel",
    "StreamEnd",
    "StreamEndReason",
    "SyncDevice",
    "UnclassifiableReason",
    "UtcEstimate",
    "__version__",
    "approve_rollout",
    "connect",
    "connect_sync",
    "default_hands",
    "load_inventory",
    "read_bundle",
    "resume_rollout",
    "rollout_devices",
    "rollouts",
    "undo_rollout",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used."""
    for module in _MODULES if name in __all__ else ():
        value = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
        if value is not None:
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
