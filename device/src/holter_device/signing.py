"""Whose models a device takes: those that one of its trusted keys has signed.

What the device holds already is not asked again when it starts: who can write its card can write
its configuration too. The `cryptography` package is imported when the first signature is verified.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from holter.signature import ModelSignature, parse_key
from holter.spec import ModelSpec

from .errors import (
    ConfigError,
    ModelDowngradedError,
    ModelUnsignedError,
    SignatureInvalidError,
    SignerUntrustedError,
)


class Trust:
    """The keys of a device; without keys it takes any model.

    Args:
        keys: trusted public keys, as `holter.signature.key_text` writes them.

    Attributes:
        keys: the same.

    Raises:
        ConfigError: there are keys, and the `cryptography` package is not installed.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self.keys = tuple(keys)
        self._trusted = frozenset(map(parse_key, keys))
        if keys and importlib.util.find_spec("cryptography") is None:
            raise ConfigError(  # early, so that no deploy finds it out late
                "trusted_keys need the cryptography package: pip install 'holter-device[signing]'",
                key="trusted_keys",
            )

    def __bool__(self) -> bool:
        return bool(self.keys)

    def check(self, sha256: str, signature: ModelSignature | None) -> None:
        """See that a trusted key has signed the model with this digest.

        Raises:
            ModelUnsignedError: it has no signature.
            SignatureInvalidError: the signature is not of this model.
            SignerUntrustedError: it is true, and of a key that is not trusted.
        """
        if signature is None:
            raise ModelUnsignedError(
                "the model is not signed, and this device takes only what one of its trusted_keys "
                f"has signed ({', '.join(self.keys)}); sign it with `holter sign`",
                trusted_keys=",".join(self.keys),
            )
        if not signature.is_true(sha256):
            raise SignatureInvalidError(
                f"the signature by {signature.signer} is not of this model: the model or the "
                "signature was altered; sign it again with `holter sign`",
                sha256=sha256,
                signer=signature.signer,
            )
        if signature.public_key not in self._trusted:
            raise SignerUntrustedError(
                f"the model is signed by {signature.signer}, which is not among the trusted_keys "
                f"of this device ({', '.join(self.keys)}); sign it with one of them, or add it",
                signer=signature.signer,
                trusted_keys=",".join(self.keys),
            )

    def check_version(self, spec: ModelSpec, active: ModelSpec | None) -> None:
        """See that a signed model does not take the place of a newer one of the same name.

        Raises:
            ModelDowngradedError: its version is lower than that of the active one.
        """
        if not self or active is None or spec.name != active.name:
            return
        if spec.version < active.version:
            raise ModelDowngradedError(
                f"version {spec.version} of {spec.name} is older than version {active.version}, "
                "which is active; convert it with a higher --version, or go back with "
                "`holter rollback` or `holter activate`",
                model=spec.name,
                version=spec.version,
                active_version=active.version,
            )
