"""LiteRT: the only module that imports ai_edge_litert."""

from __future__ import annotations

from ai_edge_litert.interpreter import Interpreter

from . import Runtime, RuntimeInfo
from .interpreter import InterpreterRuntime


def make(info: RuntimeInfo) -> Runtime:
    """The runtime."""
    return InterpreterRuntime(info, Interpreter)
