"""The verbs that vouch for models: keys new, keys show, sign."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Final

import click

from holter_host.bundle import Bundle, read_bundle
from holter_host.cli._common import emit, emit_json, json_option, note
from holter_host.signing import (
    is_encrypted,
    new_key,
    public_key,
    signature_path,
    write_signature,
)
from holter_host.signing import (
    sign as sign_digest,
)

PASSPHRASE: Final = "HOLTER_KEY_PASSPHRASE"


class Signer:
    """Signs what is made with a key, which is looked at before anything else is done.

    Args:
        key: the file of the private key; None where nothing is to be signed.

    Raises:
        BadInputError: it cannot be used.
    """

    def __init__(self, key: Path | None) -> None:
        self._key = key
        self._passphrase = passphrase_of(key) if key else ""
        if key:
            public_key(key, self._passphrase)

    def sign(self, model: Bundle) -> Bundle:
        """The model with its signature, which stands in a file beside it."""
        if self._key is None:
            return model
        signature = sign_digest(model.sha256, self._key, self._passphrase)
        write_signature(model.path, model.sha256, signature)
        return dataclasses.replace(model, signature=signature)


def passphrase_of(key: Path) -> str:
    """The passphrase of an encrypted key, from the environment or the terminal; "" for others."""
    return _ask(confirm=False) if is_encrypted(key) else ""


def _ask(*, confirm: bool) -> str:
    given = os.environ.get(PASSPHRASE)
    if given:
        return given
    asked: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return asked


@click.group
def keys() -> None:
    """Keys that vouch for models.

    A device whose configuration has trusted_keys takes only models that one of them has signed.
    Each verb knows --json.

    \b
    Example:
      holter keys new release.pem
      holter convert saved_model -o rhythm.tflite --sign release.pem
    """


@keys.command
@click.argument("key", type=click.Path(path_type=Path))
@click.option("--encrypt", is_flag=True, help=f"Ask for a passphrase (or ${PASSPHRASE}).")
@json_option('Print one JSON object: {"key": PATH, "public_key": TEXT}.')
def new(key: Path, encrypt: bool, as_json: bool) -> None:
    """Make a private key in the file KEY, which only you may read, and print its public key.

    Keep KEY to yourself, and a copy of it in a safe place; the public key goes into the
    trusted_keys of each device.

    \b
    Example:
      holter keys new release.pem
    """
    public = new_key(key, _ask(confirm=True) if encrypt else "")
    if as_json:
        emit_json({"key": str(key), "public_key": public})
        return
    emit(public)
    note(
        f"the private key is in {key}; with this line in its holterd.toml a device takes only "
        f'models that it has signed: trusted_keys = ["{public}"]'
    )


@keys.command
@click.argument("key", type=click.Path(path_type=Path))
@json_option('Print one JSON object: {"key": PATH, "public_key": TEXT}.')
def show(key: Path, as_json: bool) -> None:
    """Print the public key of the private key in the file KEY.

    \b
    Example:
      holter keys show release.pem
    """
    public = public_key(key, passphrase_of(key))
    if as_json:
        emit_json({"key": str(key), "public_key": public})
    else:
        emit(public)


@click.command
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), help="The private key.")
@json_option('Print one JSON object: {"path": PATH, "sha256": DIGEST, "signer": TEXT}.')
def sign(model: Path, key: Path, as_json: bool) -> None:
    """Sign MODEL, a file made by convert or bundle; the signature is MODEL.sig beside it.

    `holter deploy` sends it along. A signature that is there already is replaced.

    \b
    Example:
      holter sign rhythm.tflite --key release.pem
    """
    signer = Signer(key)
    signed = signer.sign(read_bundle(model, with_signature=False))
    assert signed.signature is not None
    path = signature_path(model)
    if as_json:
        facts = {"path": str(path), "sha256": signed.sha256, "signer": signed.signature.signer}
        emit_json(facts)
        return
    emit(f"signed: {path}, by {signed.signature.signer}")
