"""Generate proto/src/holter/v1 from proto/holter/v1, or say where the two differ.

Runs in the environment of constraints/codegen.txt, whose grpcio-tools is the oldest supported one
on purpose: what it generates loads on that protobuf and all later ones, never the other way round.
Stubs for gRPC are generated only for files that declare a service.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
PACKAGE = Path("holter/v1")


def generate(target: Path) -> None:
    """Write the stubs below `target`."""
    protos = sorted((ROOT / PACKAGE).glob("*.proto"))
    services = [path for path in protos if "\nservice " in path.read_text()]
    include = [f"-I{ROOT}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    outputs = [f"--python_out={target}", f"--pyi_out={target}"]
    _protoc([*include, *outputs, *map(str, protos)])
    _protoc([*include, f"--grpc_python_out={target}", *map(str, services)])


def _protoc(arguments: list[str]) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit("protoc failed")


def main() -> None:
    """Generate, or with --check compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and change nothing")
    check = parser.parse_args().check
    committed = ROOT / "src" / PACKAGE
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = Path(folder) / PACKAGE
        names = {path.name for path in fresh.iterdir()}
        stale = {p.name for p in committed.glob("*_pb2*")} - names
        _, differ, missing = filecmp.cmpfiles(fresh, committed, sorted(names), shallow=False)
        wrong = sorted({*differ, *missing, *stale})
        if check and wrong:
            sys.exit(f"stubs differ from their .proto files: {', '.join(wrong)}; run `make proto`")
        if check:
            return
        for name in stale:
            (committed / name).unlink()
        for name in names:
            (committed / name).write_bytes((fresh / name).read_bytes())


if __name__ == "__main__":
    main()
