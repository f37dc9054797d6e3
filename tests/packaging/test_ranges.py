"""The ends of what is promised: protobuf and gRPC for the stubs, Python for all three."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import holter_host
from conftest import ROOT
from support.daemon import holterd
from support.tflite_models import averaging_model
from support.venvs import make_venv, run
from support.wheels import requirements

pytestmark = pytest.mark.timeout(600)  # pip, on a busy machine

# Imports every stub, then asks a server of gRPC's own for a message with something of each kind.
ASK = """
import importlib, json, os, pathlib, sys, warnings
from concurrent import futures

os.environ["GRPC_VERBOSITY"] = "NONE"  # gRPC's own log may tell of the goodbye
warnings.simplefilter("error")
import google.protobuf, grpc
import holter.v1

for path in pathlib.Path(holter.v1.__path__[0]).glob("*_pb2*.py"):
    importlib.import_module(f"holter.v1.{path.stem}")

from holter.v1 import model_service_pb2 as pb, model_service_pb2_grpc as rpc

SENT = pb.DeployModelResponse(
    model=pb.Model(sha256="00", spec=pb.ModelSpec(rate_hz=360, labels=["N", "µ"])),
    gate_report=pb.GateReport(steps=[pb.GateStep(name="load", facts={"runtime": "x"})]),
    swap_sequence=-(2**62),
)
SENT.model.store_time.FromSeconds(1)

class Servicer(rpc.ModelServiceServicer):
    def DeployModel(self, request, context):
        assert request == pb.DeployModelRequest(model=bytes(range(256)), validate_only=True)
        return SENT

server = grpc.server(futures.ThreadPoolExecutor(1))
rpc.add_ModelServiceServicer_to_server(Servicer(), server)
address = f"unix:{sys.argv[1]}"
server.add_insecure_port(address)
server.start()
with grpc.insecure_channel(address) as channel:
    request = pb.DeployModelRequest(model=bytes(range(256)), validate_only=True)
    assert rpc.ModelServiceStub(channel).DeployModel(request) == SENT
server.stop(None).wait()
print(json.dumps({"protobuf": google.protobuf.__version__, "grpcio": grpc.__version__}))
"""


def oldest(requirement: Requirement) -> Version:
    """The version after >= in a requirement."""
    (version,) = [s.version for s in requirement.specifier if s.operator == ">="]
    return Version(version)


@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_the_stubs_load_and_speak(end: str, wheels: dict[str, Path], tmp_path: Path) -> None:
    """With the oldest protobuf and gRPC that are promised, and the newest there are, calls work."""
    promised = {r.name: r for r in requirements(wheels["proto"]) if r.marker is None}
    pins = {name: oldest(r) for name, r in promised.items()} if end == "oldest" else {}
    exact = [f"{name}=={version}" for name, version in pins.items()]
    bin_path = make_venv(tmp_path / "venv", wheels["proto"], *exact)
    status, out, err = run(bin_path / "python", "-c", ASK, tmp_path / "socket")
    assert (status, err) == (0, "")
    found = {name: Version(text) for name, text in json.loads(out).items()}
    assert found.keys() == promised.keys()
    for name, version in found.items():
        assert version in promised[name].specifier
        assert version == pins.get(name, version)


@pytest.fixture(params=["3.12", "3.13"])
def other_bin(request: pytest.FixtureRequest, wheels: dict[str, Path], tmp_path: Path) -> Path:
    """The bin directory of an environment of another Python with device and host."""
    python = shutil.which(f"python{request.param}")
    if not python or run(python, "-c", "")[0]:
        pytest.skip(f"no python{request.param} on the PATH")
    constraints = ROOT / "constraints" / "main.txt"
    wanted = [wheels["proto"], f"{wheels['device']}[litert]", wheels["host"]]
    return make_venv(tmp_path / "venv", "-c", constraints, *wanted, python=python)


@pytest.mark.long
async def test_other_pythons_run_it(other_bin: Path, tmp_path: Path) -> None:
    """With the pinned versions both commands install and run on each other supported Python."""
    async with (
        holterd(tmp_path, "--simulate", "sinus", python=str(other_bin / "python")) as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        await device.deploy(averaging_model())
        async for event in device.classifications():
            if isinstance(event, holter_host.Classification):
                break
        status, out, err = run(other_bin / "holter", "status", "--device", daemon.address, "--json")
        assert (status, err) == (0, "")
        assert json.loads(out)["source"]["kind"] == "simulate"
