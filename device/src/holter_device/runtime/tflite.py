"""tflite-runtime: the only module that imports tflite_runtime."""

from __future__ import annotations

from tflite_runtime.interpreter import Interpreter

from . import Runtime, RuntimeInfo
from .interpreter import InterpreterRuntime


def make(info: RuntimeInfo) -> Runtime:
    """The runtime."""
    return InterpreterRuntime(info, Interpreter)
