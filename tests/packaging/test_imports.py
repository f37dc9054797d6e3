"""What holterd's processes import, each in a fresh interpreter.

The budget of the host's package is in tests/host, that of the sampler process in tests/device.
"""

from __future__ import annotations

import pytest

from support.fresh import modules_after

FOREIGN = {
    "gpiod",
    "smbus2",
    "ai_edge_litert",
    "tflite_runtime",
    "tensorflow",
    "wfdb",
    "pandas",
    "scipy",
}
HEAVY = {"numpy", "grpc", "google", "asyncio", "sqlite3"}


def tops(code: str) -> set[str]:
    """The top-level modules that are loaded after the code ran in a new interpreter."""
    return {name.partition(".")[0] for name in modules_after(code)}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["config"]], ids=str)
def test_a_word_is_light(words: list[str]) -> None:
    """`holterd` loads nothing heavy to say what it is or what its settings are."""
    code = f"from holter_device.cli import run\ntry: run({words})\nexcept SystemExit: pass"
    assert not tops(code) & (FOREIGN | HEAVY)


def test_a_wrong_setting_is_light() -> None:
    """A flag that is refused is refused before anything heavy is loaded."""
    code = "from holter_device.cli import run\nassert run(['--rate', '0']) == 2"
    assert not tops(code) & (FOREIGN | HEAVY)


def test_probing_loads_the_bus_alone() -> None:
    """`holterd probe` loads smbus2, and neither gRPC nor numpy."""
    code = "from holter_device.cli import run\nassert run(['probe', '--bus', '999']) == 1"
    loaded = tops(code)
    assert "smbus2" in loaded
    assert not loaded & ((FOREIGN | HEAVY) - {"smbus2"})


def test_holterd_itself_loads_nothing_foreign() -> None:
    """The process that serves loads neither a bus, nor a runtime, nor a record reader."""
    loaded = modules_after("import holter_device.app")
    assert {"grpc", "numpy", "sqlite3"} <= loaded
    assert not {name.partition(".")[0] for name in loaded} & FOREIGN
    assert not {name for name in loaded if name.startswith("holter_device.testing")}


def test_the_protocol_needs_no_numpy() -> None:
    """The spec of a model file loads without numpy, gRPC or protobuf."""
    assert not tops("import holter.spec") & (FOREIGN | HEAVY)
