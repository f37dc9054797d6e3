"""TFLite runtimes: which is installed, and how a model is run in it.

Only the modules `litert` and `tflite` import a runtime, and each only when it is chosen.

Errors:
    RuntimeMissingError (a ConfigError): the chosen runtime, or any, is not installed.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError

# By the name that the setting `runtime` has: (module here, distribution, extra); the order of auto.
_RUNTIMES = {
    "litert": ("litert", "ai-edge-litert", "litert"),
    "tflite": ("tflite", "tflite-runtime", "tflite"),
}


class RuntimeMissingError(ConfigError):
    """Error raised when a TFLite runtime is not installed."""


@dataclasses.dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """A runtime: its distribution's name, such as "ai-edge-litert", and version."""

    name: str
    version: str


@dataclasses.dataclass(frozen=True, slots=True)
class Ends:
    """Where a graph is fed and read.

    Attributes:
        signature: name of the signature; "" where the graph has none.
        input: name of the input in the signature, or of the tensor without one.
        output: the same of the output.
    """

    signature: str
    input: str
    output: str


class Graph(Protocol):
    """A model in a runtime, its tensors allocated. Never used by two threads."""

    input_shape: tuple[int, ...]
    input_dtype: np.dtype[np.generic]
    output_shape: tuple[int, ...]
    output_dtype: np.dtype[np.generic]

    def run(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Reset every variable, then run once.

        Args:
            values: of `input_shape` and `input_dtype`.

        Returns:
            A copy of the output, of `output_shape`.

        Raises:
            Exception: of any kind; the graph must then be thrown away.
        """


class Runtime(Protocol):
    """A TFLite runtime."""

    info: RuntimeInfo

    def load(self, model: bytes, ends: Ends) -> Graph:
        """Load a model, one thread, and allocate its tensors.

        Raises:
            GraphError: there is no such signature, input or output.
            Exception: of any kind, whatever the runtime says of a model that it cannot load.
        """

    def lacks(self, code: int, version: int) -> str:
        """What the runtime says of a built-in operator that it does not have; "" if it has it."""


class GraphError(ValueError):
    """Error raised when a graph has no such signature, input or output."""


def installed_runtime(choice: str) -> RuntimeInfo:
    """The runtime that a setting means, found without importing it.

    Args:
        choice: "litert", "tflite", or "auto" for the first of these that is installed.

    Raises:
        RuntimeMissingError: it is not installed.
    """
    return _find(choice)[1]


def load_runtime(choice: str) -> Runtime:
    """Import the runtime that a setting means.

    Raises:
        RuntimeMissingError: it is not installed, or cannot be imported.
    """
    module_name, info = _find(choice)
    try:
        module = importlib.import_module(f".{module_name}", __name__)
    except ImportError as error:
        raise RuntimeMissingError(
            f"{info.name} {info.version} is installed but cannot be imported: {error}",
            runtime=info.name,
        ) from error
    return cast("Runtime", module.make(info))


def _find(choice: str) -> tuple[str, RuntimeInfo]:
    names = list(_RUNTIMES) if choice == "auto" else [choice]
    for module, distribution, _ in (_RUNTIMES[name] for name in names):
        try:
            return module, RuntimeInfo(distribution, importlib.metadata.version(distribution))
        except importlib.metadata.PackageNotFoundError:
            continue
    _, distribution, extra = _RUNTIMES[names[0]]
    missing = "no TFLite runtime is installed" if choice == "auto" else f"no {distribution} here"
    raise RuntimeMissingError(
        f"{missing}; install one with: pip install 'holter-device[{extra}]'", runtime=choice
    )
