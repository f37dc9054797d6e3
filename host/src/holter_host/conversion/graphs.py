"""What TensorFlow's GraphDefs are made of.

No TensorFlow is imported here, but only the conversion child has any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any


def all_nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a GraphDef and of all functions in it."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def name_by_content(graph: Any) -> None:
    """Name each function of a GraphDef by its content, in place.

    TensorFlow keeps every function that it ever saw, and refuses one whose name it knows and whose
    content differs: that is what freezing, inlining and other rewriting make.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    names: dict[str, str] = {}

    def renamed(name: str) -> str:
        if name in functions and name not in names:
            function = functions[name]
            _rename_calls(function.node_def, renamed)
            function.signature.name = ""
            content = function.SerializeToString(deterministic=True)
            names[name] = f"function_{hashlib.sha256(content).hexdigest()[:16]}"
            function.signature.name = names[name]
        return names.get(name, name)

    for name in functions:
        renamed(name)
    _rename_calls(graph.node, renamed)
    kept = {function.signature.name: function for function in graph.library.function}
    graph.library.ClearField("gradient")
    graph.library.ClearField("function")
    graph.library.function.extend(kept.values())


def name_captures(graph: Any) -> None:
    """Number the nodes of a GraphDef that TensorFlow named by a count of its own, in place.

    A tensor that a function captures is called 585, or 3205 where the process has done more before;
    the same model would have another name each time.
    """
    counted = (node for node in graph.node if node.op == "Const" and node.name.isdigit())
    names = {node.name: f"captured_{index}" for index, node in enumerate(counted)}
    for node in graph.node:
        node.name = names.get(node.name, node.name)
        parts = [text.partition(":") for text in node.input]
        node.input[:] = [names.get(name, name) + colon + output for name, colon, output in parts]


def _rename_calls(nodes: Any, renamed: Any) -> None:
    for node in nodes:
        for attribute in node.attr.values():
            if attribute.HasField("func"):
                attribute.func.name = renamed(attribute.func.name)
            for function in attribute.list.func:
                function.name = renamed(function.name)
