"""Runs a .tflite as a device would: by names, one thread, variables reset before every window.

Imports ai-edge-litert, so only child processes import this module.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from holter_host.conversion.failures import runtime_failure
from holter_host.conversion.options import DEFAULT_SIGNATURE, ConversionOptions
from holter_host.conversion.resolve import Ends, InputPlan, Shape, choose, one_input
from holter_host.conversion.values import as_scores
from holter_host.errors import BadInputError, ConversionError

_OWNER: Final = "The .tflite"


def runtime_version() -> str:
    """Name and version of the runtime that this module uses."""
    return f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"


class TfliteModel:
    """One .tflite, loaded, its input and output chosen.

    Args:
        data: the flatbuffer.
        options: `signature`, `input` and `output` choose; each may be left out where there is one.

    Attributes:
        ends: the names that were chosen.
        input_shape: whole shape of the input, None for a free axis.
        is_quantised: whether any of its values or weights are.

    Raises:
        ConversionError: the runtime refuses the model.
        BadInputError: no signature, input or output can be chosen, or the input is not float32.
    """

    def __init__(self, data: bytes, options: ConversionOptions) -> None:
        try:
            self._interpreter = Interpreter(model_content=data, num_threads=1)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError, MemoryError, SystemError) as error:
            raise runtime_failure(error, "load") from error
        signature = self._signature(options.signature)
        self._runner = self._interpreter.get_signature_runner(signature) if signature else None
        inputs, outputs = self._named_tensors()
        one_input(inputs)
        input_name = choose("input", inputs, options.input, _OWNER)
        output_name = choose("output", outputs, options.output, _OWNER)
        self.ends = Ends(input=input_name, output=output_name, signature=signature)
        self._input, self._output = inputs[input_name], outputs[output_name]
        if self._input["dtype"] != np.float32 and not _is_mapped(self._input):
            raise BadInputError(
                f"The input {input_name} takes {np.dtype(self._input['dtype'])} without a scale; "
                "convert the model with a float32 input, or a quantised one."
            )
        declared = self._input["shape_signature"]
        tensors = self._interpreter.get_tensor_details()
        self.is_quantised = any(t["quantization_parameters"]["scales"].size for t in tensors)
        self.input_shape: Shape = tuple(None if n < 0 else int(n) for n in declared)

    def scores(self, windows: npt.NDArray[np.float32], plan: InputPlan) -> npt.NDArray[np.float32]:
        """Scores of windows, each run twice.

        Raises:
            ConversionError: as `run`, or the same window gives other scores the second time.
            BadInputError: as `run`.
        """
        first, again = self.run(windows, plan), self.run(windows, plan)
        if not np.allclose(first, again, rtol=1e-6, atol=1e-6, equal_nan=True):
            raise ConversionError(
                "The model gives other scores when it is given the same window again: it keeps "
                "state from window to window or draws random numbers; export it without."
            )
        return first

    def run(self, windows: npt.NDArray[np.float32], plan: InputPlan) -> npt.NDArray[np.float32]:
        """Scores of windows.

        Args:
            windows: float32, shape (count, window, channel_count), in the model's unit; at least
                one.
            plan: how a window goes in.

        Returns:
            float32, shape (count, label_count).

        Raises:
            ConversionError: the runtime fails while it runs.
            BadInputError: the input has another shape, or the output is not one row of scores.
        """
        loaded = tuple(int(n) for n in self._input["shape"])
        if loaded != plan.shape:
            raise BadInputError(
                f"The .tflite takes {list(loaded)}, not {list(plan.shape)}; an axis that is free "
                "became 1: convert it with fixed shapes."
            )
        return np.stack([as_scores(self._run(plan.feed(window))) for window in windows])

    def _run(self, value: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        try:
            self._interpreter.reset_all_variables()
            fed = _inside(value, self._input)
            if self._runner is not None:
                output = self._runner(**{self.ends.input: fed})[self.ends.output]
            else:
                self._interpreter.set_tensor(self._input["index"], fed)
                self._interpreter.invoke()
                output = self._interpreter.get_tensor(self._output["index"])
            return _outside(np.array(output), self._output)
        except (RuntimeError, ValueError, MemoryError, SystemError) as error:
            raise runtime_failure(error, "run") from error

    def _signature(self, wanted: str | None) -> str:
        """The signature's name; "" where the model has none and none is wanted."""
        names = list(self._interpreter.get_signature_list())
        if not names and not wanted:
            return ""
        return choose("signature", names, wanted, _OWNER, DEFAULT_SIGNATURE)

    def _named_tensors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Details of inputs and of outputs, by name."""
        if self._runner is not None:
            return dict(self._runner.get_input_details()), dict(self._runner.get_output_details())
        inputs = {details["name"]: details for details in self._interpreter.get_input_details()}
        return inputs, {d["name"]: d for d in self._interpreter.get_output_details()}


def _is_mapped(details: Any) -> bool:
    """Whether whole numbers q stand for (q - zero point) * scale in a tensor, as on a device."""
    return np.dtype(details["dtype"]).kind in "iu" and details["quantization"][0] > 0


def _inside(value: npt.NDArray[np.float32], details: Any) -> npt.NDArray[Any]:
    if not _is_mapped(details):
        return value
    scale, zero = details["quantization"]
    limits = np.iinfo(details["dtype"])
    whole = np.rint(value / np.float32(scale)) + zero
    return np.asarray(np.clip(whole, limits.min, limits.max), details["dtype"])


def _outside(value: npt.NDArray[Any], details: Any) -> npt.NDArray[Any]:
    if not _is_mapped(details):
        return value
    scale, zero = details["quantization"]
    return np.asarray((value.astype(np.float32) - zero) * np.float32(scale))
