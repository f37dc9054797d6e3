"""Windows that a caller brings, in the form that ClassifyWindow takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from holter.v1 import classification_service_pb2 as classification_pb
from holter_host import status, types
from holter_host.capture import Capture
from holter_host.enums import ModelUnit, UnclassifiableReason
from holter_host.errors import BadInputError, NoActiveModelError


def counts_bytes(counts: npt.NDArray[Any]) -> bytes:
    """Counts, frame by frame, as the wire has them."""
    return counts.astype(counts.dtype.newbyteorder("<"), copy=False).tobytes()


def model_values(values: npt.NDArray[Any]) -> classification_pb.WindowValues:
    """Values in the model's unit, frame by frame.

    Raises:
        BadInputError: they are not floating-point numbers, or one is not finite.
    """
    if not np.issubdtype(values.dtype, np.floating):
        raise BadInputError(
            f"A window of {values.dtype} is neither counts nor values: give uint8 or int16 counts, "
            "or floating-point values in the model's unit."
        )
    if not np.isfinite(values).all():
        raise BadInputError("The window holds a value that is not a finite number.")
    flat = values.astype(np.float32).reshape(-1)
    return classification_pb.WindowValues(values=flat.tolist())


def capture_values(
    capture: Capture, model: status.StoredModel | None
) -> classification_pb.WindowValues | types.Classification:
    """The values of a capture for a model, or its classification where it can have no class.

    Raises:
        NoActiveModelError: there is no model.
        BadInputError: the capture does not fit the model.
    """
    if model is None:
        raise NoActiveModelError(
            "The device has no active model; deploy one with: holter deploy OUT.tflite",
            reason="NO_ACTIVE_MODEL",
        )
    columns = _columns(capture, model.spec)
    if not capture.valid.all():
        return _unclassifiable(model, UnclassifiableReason.GAP)
    if capture.channel_lead_off()[:, columns].any():
        return _unclassifiable(model, UnclassifiableReason.LEADS_OFF)
    match model.spec.unit:
        case ModelUnit.COUNTS:
            values: npt.NDArray[Any] = capture.counts.astype(np.float32)
        case ModelUnit.VOLTS:
            values = capture.volts()
        case ModelUnit.MILLIVOLTS:
            values = capture.millivolts()
        case unit:
            raise BadInputError(f"This holter cannot give a model values in {unit.value}.")
    return model_values(values[:, columns])


def _columns(capture: Capture, spec: status.SpecSummary) -> list[int]:
    if capture.session.rate_hz != spec.rate_hz:
        raise BadInputError(
            f"The capture has {capture.session.rate_hz:g} Hz and the model {spec.name} takes "
            f"{spec.rate_hz:g} Hz."
        )
    if len(capture) != spec.window_frame_count:
        raise BadInputError(
            f"The window has {len(capture)} frames and the model {spec.name} takes "
            f"{spec.window_frame_count}."
        )
    try:
        return capture.session.index(spec.channels)
    except LookupError as error:
        raise BadInputError(f"The capture does not fit the model {spec.name}: {error}.") from error


def _unclassifiable(
    model: status.StoredModel, reason: UnclassifiableReason
) -> types.Classification:
    return types.Classification(0, 0, 0, 0, model.sha256, "", (), reason, 0)
