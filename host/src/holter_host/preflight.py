"""Will it run there? What can be known of that before a model is sent.

The device judges for itself when it is asked (DeployModel with validate_only: the model is loaded
and run there, nothing is stored). What the host can know, it says first, without an upload and all
at once, with what to change.
"""

from __future__ import annotations

import dataclasses
import math

from holter_host.bundle import Bundle
from holter_host.errors import ModelRefusedError
from holter_host.op_versions import HIGHEST, lacking
from holter_host.status import DeviceStatus

_LITERT = "ai-edge-litert"


@dataclasses.dataclass(frozen=True, slots=True)
class Misfit:
    """One cause why a device will refuse a model.

    Attributes:
        reason: as the device would give it: an ErrorReason of holter.v1 without its prefix.
        message: one sentence for people, with what to change.
    """

    reason: str
    message: str


def misfits(model: Bundle, device: DeviceStatus) -> list[Misfit]:
    """Every cause that is known beforehand why a device will refuse a model; none is no promise.

    Args:
        model: the model file.
        device: what the device says of itself.
    """
    found = [
        _ops(model, device),
        _size(model, device),
        _rate(model, device),
        _window(model, device),
        _channels(model, device),
        _signature(model, device),
        _version(model, device),
    ]
    return [misfit for misfit in found if misfit is not None]


def check(model: Bundle, device: DeviceStatus) -> None:
    """Raise what `misfits` finds, all causes in one message.

    Raises:
        ModelRefusedError: there is a misfit; `reason` is that of the first, and `metadata` has
            each as cause_1, cause_2, ….
    """
    found = misfits(model, device)
    if found:
        raise ModelRefusedError(
            " ".join(misfit.message for misfit in found),
            reason=found[0].reason,
            metadata={
                f"cause_{n}": f"{misfit.reason}: {misfit.message}"
                for n, misfit in enumerate(found, 1)
            },
        )


def _signature(model: Bundle, device: DeviceStatus) -> Misfit | None:
    trusted, signature = device.trusted_keys, model.signature
    if not trusted or (signature is not None and signature.signer in trusted):
        return None
    wanted = f"{device.hostname} takes only what {' or '.join(trusted)} has signed"
    if signature is None:
        return Misfit(
            "MODEL_UNSIGNED",
            f"The model is not signed and {wanted}; sign it: holter sign {model.path} --key KEY.",
        )
    return Misfit(
        "SIGNER_UNTRUSTED",
        f"The model is signed by {signature.signer} and {wanted}; sign it with one of these, or "
        "add that key to trusted_keys there.",
    )


def _version(model: Bundle, device: DeviceStatus) -> Misfit | None:
    active = device.active_model
    if not device.trusted_keys or active is None or active.sha256 == model.sha256:
        return None
    if active.spec.name != model.spec.name or active.spec.version <= model.spec.version:
        return None
    return Misfit(
        "MODEL_DOWNGRADED",
        f"The model is version {model.spec.version} of {model.spec.name} and {device.hostname} "
        f"runs version {active.spec.version}; convert it with a higher --version.",
    )


def _ops(model: Bundle, device: DeviceStatus) -> Misfit | None:
    ops = model.report.get("ops", [])
    custom = sorted(op["name"] for op in ops if op["is_custom"])
    if custom:
        is_flex = custom[0].startswith("Flex")
        return Misfit(
            "FLEX_OP_UNSUPPORTED" if is_flex else "CUSTOM_OP_UNSUPPORTED",
            f"The model uses {', '.join(custom)}, which no light runtime has; convert it without "
            "--select-tf-ops, or build it without.",
        )
    if device.runtime is None:  # it has none, and says what to do, or does not tell which
        return None
    name, version = device.runtime.name, device.runtime.version
    missing = lacking(ops, name, version)
    if not missing:
        return None
    text = f"{name} {version} on {device.hostname} lacks {', '.join(missing)}; "
    newer = [start for runtime, start in HIGHEST if runtime == _LITERT]
    if name != _LITERT and any(lacking(ops, _LITERT, start) == [] for start in newer):
        text += "install there: pip install 'holter-device[litert]', or "
    is_version = all(" version " in phrase for phrase in missing)
    return Misfit(
        "OP_VERSION_UNSUPPORTED" if is_version else "OP_UNSUPPORTED",
        f"{text}convert the SavedModel again with: holter convert.",
    )


def _size(model: Bundle, device: DeviceStatus) -> Misfit | None:
    size, limit = len(model.data), device.limits.max_model_bytes
    if not limit or size <= limit:
        return None
    return Misfit(
        "MODEL_TOO_LARGE",
        f"The file has {size:,} bytes and {device.hostname} takes {limit:,}; convert it with "
        "--quantize dynamic, or start holterd with a greater --max-model-mib.",
    )


def _rate(model: Bundle, device: DeviceStatus) -> Misfit | None:
    wanted, given = model.spec.rate_hz, device.session.rate_hz
    if math.isclose(wanted, given, rel_tol=1e-6):
        return None
    return Misfit(
        "MODEL_UNFIT",
        f"The model is made for {wanted:g} Hz and {device.hostname} samples at {given:g} Hz; start "
        f"holterd with --rate {wanted:g}, or train a model for {given:g} Hz.",
    )


def _window(model: Bundle, device: DeviceStatus) -> Misfit | None:
    wanted, limit = model.spec.window, device.limits.max_window_frame_count
    if not limit or wanted <= limit:
        return None
    return Misfit(
        "MODEL_UNFIT",
        f"The model's window of {wanted} frames is longer than the {limit} that {device.hostname} "
        "keeps; convert it with a shorter --window, or train one with a shorter window.",
    )


def _channels(model: Bundle, device: DeviceStatus) -> Misfit | None:
    names = [channel.name for channel in device.session.channels]
    missing = [name for name in model.spec.channels if name not in names]
    if not missing:
        return None
    return Misfit(
        "MODEL_UNFIT",
        f"The model takes {', '.join(missing)} and {device.hostname} has {', '.join(names)}; "
        "convert it with --channels of these, or start holterd with other --inputs.",
    )
