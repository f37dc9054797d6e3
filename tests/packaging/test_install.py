"""The wheels in empty environments: each runs with what it asks for and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import holter_host
from conftest import ROOT
from support.daemon import holterd
from support.tflite_models import averaging_model
from support.venvs import PIP, make_venv, run

pytestmark = pytest.mark.timeout(600)  # pip, on a busy machine

MAIN = ("-c", ROOT / "constraints" / "main.txt")
HEAVY = {"tensorflow", "tensorflow-cpu", "keras", "grpcio-tools", "pandas", "scipy", "wfdb"}
# Modules that import what only an extra brings.
DEVICE_EXTRAS = {"holter_device.leadoff.gpio", "holter_device.runtime.tflite"}
HOST_EXTRAS = {
    f"holter_host.conversion.{name}"
    for name in (
        "audit",
        "child",
        "freezing",
        "keras_file",
        "lowering",
        "pipeline",
        "precision",
        "quantize",
        "run",
        "runtime",
        "saved_model",
        "tf1",
        "unroll",
    )
} | {"holter_host.evaluation.judge"}

IMPORT_ALL = """
import importlib, json, pkgutil, sys
failed = []
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        try:
            importlib.import_module(module.name)
        except ImportError:
            failed.append(module.name)
print(json.dumps(failed))
"""


@pytest.fixture(scope="module")
def device_bin(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment with holter-device[litert]."""
    folder = tmp_path_factory.mktemp("device")
    return make_venv(folder, *MAIN, wheels["proto"], f"{wheels['device']}[litert]")


@pytest.fixture(scope="module")
def host_bin(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment with holter-host, without an extra."""
    folder = tmp_path_factory.mktemp("host")
    return make_venv(folder, *MAIN, wheels["proto"], wheels["host"])


def installed(bin_path: Path) -> set[str]:
    """The distributions of an environment."""
    _, text, _ = run(*PIP, "--python", bin_path / "python", "list", "--format", "json")
    return {row["name"].lower().replace("_", "-") for row in json.loads(text)}


def unimportable(bin_path: Path, *packages: str) -> set[str]:
    """The modules of packages that cannot be imported."""
    status, text, said = run(bin_path / "python", "-c", IMPORT_ALL, *packages)
    assert status == 0, said
    return set(json.loads(text.splitlines()[-1]))


class TestDevice:
    def test_no_heavy_distribution_comes_with_it(self, device_bin: Path) -> None:
        """With its documented extra the device has no TensorFlow, pandas or grpcio-tools."""
        names = installed(device_bin)
        assert {"holter-device", "holter-proto", "ai-edge-litert", "smbus2"} <= names
        assert not names & (HEAVY | {"holter-host", "tflite-runtime"})

    def test_every_module_is_importable(self, device_bin: Path) -> None:
        """What it asks for is enough for every module but those of other extras."""
        assert unimportable(device_bin, "holter", "holter_device") == DEVICE_EXTRAS

    def test_holterd_says_how_it_is_used(self, device_bin: Path) -> None:
        """`holterd --help` and `--version` work."""
        status, out, err = run(device_bin / "holterd", "--help")
        assert (status, err) == (0, "")
        assert "--simulate" in out
        _, version, _ = run(device_bin / "holterd", "--version")
        assert version == f"holterd {holter_host.__version__}\n"

    def test_a_missing_extra_is_one_sentence(self, device_bin: Path, tmp_path: Path) -> None:
        """Replaying a record without its reader says what to install, and fails."""
        data = tmp_path / "data"
        flags = ["--replay", "208", "--listen", "127.0.0.1:0", "--data-dir", data]
        status, out, err = run(device_bin / "holterd", *flags)
        assert (status, out) == (1, "")
        assert "pip install 'holter-device[replay]'" in err
        assert "Traceback" not in err

    async def test_it_serves_and_classifies(
        self, device_bin: Path, host_bin: Path, tmp_path: Path
    ) -> None:
        """A device of wheels takes a model and classifies; a host of wheels reads its status."""
        async with (
            holterd(tmp_path, "--simulate", "sinus", python=str(device_bin / "python")) as daemon,
            holter_host.connect(daemon.address) as device,
        ):
            result = await device.deploy(averaging_model())
            async for event in device.classifications():
                if isinstance(event, holter_host.Classification):
                    assert event.model_sha256 == result.model.sha256
                    assert event.label == "V"
                    break
            words = ("status", "--device", daemon.address, "--json")
            status, out, err = run(host_bin / "holter", *words)
            assert (status, err) == (0, "")
            assert json.loads(out)["source"]["kind"] == "simulate"


class TestHost:
    def test_no_heavy_distribution_comes_with_it(self, host_bin: Path) -> None:
        """Without its extra the host has no TensorFlow and no runtime, and never the bus."""
        names = installed(host_bin)
        assert {"holter-host", "holter-proto", "rich"} <= names
        assert not names & (HEAVY | {"holter-device", "ai-edge-litert", "smbus2"})

    def test_every_module_is_importable(self, host_bin: Path) -> None:
        """What it asks for is enough for every module but those of the conversion process."""
        assert unimportable(host_bin, "holter", "holter_host") <= HOST_EXTRAS

    def test_holter_says_how_it_is_used(self, host_bin: Path) -> None:
        """`holter --help` and `holter convert --help` work."""
        for words in ([], ["convert"], ["watch"]):
            status, out, err = run(host_bin / "holter", *words, "--help")
            assert (status, err) == (0, "")
            assert "Example" in out

    def test_a_cluster_says_what_to_install(self, host_bin: Path, tmp_path: Path) -> None:
        """`holter fleet --cluster` without its extra is one sentence with the command."""
        inventory = tmp_path / "fleet.toml"
        inventory.write_text('[[device]]\nname = "a"\naddress = "127.0.0.1:1"\n')
        words = ("fleet", "status", "--inventory", inventory, "--cluster", "tcp://127.0.0.1:1")
        status, out, err = run(host_bin / "holter", *words)
        assert (status, out) == (1, "")
        assert "pip install 'holter-host[cluster]'" in err
        assert "Traceback" not in err

    def test_convert_says_what_to_install(self, host_bin: Path, tmp_path: Path) -> None:
        """`holter convert` without its extra is one sentence with the command, and no file."""
        out_path = tmp_path / "out.tflite"
        saved_model = ROOT / "models" / "ecg-rhythm" / "saved_model"
        status, out, err = run(host_bin / "holter", "convert", saved_model, "-o", out_path)
        assert (status, out) == (1, "")
        said = [line for line in err.splitlines() if line.startswith("holter: ")]
        assert len(said) == 1
        assert "pip install 'holter-host[convert]'" in said[0]
        assert "Traceback" not in err
        assert not out_path.exists()
