"""Clients in any language, with no code of ours."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import holter_host
from conftest import ROOT
from support.daemon import holterd


async def test_a_client_needs_no_generated_code(tmp_path: Path, model: Path) -> None:
    """By server reflection alone a client reads the same samples and classifications."""
    async with (
        holterd(tmp_path, "--simulate", "bigeminy", "--speed", "50") as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        deployed = await device.deploy(model)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "support.reflection_client",
            daemon.address,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT / "tests",
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        found = json.loads(out)
        async for event in device.samples("earliest"):
            if isinstance(event, holter_host.SampleBlock):
                break
        counts = event.counts[:, 0].tolist()
    assert {s for s in found["services"] if s.startswith("holter.v1.")} == {
        "holter.v1.ClassificationService",
        "holter.v1.DeviceService",
        "holter.v1.ModelService",
        "holter.v1.SampleService",
    }
    assert {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= set(
        found["services"]
    )
    common = min(len(counts), len(found["counts"]))
    assert found["first_sequence"] == 0
    assert found["counts"][:common] == counts[:common]
    assert found["model_sha256"] == deployed.model.sha256
    assert found["label"] in {"N", "S", "V"}
