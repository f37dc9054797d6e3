"""Generate what is made from proto/holter/v1, or say where it differs from what is committed.

That is the stubs in proto/src/holter/v1, and proto/holter.v1.txtpb: the descriptors of the whole
package as text, in which a review sees what a change does to the wire and which `buf breaking`
holds the .proto files against.

Runs in the environment of constraints/codegen.txt, whose grpcio-tools is the oldest supported one
on purpose: what it generates loads on that protobuf and all later ones, never the other way round.
Stubs for gRPC are generated only for files that declare a service.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import resources
from pathlib import Path

from google.protobuf import descriptor_pb2, text_format
from grpc_tools import protoc

ROOT = Path(__file__).parent
PACKAGE = Path("holter/v1")
STUBS = Path("src") / PACKAGE
WIRE = Path("holter.v1.txtpb")


def generate() -> dict[Path, bytes]:
    """Everything that is made: its content by its path below this folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        descriptors = folder / "descriptors"
        _generate(folder, descriptors)
        made = {STUBS / path.name: path.read_bytes() for path in (folder / PACKAGE).iterdir()}
        wire = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
        return made | {WIRE: text_format.MessageToString(wire).encode()}


def _generate(target: Path, descriptors: Path) -> None:
    protos = sorted((ROOT / PACKAGE).glob("*.proto"))
    services = [path for path in protos if "\nservice " in path.read_text()]
    include = [f"-I{ROOT}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    outputs = [f"--python_out={target}", f"--pyi_out={target}"]
    snapshot = ["--include_imports", f"--descriptor_set_out={descriptors}"]
    _protoc([*include, *outputs, *snapshot, *map(str, protos)])
    _protoc([*include, f"--grpc_python_out={target}", *map(str, services)])


def _protoc(arguments: list[str]) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit("protoc failed")


def main() -> None:
    """Generate, or with --check compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and change nothing")
    check = parser.parse_args().check
    made = generate()
    committed = {p.relative_to(ROOT): p.read_bytes() for p in (ROOT / STUBS).glob("*_pb2*")}
    if (ROOT / WIRE).exists():
        committed[WIRE] = (ROOT / WIRE).read_bytes()
    wrong = sorted(p for p in made.keys() | committed if made.get(p) != committed.get(p))
    if check and wrong:
        names = ", ".join(map(str, wrong))
        sys.exit(f"what is generated differs from the .proto files: {names}; run `make proto`")
    if check:
        return
    for path in wrong:
        if path in made:
            (ROOT / path).write_bytes(made[path])
        else:
            (ROOT / path).unlink()


if __name__ == "__main__":
    main()
