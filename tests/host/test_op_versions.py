"""Laws of what is known of the runtimes: held against the runtimes themselves."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from holter_host.op_versions import HIGHEST, lacking

ROOT = Path(__file__).parents[2]
OP_PROBE = ROOT / "tests" / "support" / "op_probe.py"


@pytest.mark.litert
@pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime"])
def test_the_table_is_what_the_runtime_resolves(runtime: str) -> None:
    """For each op of the schema, the runtime takes the version of the table and not the next."""
    python = sys.executable
    if runtime == "tflite-runtime":
        python = str(ROOT / ".venv-tflite" / "bin" / "python")
        if not Path(python).exists():
            pytest.skip("no .venv-tflite: make test makes it where tflite-runtime exists")
    spec = importlib.util.find_spec("ai_edge_litert")
    assert spec is not None
    assert spec.origin is not None
    done = subprocess.run(
        [python, OP_PROBE, Path(spec.origin).parent], capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    table = next(
        (
            table
            for (name, start), table in HIGHEST.items()
            if name == runtime and said["version"].startswith(start)
        ),
        None,
    )
    if table is None:
        pytest.skip(f"{runtime} {said['version']} is not in the table")
    assert said["highest"] == table


def test_what_is_lacking_is_named() -> None:
    """A newer version, an op that is not there and a custom op are lacking; the rest is not."""
    ops = [
        {"name": "CONV_2D", "version": 3, "is_custom": False},
        {"name": "FULLY_CONNECTED", "version": 12, "is_custom": False},
        {"name": "STABLEHLO_ADD", "version": 1, "is_custom": False},
        {"name": "FlexErf", "version": 1, "is_custom": True},
    ]
    assert lacking(ops, "tflite-runtime", "2.14.0") == [
        "FULLY_CONNECTED version 12 (it has 10)",
        "STABLEHLO_ADD",
        "FlexErf",
    ]
    assert lacking(ops, "ai-edge-litert", "2.3.0") == ["FlexErf"]
    assert lacking(ops, "tflite-runtime", "2.5.0") is None
