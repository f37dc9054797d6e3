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
        source, target = _details(inputs, outputs, ends)
        self._input, self._output = source["index"], target["index"]
        self.input_shape, self.input_dtype = _form(source)
        self.output_shape, self.output_dtype = _form(target)

    def run(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Run once, as `Graph.run`."""
        interpreter = self._interpreter
        interpreter.reset_all_variables()
        interpreter.set_tensor(self._input, values)
        interpreter.invoke()
        output: npt.NDArray[np.generic] = interpreter.get_tensor(self._output)
        return output


class _SignatureGraph:
    """One of several signatures, whose subgraph may not be the first."""

    def __init__(self, interpreter: Any, ends: Ends) -> None:
        self._interpreter = interpreter
        if not ends.signature:
            raise GraphError("it has several signatures and the spec names none")
        self._runner = interpreter.get_signature_runner(ends.signature)
        details = self._runner.get_input_details(), self._runner.get_output_details()
        source, target = _details(*details, ends)
        self.input_shape, self.input_dtype = _form(source)
        self.output_shape, self.output_dtype = _form(target)
        self._ends = ends
        interpreter.allocate_tensors()

    def run(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Run once, as `Graph.run`."""
        self._interpreter.reset_all_variables()
        return np.array(self._runner(**{self._ends.input: values})[self._ends.output])


def _details(inputs: dict[str, Any], outputs: dict[str, Any], ends: Ends) -> tuple[Any, Any]:
    if list(inputs) != [ends.input]:
        raise GraphError(f"its inputs are {list(inputs)}, not only {ends.input!r}")
    if ends.output not in outputs:
        raise GraphError(f"its outputs are {list(outputs)}: there is no {ends.output!r}")
    return inputs[ends.input], outputs[ends.output]


def _form(details: Any) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    return tuple(int(size) for size in details["shape"]), np.dtype(details["dtype"])
