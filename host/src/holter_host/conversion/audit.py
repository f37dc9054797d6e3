"""What stands in a .tflite: read from its flatbuffer, nothing is run.

Imports the schema of ai-edge-litert, so only the conversion child imports this module.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from ai_edge_litert import schema_py_generated as schema

from holter_host.errors import BadInputError, ConversionError

_OP_NAMES: Final = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}


@dataclasses.dataclass(frozen=True, slots=True)
class Op:
    """One kind of operation in a model.

    Attributes:
        name: of the builtin ("CONV_2D"), or of the custom op.
        version: of the builtin; 1 for a custom op.
        count: how often it stands in all subgraphs.
        is_custom: whether no builtin is meant.
    """

    name: str
    version: int
    count: int
    is_custom: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Audit:
    """What stands in a .tflite.

    Attributes:
        ops: by name and version.
        min_runtime_version: as the converter noted it, "" where it did not; a hint only.
        uninitialised: shared names of variables that nothing in the model assigns.
    """

    ops: tuple[Op, ...]
    min_runtime_version: str
    uninitialised: tuple[str, ...]

    def check(self, select_tf_ops: bool = False) -> None:
        """Refuse what no light runtime could run.

        Args:
            select_tf_ops: whether ops that TensorFlow itself has (Flex) are let through.

        Raises:
            ConversionError: it has custom or Flex ops, or variables without a value.
        """
        custom = [
            op.name
            for op in self.ops
            if op.is_custom and not (select_tf_ops and op.name.startswith("Flex"))
        ]
        if custom:
            raise ConversionError(
                f"The model uses {', '.join(custom)}, which no light runtime has; build it without."
            )
        if self.uninitialised:
            raise ConversionError(
                f"Variables ({len(self.uninitialised)}) have no value in the .tflite: TensorFlow's "
                "converter loses the weights of a Keras 3 model that tf.saved_model.save wrote; "
                "convert the SavedModel with holter convert."
            )


def audit(data: bytes, name: str) -> Audit:
    """Read the flatbuffer of a .tflite; `name` is what errors call it.

    Raises:
        BadInputError: it cannot be read as one.
    """
    try:
        model = schema.Model.GetRootAs(data, 0)
        codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
        return Audit(_ops(model, codes), _min_runtime(model), _uninitialised(model, codes))
    except Exception as error:  # the reader checks nothing: any error may come of a bad offset
        raise BadInputError(f"{name} is damaged: its flatbuffer cannot be read.") from error


def _ops(model: Any, codes: list[Any]) -> tuple[Op, ...]:
    counts = Counter(op.OpcodeIndex() for _, op in _operators(model))
    ops = Counter[tuple[str, int, bool]]()
    for index, count in counts.items():
        custom = codes[index].CustomCode()
        name = custom.decode() if custom else _OP_NAMES.get(_builtin(codes[index]), "UNKNOWN")
        ops[(name, codes[index].Version(), bool(custom))] += count
    return tuple(Op(name, version, n, custom) for (name, version, custom), n in sorted(ops.items()))


def _min_runtime(model: Any) -> str:
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == b"min_runtime_version":
            content = model.Buffers(entry.Buffer())
            if content.DataLength():
                return bytes(content.DataAsNumpy()).rstrip(b"\0").decode("ascii")
    return ""


def _uninitialised(model: Any, codes: list[Any]) -> tuple[str, ...]:
    """Names of variables that have a handle in some subgraph, but are assigned in none."""
    handles: dict[tuple[int, int], str] = {}
    assigned: set[str] = set()
    for subgraph, op in _operators(model):
        if _builtin(codes[op.OpcodeIndex()]) == schema.BuiltinOperator.VAR_HANDLE:
            options = schema.VarHandleOptions()
            table = op.BuiltinOptions()
            options.Init(table.Bytes, table.Pos)
            handles[subgraph, op.Outputs(0)] = (options.SharedName() or b"").decode()
    for subgraph, op in _operators(model):
        if _builtin(codes[op.OpcodeIndex()]) == schema.BuiltinOperator.ASSIGN_VARIABLE:
            assigned.add(handles.get((subgraph, op.Inputs(0)), ""))
    return tuple(sorted(set(handles.values()) - assigned))


def _operators(model: Any) -> Iterator[tuple[int, Any]]:
    for index in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(index)
        for position in range(subgraph.OperatorsLength()):
            yield index, subgraph.Operators(position)


def _builtin(code: Any) -> int:
    return max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))
