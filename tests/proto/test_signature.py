"""Laws of keys and signatures as they are written; whether one is true is for who has a library."""

from __future__ import annotations

import hashlib
import json

import pytest

from holter.signature import (
    ModelSignature,
    SignatureError,
    from_json,
    key_text,
    parse_key,
    signed_bytes,
    to_json,
)

SHA256 = hashlib.sha256(b"a model").hexdigest()
SIGNATURE = ModelSignature(bytes(range(32)), bytes(range(64)))
TEXT = to_json(SHA256, SIGNATURE)


def test_what_is_signed_is_the_context_and_the_digest() -> None:
    """ "holter.v1 model", a zero byte, and the 32 raw bytes."""
    assert signed_bytes(SHA256) == b"holter.v1 model\0" + hashlib.sha256(b"a model").digest()


def test_a_signature_is_read_as_it_was_written() -> None:
    """The file names the model, the key and the signature."""
    assert from_json(TEXT) == (SHA256, SIGNATURE)
    assert json.loads(TEXT)["public_key"] == SIGNATURE.signer == key_text(bytes(range(32)))


def test_a_key_is_read_as_it_was_written() -> None:
    """Its text says of what kind it is."""
    assert parse_key(key_text(b"k" * 32)) == b"k" * 32


@pytest.mark.parametrize(
    "text",
    ["", "ed25519:", "rsa:AAAA", "ed25519:AAAA", "ed25519:" + "?" * 44, "ed25519:" + "A" * 43],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    """Another kind, another length, or no base64."""
    with pytest.raises(SignatureError):
        parse_key(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "12"},
        {"sha256": 7},
        {"sha256": "x" * 64},
        {"public_key": "ed25519:AAAA"},
        {"public_key": None},
        {"signature": "AAAA"},
        {"signature": 1},
    ],
)
def test_what_is_no_signature_is_refused(changes: dict[str, object]) -> None:
    """A value of another type, length or alphabet."""
    with pytest.raises(SignatureError):
        from_json(json.dumps(json.loads(TEXT) | changes))


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff\xfe", b"null", b"{"])
def test_another_file_is_refused(text: bytes) -> None:
    """Whatever it holds."""
    with pytest.raises(SignatureError):
        from_json(text)
