"""Keys of tests, and what they sign."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holter.signature import ModelSignature, key_text, signed_bytes


class Key:
    """A key that is the same for the same number; `text` is its public half."""

    def __init__(self, number: int) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        self._public = self._private.public_key().public_bytes_raw()
        self.text = key_text(self._public)

    def sign(self, model: bytes) -> ModelSignature:
        """A true signature of a model file."""
        digest = hashlib.sha256(model).hexdigest()
        return ModelSignature(self._public, self._private.sign(signed_bytes(digest)))


TRUSTED, OTHER = Key(1), Key(2)
