"""A graph in an `Interpreter`: the API that ai_edge_litert and tflite_runtime share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import Ends, Graph, GraphError, RuntimeInfo
from .ops import probe


class InterpreterRuntime:
    """A runtime made of its `Interpreter` class."""

    def __init__(self, info: RuntimeInfo, interpreter_class: Any) -> None:
        self.info = info
        self._interpreter_class = interpreter_class

    def load(self, model: bytes, ends: Ends) -> Graph:
        """Load from bytes: a file that is mapped could change under the interpreter."""
        interpreter = self._interpreter_class(model_content=model, num_threads=1)
        signatures = interpreter.get_signature_list()
        if ends.signature and ends.signature not in signatures:
            raise GraphError(f"it has no signature {ends.signature!r}")
        if len(signatures) > 1:
            return _SignatureGraph(interpreter, ends)
        interpreter.allocate_tensors()
        return _PrimaryGraph(interpreter, ends)

    def lacks(self, code: int, version: int) -> str:
        """Ask by a model of this operator alone, as `Runtime.lacks`."""
        try:
            self._interpreter_class(model_content=probe(code, version), num_threads=1)
        except (ValueError, RuntimeError) as error:
            return str(error) or type(error).__name__
        return ""


class _PrimaryGraph:
    """The only, or unnamed, entry of a model: run without the cost of a signature's runner."""

    def __init__(self, interpreter: Any, ends: Ends) -> None:
        self._interpreter = interpreter
        if ends.signature:
            runner = interpreter.get_signature_runner(ends.signature)
            inputs, outputs = runner.get_input_details(), runner.get_output_details()
        else:
            inputs = {details["name"]: details for details in interpreter.get_input_details()}
            outputs = {details["name"]: details for details in interpreter.get_output_details()}
        self._source, self._target = _chosen(inputs, outputs, ends)
        self.input_shape, self.input_dtype = self._source.shape, self._source.dtype
        self.output_shape, self.output_dtype = self._target.shape, self._target.dtype

    def run(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Run once, as `Graph.run`."""
        interpreter = self._interpreter
        interpreter.reset_all_variables()
        interpreter.set_tensor(self._source.index, self._source.inside(values))
        interpreter.invoke()
        return self._target.outside(interpreter.get_tensor(self._target.index))


class _SignatureGraph:
    """One of several signatures, whose subgraph may not be the first."""

    def __init__(self, interpreter: Any, ends: Ends) -> None:
        self._interpreter = interpreter
        if not ends.signature:
            raise GraphError("it has several signatures and the spec names none")
        self._runner = interpreter.get_signature_runner(ends.signature)
        details = self._runner.get_input_details(), self._runner.get_output_details()
        self._source, self._target = _chosen(*details, ends)
        self.input_shape, self.input_dtype = self._source.shape, self._source.dtype
        self.output_shape, self.output_dtype = self._target.shape, self._target.dtype
        self._ends = ends
        interpreter.allocate_tensors()

    def run(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Run once, as `Graph.run`."""
        self._interpreter.reset_all_variables()
        fed = {self._ends.input: self._source.inside(values)}
        return self._target.outside(np.array(self._runner(**fed)[self._ends.output]))


class _End:
    """The input or the output of a graph, as it is seen from outside.

    Whole numbers with a scale stand for q in (q - zero point) * scale, and are float32 outside.

    Args:
        details: of the tensor, as an interpreter gives them.
    """

    def __init__(self, details: Any) -> None:
        self.index: int = details["index"]
        self.shape = tuple(int(size) for size in details["shape"])
        self._inner = np.dtype(details["dtype"])
        self._scale, self._zero = details["quantization"]
        self._is_mapped = self._inner.kind in "iu" and self._scale > 0
        self.dtype: np.dtype[np.generic] = np.dtype(np.float32) if self._is_mapped else self._inner

    def inside(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values from outside as the graph takes them; what is out of its range is clipped."""
        if not self._is_mapped:
            return values
        whole, limits = np.rint(values / np.float32(self._scale)), np.iinfo(self._inner)
        clipped = np.clip(whole + self._zero, limits.min, limits.max)
        return np.asarray(clipped, self._inner)

    def outside(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values that the graph gave, as they are meant."""
        if not self._is_mapped:
            return values
        return np.asarray((values.astype(np.float32) - self._zero) * np.float32(self._scale))


def _chosen(inputs: dict[str, Any], outputs: dict[str, Any], ends: Ends) -> tuple[_End, _End]:
    if list(inputs) != [ends.input]:
        raise GraphError(f"its inputs are {list(inputs)}, not only {ends.input!r}")
    if ends.output not in outputs:
        raise GraphError(f"its outputs are {list(outputs)}: there is no {ends.output!r}")
    return _End(inputs[ends.input]), _End(outputs[ends.output])
