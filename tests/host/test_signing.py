"""Laws of keys and signatures on the host: made once, kept apart, never of another model."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from holter_host import BadInputError, HolterError, read_bundle
from holter_host.bundle import write_bundle
from holter_host.cli import run
from holter_host.signing import (
    is_encrypted,
    new_key,
    public_key,
    read_signature,
    sign,
    signature_path,
    write_signature,
)
from support.tflite_models import averaging_model

SHA256 = hashlib.sha256(b"a model").hexdigest()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The file of a private key."""
    new_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model file."""
    path = tmp_path / "m.tflite"
    path.write_bytes(averaging_model())
    return path


class TestKeys:
    def test_a_key_is_its_owners(self, key: Path) -> None:
        """Nobody else may read it, and its public half is always the same."""
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert public_key(key) == public_key(key)
        assert public_key(key).startswith("ed25519:")

    def test_a_key_is_never_overwritten(self, key: Path) -> None:
        """What is lost cannot be made again."""
        before = key.read_bytes()
        with pytest.raises(BadInputError, match="is there already"):
            new_key(key)
        assert key.read_bytes() == before

    def test_half_a_key_is_not_left_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that is full is told, and the name is free for the next try."""

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr("holter_host.signing.os.fsync", full)
            with pytest.raises(HolterError, match="No space left") as refused:
                new_key(tmp_path / "key.pem")
        assert refused.value.exit_code == 1
        assert list(tmp_path.iterdir()) == []
        assert new_key(tmp_path / "key.pem") == public_key(tmp_path / "key.pem")

    def test_an_encrypted_key_wants_its_passphrase(self, tmp_path: Path, key: Path) -> None:
        """It is refused without, and with another; one that has none wants none."""
        path = tmp_path / "locked.pem"
        public = new_key(path, "secret")
        assert is_encrypted(path)
        assert public_key(path, "secret") == public
        with pytest.raises(BadInputError, match="is encrypted and wants its passphrase"):
            public_key(path)
        with pytest.raises(BadInputError, match="or the passphrase is wrong"):
            public_key(path, "other")
        assert not is_encrypted(key)
        with pytest.raises(BadInputError, match="has no passphrase"):
            public_key(key, "secret")

    def test_what_is_no_key_is_refused(self, tmp_path: Path) -> None:
        """No file, no PEM, and a key of another kind; each in a sentence."""
        with pytest.raises(BadInputError, match="Cannot read the key"):
            public_key(tmp_path / "none.pem")
        (tmp_path / "text.pem").write_text("hello")
        with pytest.raises(BadInputError, match="is no private key in PEM, make one"):
            public_key(tmp_path / "text.pem")
        pem = generate_private_key(SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (tmp_path / "ec.pem").write_bytes(pem)
        with pytest.raises(BadInputError, match="is no Ed25519 key"):
            public_key(tmp_path / "ec.pem")


class TestSignatures:
    def test_a_signature_is_of_one_digest_and_one_key(self, key: Path) -> None:
        """It is true for what was signed, and for nothing else."""
        signature = sign(SHA256, key)
        assert signature.signer == public_key(key)
        assert signature.is_true(SHA256)
        assert not signature.is_true(hashlib.sha256(b"another").hexdigest())

    def test_a_model_is_read_with_its_signature(self, model: Path, key: Path) -> None:
        """From the file beside it; without that file it has none."""
        assert read_bundle(model).signature is None
        signature = sign(read_bundle(model).sha256, key)
        write_signature(model, read_bundle(model).sha256, signature)
        assert read_bundle(model).signature == signature

    def test_a_signature_of_another_model_is_refused(self, model: Path, key: Path) -> None:
        """It says of which it is, and what to do."""
        write_signature(model, SHA256, sign(SHA256, key))
        with pytest.raises(BadInputError, match=f"of another model \\({SHA256[:12]}…"):
            read_bundle(model)

    def test_what_is_no_signature_is_refused(self, model: Path) -> None:
        """An empty or another file."""
        signature_path(model).write_text("{}")
        with pytest.raises(BadInputError, match="is no signature"):
            read_signature(model, SHA256)

    def test_a_new_model_file_drops_the_signature_of_the_old(self, model: Path, key: Path) -> None:
        """The same bytes keep it, as it is true of them."""
        given = read_bundle(model)
        old = write_bundle(given.tflite, given.spec, given.golden, given.report, model)
        signature = sign(old.sha256, key)
        write_signature(model, old.sha256, signature)
        same = write_bundle(old.tflite, old.spec, old.golden, old.report, model)
        assert (same.sha256, same.signature) == (old.sha256, signature)
        other = write_bundle(old.tflite, old.spec, old.golden, {"made": "anew"}, model)
        assert other.signature is None
        assert not signature_path(model).exists()


class TestCommand:
    def test_from_a_key_to_a_signed_model(
        self, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """keys new, keys show, sign; a second signature takes the place of the first."""
        path = tmp_path / "release.pem"
        assert run(["keys", "new", str(path)]) == 0
        public = capsys.readouterr().out.strip()
        assert run(["keys", "show", str(path)]) == 0
        assert capsys.readouterr().out.strip() == public
        for _ in range(2):
            assert run(["sign", str(model), "--key", str(path)]) == 0
        assert read_bundle(model).signature is not None
        assert f"by {public}" in capsys.readouterr().out

    def test_a_passphrase_may_stand_in_the_environment(
        self, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For scripts, which no terminal asks."""
        monkeypatch.setenv("HOLTER_KEY_PASSPHRASE", "secret")
        path = tmp_path / "locked.pem"
        assert run(["keys", "new", str(path), "--encrypt"]) == 0
        assert is_encrypted(path)
        assert run(["sign", str(model), "--key", str(path)]) == 0

    def test_a_false_signature_is_told(
        self, model: Path, key: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """inspect looks whether it is true."""
        right = read_bundle(model).sha256
        write_signature(model, right, sign(SHA256, key))
        assert run(["inspect", str(model)]) == 2
        assert "one of the two was altered" in capsys.readouterr().err

    def test_a_bad_key_is_told_before_a_conversion_begins(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Else minutes are lost."""
        out = tmp_path / "o.tflite"
        assert run(["convert", str(tmp_path), "-o", str(out), "--sign", "none.pem"]) == 2
        assert "Cannot read the key none.pem" in capsys.readouterr().err
        assert not out.exists()
