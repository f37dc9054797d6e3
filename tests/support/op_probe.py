"""Which ops a TFLite runtime resolves: python op_probe.py SCHEMA_DIRECTORY, in either environment.

Prints JSON: the runtime's version, and the highest version of each op. Each is asked by a model
that has one op code and no op. The schema is ai-edge-litert's, read as a file, for the environment
with tflite-runtime has none; flatbuffers is taken from beside it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

try:
    from ai_edge_litert.interpreter import Interpreter

    VERSION = importlib.metadata.version("ai-edge-litert")
except ImportError:
    from tflite_runtime.interpreter import Interpreter

    VERSION = importlib.metadata.version("tflite-runtime")


def main() -> None:
    """Ask for all of them."""
    folder = Path(sys.argv[1])
    sys.path.append(str(folder.parent))
    spec = importlib.util.spec_from_file_location("schema", folder / "schema_py_generated.py")
    assert spec is not None
    assert spec.loader is not None
    schema = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(schema)
    codes = {n: c for n, c in vars(schema.BuiltinOperator).items() if isinstance(c, int)}
    highest = {name: _highest(schema, code) for name, code in codes.items()}
    print(json.dumps({"version": VERSION, "highest": {n: v for n, v in highest.items() if v}}))


def _highest(schema: Any, code: int) -> int:
    version = next((v for v in (1, 2, 3) if _resolves(schema, code, v)), 0)
    while version and _resolves(schema, code, version + 1):
        version += 1
    return version


def _resolves(schema: Any, code: int, version: int) -> bool:
    import flatbuffers

    model, graph, opcode = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    opcode.builtinCode, opcode.deprecatedBuiltinCode = code, min(code, 127)
    opcode.version = version
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], []
    model.version, model.operatorCodes, model.subgraphs = 3, [opcode], [graph]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    try:
        Interpreter(model_content=bytes(builder.Output()))
    except (ValueError, RuntimeError):
        return False
    return True


if __name__ == "__main__":
    main()
