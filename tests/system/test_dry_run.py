"""Will it run there? `holter deploy --dry-run` on a real holterd, in each runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holter_host
from holter_host import preflight
from holter_host.bundle import parse_bundle, write_bundle
from support.daemon import holterd, run
from support.tflite_models import averaging_model, custom_op, holter_model, make_spec, make_windows

pytestmark = pytest.mark.litert

SIMULATED = ("--simulate", "sinus")


def model_file(path: Path, data: bytes, ops: list[dict[str, Any]]) -> Path:
    """A model file whose report lists these ops."""
    made = parse_bundle(data, path)
    write_bundle(made.tflite, made.spec, made.golden, {"ops": ops}, path)
    return path


def op(name: str, version: int, is_custom: bool = False) -> dict[str, Any]:
    """An op as a report lists it."""
    return {"name": name, "version": version, "is_custom": is_custom, "count": 1}


async def test_the_host_compares_and_the_device_judges(tmp_path: Path, runtime_python: str) -> None:
    """What fits is loaded and run there, and stored nowhere; what cannot fit is not sent.

    An op version that tflite-runtime 2.14 lacks is refused there with what to install, and let
    through to LiteRT. What only the device can know, it says.
    """
    fits = model_file(tmp_path / "fits.tflite", averaging_model(), [op("FULLY_CONNECTED", 1)])
    newer = model_file(tmp_path / "new.tflite", averaging_model(), [op("FULLY_CONNECTED", 12)])
    data = averaging_model(rate_hz=250.0, channels=("V9",))
    misfit = model_file(tmp_path / "misfit.tflite", data, [op("FlexErf", 1, is_custom=True)])
    spec = make_spec()
    graph = custom_op("FlexErf")
    liar = holter_model(graph, spec, make_windows(spec), np.zeros((8, 3), "f4"))
    (tmp_path / "liar.tflite").write_bytes(liar)
    async with holterd(tmp_path, *SIMULATED, python=runtime_python) as daemon:

        async def dry_run(path: Path) -> tuple[int, str, dict[str, Any]]:
            words = ("deploy", str(path), "--dry-run", "--json")
            code, out, err = await run("holter", *words, env={"HOLTER_DEVICE": daemon.address})
            return code, out, json.loads(err)["error"] if err else {}

        async with holter_host.connect(daemon.address) as device:
            runtime = (await device.status()).runtime
            assert runtime is not None
        code, out, _ = await dry_run(fits)
        steps = [step["name"] for step in json.loads(out)["gate_report"]["steps"]]
        assert code == 0
        assert {"digest", "load", "golden"} <= set(steps)

        code, _, error = await dry_run(newer)
        if runtime.name == "tflite-runtime":
            assert (code, error["reason"]) == (1, "OP_VERSION_UNSUPPORTED")
            assert "lacks FULLY_CONNECTED version 12 (it has 10)" in error["message"]
            assert "pip install 'holter-device[litert]'" in error["message"]
        else:
            assert (code, error) == (0, {})

        code, _, error = await dry_run(misfit)
        assert (code, len(error["metadata"])) == (1, 3)
        for words in ("FlexErf, which no light runtime has", "--rate 250", "takes V9 and"):
            assert words in error["message"]

        code, _, error = await dry_run(tmp_path / "liar.tflite")
        assert (code, error["reason"]) == (1, "FLEX_OP_UNSUPPORTED")
        assert "onvert" in error["message"]
        async with holter_host.connect(daemon.address) as device:
            assert await device.models() == ()


async def test_size_and_window_are_said_before_a_byte_is_sent(tmp_path: Path) -> None:
    """A file over the device's limit, and a window longer than it keeps, are refused here."""
    big = model_file(tmp_path / "big.tflite", averaging_model(), [])
    long = averaging_model(window=50_000, hop=50_000, input_shape=(1, 50_000, 1))
    (tmp_path / "long.tflite").write_bytes(long)
    async with (
        holterd(tmp_path, *SIMULATED, "--max-model-mib", "0.001") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        status = await device.status()
        found = preflight.misfits(holter_host.read_bundle(big), status)
        assert [misfit.reason for misfit in found] == ["MODEL_TOO_LARGE"]
        assert "start holterd with a greater --max-model-mib" in found[0].message
        code, out, err = await run(
            "holter",
            "deploy",
            str(tmp_path / "long.tflite"),
            "--dry-run",
            env={"HOLTER_DEVICE": daemon.address},
        )
        assert (code, out) == (1, "")
        assert "window of 50000 frames is longer" in err
