"""Everything that holterd raises on purpose.

DeviceError
  ConfigError              a key or flag is unknown or out of range (ValueError)
  DataDirectoryError       the data directory cannot be used (OSError)
    AlreadyRunningError    another holterd holds it
  SourceError              the source of samples cannot be used (OSError)
    BusMissingError        there is no such I2C bus
    BusPermissionError     this user may not open it (PermissionError)
    AddressBusyError       a kernel driver owns the chip's address
    NoAnswerError          no chip answers at the address
    RecordError            a record cannot be replayed
    BusReadError           one read failed; the next may succeed
  LeadOffLinesError        the lead-off lines cannot be used (OSError)
  ListenError              an address cannot be listened on (OSError)
  CursorError              a stream cannot start there (LookupError)
    SessionNotFoundError
    LogNotFoundError
    SequenceOutOfRangeError
  InvalidFieldError        a field of a request is missing or out of range (ValueError)
  ModelRefusedError        a model is not taken; what was active is still active
    DigestMismatchError, ModelMalformedError, ModelTooLargeError, ModelUnfitError,
    OpUnsupportedError (OpVersionUnsupportedError, FlexOpUnsupportedError,
    CustomOpUnsupportedError), GoldenMismatchError, ModelTooSlowError, ModelMemoryError,
    ModelCrashedError, ModelTimeoutError, DeployInProgressError, ModelNotFoundError,
    ModelInUseError, StoreFullError, ModelUnsignedError, SignatureInvalidError,
    SignerUntrustedError, ModelDowngradedError
  ClassifyError            a window cannot be classified now
    NoActiveModelError, WindowSizeMismatchError, ClassifierUnavailableError

Each carries the facts of its message in `facts`, as text by name; what a client is told on the wire
is in one table, holter_device.rpc.errors.
"""

from __future__ import annotations

import os


class DeviceError(Exception):
    """Base of all: one sentence that says what was wrong, where, and what to do.

    Attributes:
        facts: each variable fact of the sentence, as text by name.
    """

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = {name: str(value) for name, value in facts.items()}


class ConfigError(DeviceError, ValueError):
    """Error raised when a key or flag is unknown or out of range."""


class DataDirectoryError(DeviceError, OSError):
    """Error raised when the data directory cannot be made, read or written."""


class AlreadyRunningError(DataDirectoryError):
    """Error raised when another holterd holds the data directory."""


class SourceError(DeviceError, OSError):
    """Error raised when the source of samples cannot be used."""


class BusMissingError(SourceError):
    """Error raised when there is no such I2C bus."""


class BusPermissionError(SourceError, PermissionError):
    """Error raised when this user may not open the I2C bus."""


class AddressBusyError(SourceError):
    """Error raised when a kernel driver owns the chip's address."""


class NoAnswerError(SourceError):
    """Error raised when no chip answers at the address."""


class RecordError(SourceError):
    """Error raised when a record cannot be replayed."""


class BusReadError(SourceError):
    """Error raised when one read of the converter fails. The next may succeed.

    Attributes:
        errno: what the bus said.
    """

    def __init__(self, errno: int) -> None:
        super().__init__(f"a read failed: {os.strerror(errno)} (errno {errno})", errno=errno)
        self.errno = errno


class LeadOffLinesError(DeviceError, OSError):
    """Error raised when the lines of the lead-off comparators cannot be used."""


class ListenError(DeviceError, OSError):
    """Error raised when an address cannot be listened on."""


class CursorError(DeviceError, LookupError):
    """Error raised when a stream cannot start where it was asked to."""


class SessionNotFoundError(CursorError):
    """Error raised when the log has no such session."""


class LogNotFoundError(CursorError):
    """Error raised when another log is meant."""


class SequenceOutOfRangeError(CursorError):
    """Error raised when the running session has not come that far."""


class InvalidFieldError(DeviceError, ValueError):
    """Error raised when a field of a request is missing or out of range."""


class ModelRefusedError(DeviceError):
    """Error raised when a model is not taken. What was active is still active."""


class DigestMismatchError(ModelRefusedError, ValueError):
    """Error raised when the bytes do not have the SHA-256 that was told."""


class ModelMalformedError(ModelRefusedError, ValueError):
    """Error raised when a file is no model, or no Holter model."""


class ModelTooLargeError(ModelRefusedError, ValueError):
    """Error raised when a file is larger than the device takes."""


class ModelUnfitError(ModelRefusedError):
    """Error raised when a model does not fit this device's channels, rate or limits."""


class OpUnsupportedError(ModelRefusedError):
    """Error raised when a model uses an operator that this device's runtime lacks."""


class OpVersionUnsupportedError(OpUnsupportedError):
    """Error raised when a model uses an operator in a newer version than the runtime has."""


class FlexOpUnsupportedError(OpUnsupportedError):
    """Error raised when a model uses TensorFlow's own operators."""


class CustomOpUnsupportedError(OpUnsupportedError):
    """Error raised when a model uses an operator that somebody made for it."""


class GoldenMismatchError(ModelRefusedError):
    """Error raised when a model gives other scores here than where it was made."""


class ModelTooSlowError(ModelRefusedError):
    """Error raised when a model takes longer for a window than its hop leaves it."""


class ModelMemoryError(ModelRefusedError):
    """Error raised when a model needs more memory than it may have."""


class ModelCrashedError(ModelRefusedError):
    """Error raised when a model ended the process that tried it."""


class ModelTimeoutError(ModelRefusedError, TimeoutError):
    """Error raised when a model did not load or answer in time."""


class DeployInProgressError(ModelRefusedError):
    """Error raised when another deploy is running."""


class ModelNotFoundError(ModelRefusedError, LookupError):
    """Error raised when the store has no such model."""


class ModelInUseError(ModelRefusedError):
    """Error raised when a model that is to be deleted is active, or the one to go back to."""


class ModelUnsignedError(ModelRefusedError, PermissionError):
    """Error raised when a device that trusts some keys is given a model without a signature."""


class SignatureInvalidError(ModelRefusedError, ValueError):
    """Error raised when a signature is not of the model that it came with."""


class SignerUntrustedError(ModelRefusedError, PermissionError):
    """Error raised when a model is signed by a key that the device does not trust."""


class ModelDowngradedError(ModelRefusedError):
    """Error raised when a signed model is older than the active one of the same name."""


class StoreFullError(ModelRefusedError):
    """Error raised when a model could not be written down, or there is no room for it."""


class ClassifyError(DeviceError):
    """Error raised when a window that a caller brought cannot be classified now."""


class NoActiveModelError(ClassifyError):
    """Error raised when there is no active model."""


class WindowSizeMismatchError(ClassifyError, ValueError):
    """Error raised when a window has not as many values as the model takes."""


class ClassifierUnavailableError(ClassifyError):
    """Error raised when the classifier is being started again."""
