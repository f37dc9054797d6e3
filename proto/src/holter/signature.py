"""Who vouches for a model: an Ed25519 signature of its digest, in a file beside it.

The signature of MODEL.tflite is MODEL.tflite.sig, one JSON object:

    {"sha256": HEX, "public_key": "ed25519:BASE64", "signature": "BASE64"}

What is signed is `signed_bytes`: the ASCII text "holter.v1 model", a zero byte, and the 32 raw
bytes of the SHA-256 of the whole model file. Spec and golden windows are in that file, so they are
covered. Host and device share this module; the arithmetic is the `cryptography` package's
(RFC 8032), which is imported when a signature is verified (extra `signing`).

Errors:
    SignatureError (a ValueError): a key or a signature is not written like one.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from typing import Final

SUFFIX: Final = ".sig"
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_KIND: Final = "ed25519:"
_CONTEXT: Final = b"holter.v1 model\0"


class SignatureError(ValueError):
    """Error raised when a text is no public key, or no signature."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSignature:
    """A signature of a model, which may or may not be true.

    Attributes:
        public_key: the 32 bytes of the key that it is said to be made with.
        value: the 64 bytes of the signature.
    """

    public_key: bytes
    value: bytes

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            SignatureError: one is wrong.
        """
        for name, data, size in (
            ("public key", self.public_key, PUBLIC_KEY_BYTES),
            ("signature", self.value, SIGNATURE_BYTES),
        ):
            if len(data) != size:
                raise SignatureError(f"the {name} has {len(data)} bytes and not {size}")

    @property
    def signer(self) -> str:
        """The key as a text."""
        return key_text(self.public_key)

    def is_true(self, sha256: str) -> bool:
        """Whether the key has signed the model with this digest; needs `cryptography`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            key = Ed25519PublicKey.from_public_bytes(self.public_key)
            key.verify(self.value, signed_bytes(sha256))
        except (InvalidSignature, ValueError):
            return False
        return True


def signed_bytes(sha256: str) -> bytes:
    """What is signed for the model file with this SHA-256 (64 hex digits)."""
    return _CONTEXT + bytes.fromhex(sha256)


def key_text(public_key: bytes) -> str:
    """A public key as a text: "ed25519:" and the base64 of its 32 bytes."""
    return _KIND + base64.b64encode(public_key).decode()


def parse_key(text: str) -> bytes:
    """The 32 bytes of a public key that is written like `key_text`.

    Raises:
        SignatureError: it is not.
    """
    if text.startswith(_KIND):
        key = _decoded(text.removeprefix(_KIND))
        if len(key) == PUBLIC_KEY_BYTES:
            return key
    raise SignatureError(
        f"{text!r} is no public key: it is {_KIND} and 44 characters of base64, as "
        "`holter keys show` prints it"
    )


def to_json(sha256: str, signature: ModelSignature) -> str:
    """The text of a signature's file."""
    return json.dumps(
        {
            "sha256": sha256,
            "public_key": signature.signer,
            "signature": base64.b64encode(signature.value).decode(),
        }
    )


def from_json(text: str | bytes) -> tuple[str, ModelSignature]:
    """The SHA-256 that a signature's file is for, and the signature.

    Raises:
        SignatureError: it is no such file.
    """
    try:
        raw = json.loads(text)
        sha256, value = raw["sha256"], _decoded(raw["signature"])
        if not isinstance(sha256, str) or len(bytes.fromhex(sha256)) != 32:
            raise ValueError("sha256")
        return sha256.lower(), ModelSignature(parse_key(raw["public_key"]), value)
    except SignatureError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SignatureError(
            "it is not a JSON object with sha256, public_key and signature"
        ) from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError(f"{text!r} is not base64") from error
