"""Vouching for models: Ed25519 keys, and signatures in a file beside the model.

A private key is a PEM file (PKCS #8) that its owner alone may read, with a passphrase if wanted.
The public key is a text, "ed25519:…", which goes into a device's trusted_keys. `holter.signature`
says what is signed and how the signature's file is written. The `cryptography` package is imported
when a key is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from holter.signature import (
    SUFFIX,
    ModelSignature,
    SignatureError,
    from_json,
    key_text,
    signed_bytes,
    to_json,
)
from holter_host._files import cannot_write, replacing
from holter_host.errors import BadInputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_Path = str | os.PathLike[str]


def new_key(path: _Path, passphrase: str = "") -> str:
    """Make a private key in a new file, which only its owner may read.

    Args:
        path: the file; it must not be there yet.
        passphrase: encrypts it; "" leaves it plain.

    Returns:
        Its public key, as a device's trusted_keys takes it.

    Raises:
        BadInputError: there is such a file already, or it cannot be written there.
        HolterError: the disk is full, or fails.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    try:
        with open(path, "xb", opener=_for_the_owner) as file:
            try:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:  # a full disk, Ctrl-C: half a key would be in a whole one's way
                Path(path).unlink(missing_ok=True)
                raise
    except FileExistsError as error:
        raise BadInputError(
            f"{path} is there already, and a key that is lost cannot be made again; choose "
            "another name."
        ) from error
    except OSError as error:
        raise cannot_write(Path(path), error) from error
    return _public(key)


def public_key(path: _Path, passphrase: str = "") -> str:
    """The public key of a private one, as a device's trusted_keys takes it.

    Raises:
        BadInputError: the file is no Ed25519 private key, or the passphrase is wrong.
    """
    return _public(_load(path, passphrase))


def sign(sha256: str, key: _Path, passphrase: str = "") -> ModelSignature:
    """Sign the model with this digest (64 hex digits).

    Raises:
        BadInputError: as `public_key`.
    """
    private = _load(key, passphrase)
    return ModelSignature(
        private.public_key().public_bytes_raw(), private.sign(signed_bytes(sha256))
    )


def signature_path(model: _Path) -> Path:
    """Where the signature of a model file is."""
    path = Path(model)
    return path.with_name(path.name + SUFFIX)


def write_signature(model: _Path, sha256: str, signature: ModelSignature) -> Path:
    """Write a signature beside the model file that it is for; its path.

    Raises:
        BadInputError: it cannot be written there.
        HolterError: the disk is full, or fails.
    """
    path = signature_path(model)
    with replacing(path) as file:
        file.write(to_json(sha256, signature).encode() + b"\n")
    return path


def read_signature(model: _Path, sha256: str) -> ModelSignature | None:
    """The signature beside a model file; None where there is none.

    Whether it is true is for its `is_true`, and for the devices, to say.

    Args:
        model: the model file.
        sha256: its digest.

    Raises:
        BadInputError: the file of the signature cannot be read, or is for another model.
    """
    path = signature_path(model)
    try:
        named, signature = from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInputError(f"Cannot read {path}: {error.strerror}.") from error
    except SignatureError as error:
        raise BadInputError(
            f"{path} is no signature: {error}; delete it, or sign again: "
            f"holter sign {model} --key KEY"
        ) from error
    if named != sha256:
        raise BadInputError(
            f"{path} is the signature of another model ({named[:12]}…; {model} is "
            f"{sha256[:12]}…); sign again: holter sign {model} --key KEY, or delete it."
        )
    return signature


def is_encrypted(path: _Path) -> bool:
    """Whether a private key wants a passphrase; False also where it is none."""
    try:
        return b"ENCRYPTED" in Path(path).read_bytes()[:100]
    except OSError:
        return False


def _load(path: _Path, passphrase: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        pem = Path(path).read_bytes()
    except OSError as error:
        raise BadInputError(f"Cannot read the key {path}: {error.strerror}.") from error
    try:
        key = load_pem_private_key(pem, passphrase.encode() or None)
    except TypeError as error:
        needs = "is encrypted and wants its passphrase" if not passphrase else "has no passphrase"
        raise BadInputError(f"The key {path} {needs}.") from error
    except Exception as error:  # cryptography documents three kinds, and raises others
        wrong = "or the passphrase is wrong" if passphrase else "make one with: holter keys new"
        raise BadInputError(f"{path} is no private key in PEM, {wrong}.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInputError(f"The key {path} is no Ed25519 key; make one with: holter keys new")
    return key


def _public(key: Ed25519PrivateKey) -> str:
    return key_text(key.public_key().public_bytes_raw())


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
