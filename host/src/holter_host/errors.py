"""What can go wrong on the host, as one tree of exceptions.

    HolterError                  every error that Holter raises on purpose
    ├── BadInputError            what was given cannot be used (also a ValueError)
    ├── ConversionError          a model was given that no light runtime could run faithfully
    └── DeviceError              a device refused or failed: reason, metadata, code
        ├── DeviceUnreachableError      nothing answers at the address (also a ConnectionError)
        ├── DeadlineError               it did not answer in time (also a TimeoutError)
        ├── NotFoundError               it has no such model, session or log (also a LookupError)
        ├── InvalidRequestError         what was asked for is out of range (also a ValueError)
        ├── ModelRefusedError           the gate refused a model; the active one is what it was
        ├── DeployInProgressError       another deploy is running
        ├── NoActiveModelError          there is no model to ask
        ├── ClassifierUnavailableError  the classifier is being started again
        └── ProtocolError               what answers does not speak this version of holter.v1

Each message is one sentence for the user: what is wrong, where, and what to do. `exit_code` is what
the command `holter` ends with: 1 refused or failed, 2 bad usage or input, 5 nothing found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class HolterError(Exception):
    """Base of every error that Holter raises on purpose."""

    exit_code: ClassVar[int] = 1


class BadInputError(HolterError, ValueError):
    """Error raised when a file, an option or a value that was given cannot be used."""

    exit_code: ClassVar[int] = 2


class ConversionError(HolterError):
    """Error raised when a model could not be converted, or the result is not faithful.

    Attributes:
        log: what TensorFlow wrote while it tried; "" when it wrote nothing.
    """

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class DeviceError(HolterError):
    """Error raised when a device refused what was asked, or failed at it.

    Attributes:
        reason: the machine's name of the error: an ErrorReason of holter.v1 without its prefix,
            e.g. "DIGEST_MISMATCH"; "" where the device gave none.
        metadata: the facts of the message by name, as error_reason.proto lists them.
        code: name of the gRPC status, e.g. "INVALID_ARGUMENT"; "" where the host itself refused.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        code: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.code = code


class DeviceUnreachableError(DeviceError, ConnectionError):
    """Error raised when nothing answers at the address, or the connection broke."""


class DeadlineError(DeviceError, TimeoutError):
    """Error raised when a device did not answer in time."""


class NotFoundError(DeviceError, LookupError):
    """Error raised when a device has no such model, session or log."""

    exit_code: ClassVar[int] = 5


class InvalidRequestError(DeviceError, ValueError):
    """Error raised when a device finds a value of the request missing or out of range."""

    exit_code: ClassVar[int] = 2


class ModelRefusedError(DeviceError):
    """Error raised when a device refused a model. Whatever `reason`, it still runs the old one."""


class DeployInProgressError(DeviceError):
    """Error raised when another deploy is running; `metadata` says of what, by whom, since when."""


class NoActiveModelError(DeviceError):
    """Error raised when a device has no active model to ask."""


class ClassifierUnavailableError(DeviceError):
    """Error raised while a device starts its classifier again; a moment later it answers."""


class ProtocolError(DeviceError):
    """Error raised when what answers does not speak this version of holter.v1."""
