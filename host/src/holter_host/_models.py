"""Models as a caller names them: a file, bytes, a digest or its first digits."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from holter.signature import ModelSignature
from holter_host._upload import Upload
from holter_host.bundle import Bundle, read_bundle
from holter_host.errors import BadInputError, ModelRefusedError, NotFoundError
from holter_host.status import StoredModel

MIN_PREFIX: Final = 8


def upload(
    model: str | os.PathLike[str] | bytes | Bundle,
    signature: ModelSignature | None,
    limit: int,
    address: str,
    validate_only: bool,
) -> Upload:
    """The upload of a model of at most `limit` bytes, 0 for any; its own signature if given None.

    Raises:
        BadInputError: the path holds no model file.
        ModelRefusedError: it is over the limit.
    """
    if isinstance(model, bytes):
        _check_size(len(model), limit, address)
        sha256 = hashlib.sha256(model).hexdigest()
        return Upload.of(model, sha256, signature, validate_only=validate_only)
    if not isinstance(model, Bundle):
        path = Path(model)
        if path.is_file():
            _check_size(path.stat().st_size, limit, address)
        model = read_bundle(path)
    _check_size(len(model.data), limit, address)
    signature = signature or model.signature
    return Upload.of(model.data, model.sha256, signature, validate_only=validate_only)


def _check_size(size: int, limit: int, address: str) -> None:
    if 0 < limit < size:
        raise ModelRefusedError(
            f"The model has {size} bytes and the device at {address} takes at most {limit}; make "
            "it smaller, or raise the device's limit.",
            reason="MODEL_TOO_LARGE",
            metadata={"size_bytes": str(size), "max_bytes": str(limit)},
        )


def checked_prefix(text: str) -> str:
    """The first 8 to 64 digits of a digest, in lower case.

    Raises:
        BadInputError: it is no digest.
    """
    prefix = text.lower()
    if not re.fullmatch(rf"[0-9a-f]{{{MIN_PREFIX},64}}", prefix):
        raise BadInputError(
            f"{text!r} is not the SHA-256 of a model: give all its 64 hex digits, or at least "
            f"the first {MIN_PREFIX}."
        )
    return prefix


def whole_digest(prefix: str, models: Iterable[StoredModel], address: str) -> str:
    """The digest that begins so, of the models of the device at `address`.

    Raises:
        NotFoundError: there is none.
        BadInputError: there is more than one.
    """
    found = [model.sha256 for model in models if model.sha256.startswith(prefix)]
    if not found:
        raise NotFoundError(
            f"The device at {address} holds no model {prefix}; see: holter models",
            reason="MODEL_NOT_FOUND",
            metadata={"sha256": prefix},
        )
    if len(found) > 1:
        raise BadInputError(
            f"{len(found)} models begin with {prefix}: {', '.join(found)}; give more digits."
        )
    return found[0]
