"""The op audit: the operators that a model lists, and whether the runtime has each, before a load.

The codes are read from the flatbuffer by hand, as neither runtime shows them and a device has no
schema. Then the runtime itself is asked, with a model of this one operator and nothing else: it
resolves codes before it reads anything that a hostile file could have bent.
Layout: FlatBuffers' internals and TensorFlow Lite's schema (Model.operator_codes, OperatorCode).
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from ..errors import (
    CustomOpUnsupportedError,
    FlexOpUnsupportedError,
    OpUnsupportedError,
    OpVersionUnsupportedError,
)
from . import Runtime
from .model_file import malformed

MAX_OPS = 1000
_CUSTOM = 32
_NAME = re.compile(r"opcode '(\w+)'")


class Op(NamedTuple):
    """An entry of a model's operator codes; `custom` is the name of a custom operator, else ""."""

    code: int
    version: int
    custom: str


def read_ops(model: bytes) -> list[Op]:
    """The operators that a model says it uses.

    Raises:
        ModelMalformedError: the flatbuffer leads out of itself.
    """
    try:
        table = _follow(model, 0)
        vector = _field(model, table, 1)
        count = _uint(model, _follow(model, vector)) if vector else 0
        if count > MAX_OPS:
            raise malformed(f"it lists {count} operators")
        start = _follow(model, vector) + 4
        return [_op(model, _follow(model, start + 4 * index)) for index in range(count)]
    except (struct.error, IndexError) as error:
        raise malformed("its list of operators leads out of the file") from error


def audit(runtime: Runtime, ops: list[Op]) -> None:
    """Refuse what the runtime lacks.

    A custom operator is refused whatever the runtime's build may hold: two builds may mean two
    things by its name, and golden windows are no proof for all others.

    Raises:
        FlexOpUnsupportedError: one is TensorFlow's own.
        CustomOpUnsupportedError: one is somebody's own.
        OpVersionUnsupportedError: one is newer than the runtime's.
        OpUnsupportedError: the runtime does not have it in any version.
    """
    name = f"{runtime.info.name} {runtime.info.version}"
    for op in ops:
        if op.custom.startswith("Flex"):
            raise flex_op(op.custom, name)
        if op.code == _CUSTOM:
            raise CustomOpUnsupportedError(
                f"the model uses the custom operator {op.custom!r}, and a device runs built-in "
                "operators only; build the model without it",
                op=op.custom,
                runtime=name,
            )
        if said := runtime.lacks(op.code, op.version):
            raise _lacking(runtime, op, said, name)


def flex_op(op: str, runtime: str) -> FlexOpUnsupportedError:
    """The error for TensorFlow's own operators, which no light runtime has."""
    return FlexOpUnsupportedError(
        f"the model uses TensorFlow's own operators ({op}), which {runtime} and every other light "
        "runtime lack: convert it with built-in operators only",
        op=op,
        runtime=runtime,
    )


def probe(code: int, version: int) -> bytes:
    """The smallest .tflite that lists one built-in operator: no tensors, and nothing to run."""
    return b"".join(
        (
            struct.pack("<I4s", 48, b"TFL3"),
            struct.pack("<7H2x", 14, 20, 4, 8, 12, 0, 16),  # at 8: vtable of Model
            struct.pack("<6H", 12, 16, 12, 0, 4, 8),  # at 24: vtable of OperatorCode
            struct.pack("<6H", 12, 20, 4, 8, 12, 16),  # at 36: vtable of SubGraph
            struct.pack("<iI3I", 48 - 8, 3, 68 - 56, 92 - 60, 120 - 64),  # at 48: Model
            struct.pack("<2I", 1, 76 - 72),  # at 68: operator_codes
            struct.pack("<3iB3x", 76 - 24, version, code, min(code, 127)),  # at 76: OperatorCode
            struct.pack("<2I", 1, 100 - 96),  # at 92: subgraphs
            struct.pack("<i4I", 100 - 36, 120 - 104, 120 - 108, 120 - 112, 120 - 116),  # at 100
            struct.pack("<I", 0),  # at 120: an empty vector, for everything else
        )
    )


def _lacking(runtime: Runtime, op: Op, said: str, name: str) -> OpUnsupportedError:
    found = _NAME.search(said)
    called = found[1] if found else f"code {op.code}"
    if op.version > 1 and not runtime.lacks(op.code, 1):
        return OpVersionUnsupportedError(
            f"the model uses {called} in version {op.version}, which is newer than that of {name}: "
            "convert it again with `holter convert`, or install a newer runtime",
            op=called,
            version=op.version,
            runtime=name,
        )
    return OpUnsupportedError(
        f"the model uses the operator {called} (version {op.version}), which {name} does not have: "
        "build the model without it, or install a newer runtime",
        op=called,
        version=op.version,
        runtime=name,
    )


def _op(model: bytes, table: int) -> Op:
    deprecated, custom, version, code = (_field(model, table, number) for number in range(4))
    name = ""
    if custom:
        at = _follow(model, custom)
        name = model[at + 4 : at + 4 + min(_uint(model, at), 100)].decode("utf-8", "replace")
    codes = (
        struct.unpack_from("<b", model, deprecated)[0] if deprecated else 0,
        struct.unpack_from("<i", model, code)[0] if code else 0,
    )
    return Op(max(codes), struct.unpack_from("<i", model, version)[0] if version else 1, name)


def _field(model: bytes, table: int, number: int) -> int:
    """Where a table's field is; 0 where it has none."""
    vtable = table - int(struct.unpack_from("<i", model, table)[0])
    if vtable < 0:
        raise IndexError
    size, offset = struct.unpack_from("<H", model, vtable)[0], 0
    if 4 + 2 * number < size:
        offset = struct.unpack_from("<H", model, vtable + 4 + 2 * number)[0]
    return table + offset if offset else 0


def _follow(model: bytes, at: int) -> int:
    return at + _uint(model, at)


def _uint(model: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", model, at)[0])
