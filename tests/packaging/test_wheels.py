"""What the three wheels hold and what they ask for."""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import ROOT
from support.wheels import metadata, requirements

PACKAGES = {"proto": "holter", "device": "holter_device", "host": "holter_host"}
SCRIPTS = {
    "proto": set(),
    "device": {
        ("holterd", "holter_device.cli:main"),
        ("holterd-sim", "holter_device.simulation.cli:main"),
    },
    "host": {("holter", "holter_host.cli:main")},
}
EXTRAS = {
    "proto": {"records", "signing"},
    "device": {"gpio", "litert", "tflite", "replay", "signing"},
    "host": {"cluster", "convert", "evaluate", "wfdb"},
}
FORBIDDEN = {
    "proto": {"grpcio-tools", "tensorflow", "smbus2", "pandas"},
    "device": {"tensorflow", "tensorflow-cpu", "keras", "grpcio-tools", "pandas", "holter-host"},
    "host": {"smbus2", "grpcio-tools", "pandas", "tflite-runtime", "holter-device"},
}
# Where an import's name is not its distribution's.
PROVIDERS = {
    "ai_edge_litert": "ai-edge-litert",
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
    "holter": "holter-proto",
    "tflite_runtime": "tflite-runtime",
}

pytestmark = pytest.mark.parametrize("name", list(PACKAGES))


def imported(package: Path) -> set[str]:
    """What the modules below a directory import that is neither theirs nor Python's."""
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module)
    parts = [name.split(".") for name in found]
    tops = {".".join(p[:2]) if p[0] == "google" else p[0] for p in parts}
    return tops - sys.stdlib_module_names - {package.name}


def test_a_wheel_holds_its_package_and_nothing_else(name: str, wheels: dict[str, Path]) -> None:
    """Every source file, stub, py.typed and C file of the package is there, and no test."""
    source = wheels[name].parents[1] / name / "src"
    expected = {
        str(path.relative_to(source))
        for path in (source / PACKAGES[name]).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = zipfile.ZipFile(wheels[name]).namelist()
    assert {path for path in held if ".dist-info/" not in path} == expected
    assert f"{PACKAGES[name]}/py.typed" in held


def test_a_wheel_has_its_commands(name: str, wheels: dict[str, Path]) -> None:
    """holterd comes with the device, holter with the host, and nothing with the protocol."""
    points = metadata(wheels[name]).entry_points
    assert {(p.name, p.value) for p in points} == SCRIPTS[name]


def test_a_wheel_has_its_licence(name: str, wheels: dict[str, Path]) -> None:
    """Each wheel names Apache-2.0 and carries its text."""
    about = metadata(wheels[name])
    assert about.metadata["License-Expression"] == "Apache-2.0"
    assert about.read_text("licenses/LICENSE") == ROOT.joinpath("LICENSE").read_text()


def test_siblings_are_pinned_exactly(name: str, wheels: dict[str, Path]) -> None:
    """The three have one version, and device and host ask for exactly that of the protocol."""
    version = metadata(wheels[name]).version
    assert {metadata(wheel).version for wheel in wheels.values()} == {version}
    siblings = [r for r in requirements(wheels[name]) if r.name.startswith("holter")]
    assert {sibling.name for sibling in siblings} == ({"holter-proto"} - {f"holter-{name}"})
    assert all(sibling.specifier == f"=={version}" for sibling in siblings)


def test_what_is_forbidden_is_not_asked_for(name: str, wheels: dict[str, Path]) -> None:
    """No extra of the device brings TensorFlow, no extra of the host the bus, none grpcio-tools."""
    asked = {requirement.name for requirement in requirements(wheels[name])}
    assert not asked & FORBIDDEN[name]
    assert set(metadata(wheels[name]).metadata.get_all("Provides-Extra") or ()) == EXTRAS[name]


def test_the_protocol_alone_is_light(name: str, wheels: dict[str, Path]) -> None:
    """Without extras it asks for gRPC and protobuf, and none of the three reads records."""
    plain = {r.name for r in requirements(wheels[name]) if r.marker is None}
    assert not plain & {"scipy", "wfdb"}
    assert name != "proto" or plain == {"grpcio", "protobuf"}


def test_what_is_imported_is_asked_for(name: str, wheels: dict[str, Path]) -> None:
    """Each foreign import has its distribution among the requirements; each of those is used."""
    asked = {re.sub("-cpu$", "", requirement.name) for requirement in requirements(wheels[name])}
    used = imported(ROOT / name / "src" / PACKAGES[name])
    assert {PROVIDERS.get(top, top) for top in used} == asked
