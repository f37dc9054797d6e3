"""A real holterd that trusts one key, and the real command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import holter_host
from holter_host.signing import new_key, sign, write_signature
from support.daemon import holterd, run
from support.tflite_models import averaging_model

pytestmark = pytest.mark.litert


async def test_a_device_with_a_key_takes_only_what_it_signed(tmp_path: Path) -> None:
    """Each refusal has its reason on the wire and in the command, and nothing is stored by it."""
    trusted = new_key(tmp_path / "trusted.pem")
    new_key(tmp_path / "other.pem")
    model = tmp_path / "m.tflite"
    model.write_bytes(averaging_model(version=2))
    sha256 = holter_host.read_bundle(model).sha256

    async with holterd(tmp_path, "--simulate", "sinus", "--trusted-keys", trusted) as daemon:

        async def refused(*flags: str) -> str:
            command = ("deploy", str(model), "--device", daemon.address, "--json", *flags)
            code, out, err = await run("holter", *command)
            assert (code, out) == (1, "")
            return str(json.loads(err)["error"]["reason"])

        assert await refused() == "MODEL_UNSIGNED"
        assert await refused("--dry-run") == "MODEL_UNSIGNED"
        write_signature(model, sha256, sign(sha256, tmp_path / "other.pem"))
        assert await refused() == "SIGNER_UNTRUSTED"
        write_signature(model, sha256, sign("00" * 32, tmp_path / "trusted.pem"))
        assert await refused() == "SIGNATURE_INVALID"
        async with holter_host.connect(daemon.address) as device:
            assert (await device.status()).trusted_keys == (trusted,)
            assert await device.models() == ()
            write_signature(model, sha256, sign(sha256, tmp_path / "trusted.pem"))
            result = await device.deploy(model)
            assert [step.name for step in result.gate_report.steps][:2] == ["digest", "signature"]
            assert result.model.signer == trusted
            model.write_bytes(averaging_model(version=1))
            sha256 = holter_host.read_bundle(model, with_signature=False).sha256
            write_signature(model, sha256, sign(sha256, tmp_path / "trusted.pem"))
            assert await refused() == "MODEL_DOWNGRADED"
            assert await refused("--dry-run") == "MODEL_DOWNGRADED"
            assert [held.sha256 for held in await device.models()] == [result.model.sha256]
