"""Laws of what an import brings in, each in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import holter_host

FOREIGN = {"tensorflow", "ai_edge_litert", "tflite_runtime", "smbus2", "wfdb", "gpiod"}
FOREIGN |= {"dask", "distributed", "tornado"}
HEAVY = {"numpy", "grpc", "rich", "asyncio"}


def modules_after(code: str) -> set[str]:
    """The top-level modules that are loaded after the code ran in a new interpreter."""
    script = f"import sys\n{code}\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import holter_host` loads neither numpy nor gRPC nor anything foreign."""
    assert not modules_after("import holter_host") & (FOREIGN | HEAVY)


def test_using_every_public_name_loads_nothing_foreign() -> None:
    """The whole public API needs no TensorFlow, no runtime, no bus and no record reader."""
    code = "import holter_host\nfor n in holter_host.__all__: getattr(holter_host, n)"
    loaded = modules_after(code)
    assert not loaded & FOREIGN
    assert {"numpy", "grpc"} <= loaded


def test_figures_need_numpy_alone() -> None:
    """Whoever only wants the figures of an evaluation loads no runtime, record reader or gRPC."""
    loaded = modules_after("from holter_host.evaluation import metrics, truth")
    assert not loaded & (FOREIGN | {"grpc", "rich", "scipy", "pandas"})


def test_importing_an_error_is_light() -> None:
    """An exception can be named without numpy or gRPC."""
    assert not modules_after("from holter_host import DeviceError") & HEAVY


def test_help_loads_no_verb() -> None:
    """`holter --help` loads neither numpy nor gRPC."""
    code = "from holter_host.cli import run\nrun(['--help'])"
    assert not modules_after(code) & ((FOREIGN | HEAVY) - {"asyncio"})


@pytest.mark.parametrize(
    "verb", ["watch", "deploy", "models", "status", "capture", "classify", "evaluate"]
)
def test_verbs_about_devices_load_nothing_foreign(verb: str) -> None:
    """A verb about a device loads no TensorFlow, and rich only when it draws."""
    code = f"from holter_host.cli import run\nrun(['{verb}', '--help'])"
    assert not modules_after(code) & (FOREIGN | {"rich"})


@pytest.mark.parametrize("verb", ["status", "watch", "deploy", "resume"])
def test_a_fleet_without_a_cluster_loads_no_dask(verb: str, tmp_path: Path) -> None:
    """A verb about a fleet loads nothing foreign, also when it works; Dask is for --cluster."""
    (tmp_path / "fleet.toml").write_text('[[device]]\nname = "a"\naddress = "unix:/nowhere"\n')
    words = ["fleet", verb, "--inventory", str(tmp_path / "fleet.toml"), "--timeout", "0.1"]
    words = words if verb == "status" else ["fleet", verb, "--help"]
    code = f"from holter_host.cli import run\nrun({words})"
    assert not modules_after(code) & FOREIGN


def test_dir_lists_the_public_names() -> None:
    """`dir` shows what `__all__` promises, and every name of it is there."""
    assert dir(holter_host) == sorted(holter_host.__all__)
    for name in holter_host.__all__:
        assert getattr(holter_host, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not public is not found, and is named."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        holter_host.nothing  # noqa: B018
