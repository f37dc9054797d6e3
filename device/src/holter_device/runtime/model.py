"""A model on a device: its file read, fitted and loaded, its windows run."""

from __future__ import annotations

import resource
import time

import numpy as np
import numpy.typing as npt

from ..errors import GoldenMismatchError, ModelUnfitError, OpUnsupportedError
from . import Ends, Graph, GraphError, Runtime
from .fit import DeviceFit, UnitMap
from .model_file import malformed, read_model_file

# What the runtimes say, in lower case, of operators that they lack.
_UNSUPPORTED = (
    "didn't find op for builtin opcode",
    "op builtin_code out of range",
    "unresolved custom op",
    "select tensorflow op(s)",
    "unsupported custom op",
)

# And of memory that they do not get.
_NO_MEMORY = ("failed to allocate", "out of memory", "failed to create xnnpack runtime")


class ModelRunError(RuntimeError):
    """Error raised when a model fails on a window, or gives scores that are not finite."""


class Model:
    """A loaded model. Never used by two threads.

    Args:
        runtime: what runs it.
        model: the whole file.
        fit: what it must fit.

    Raises:
        ModelMalformedError: the file is no Holter model, or its spec is not that of its graph.
        ModelUnfitError: it does not fit the device, or needs too much memory.
        OpUnsupportedError: it uses an operator that the runtime lacks.
    """

    def __init__(self, runtime: Runtime, model: bytes, fit: DeviceFit) -> None:
        self._runtime = runtime
        self._bytes = model
        try:
            file = read_model_file(model)
            channels = fit.select(file.spec)
            self.spec = file.spec
            if file.spec.ops == "select_tf":
                raise self._unsupported("its spec says that some are TensorFlow's own")
            self._golden = file.windows, file.scores
            self._shape = file.spec.input_shape
            self._first = file.spec.layout == "channels_first"
            self._graph = self._load()
        except MemoryError as error:
            raise _no_memory() from error
        self._to_unit = UnitMap(file.spec.unit, channels, fit.sample_format)

    def prove(self) -> tuple[int, float]:
        """Run the golden windows.

        Returns:
            (their count, the greatest absolute difference from the golden scores).

        Raises:
            GoldenMismatchError: a score is not finite or differs by more than the tolerance.
            ModelMalformedError: the model fails on one.
        """
        worst = 0.0
        windows, scores = self._golden
        for index, (window, expected) in enumerate(zip(windows, scores, strict=True)):
            try:
                actual = self._run(window)
            except ModelRunError as error:
                raise malformed(f"on golden window {index} {error}") from error
            difference = float(np.max(np.abs(actual - expected)))
            if not difference <= self.spec.tolerance:
                off = (
                    f"differ by {difference:.3g} from those where it was made; at most "
                    f"{self.spec.tolerance:g} is accepted"
                    if np.isfinite(difference)
                    else "are not all numbers, as they were where it was made"
                )
                raise GoldenMismatchError(
                    f"on golden window {index} the model's scores here {off}: the file may be "
                    "damaged; convert it again, or for another runtime",
                    window=index,
                    max_abs_difference=f"{difference:.6g}",
                    tolerance=f"{self.spec.tolerance:g}",
                )
            worst = max(worst, difference)
        return len(windows), worst

    def classify_counts(self, counts: bytes | memoryview) -> tuple[int, npt.NDArray[np.float32]]:
        """Scores of a window of raw counts, as (time in ns, float32 (labels,)).

        Raises:
            ModelRunError: the model fails; it has been loaded anew and may be used again.
        """
        begin = time.perf_counter_ns()
        scores = self._finite(self._to_unit(counts))
        return time.perf_counter_ns() - begin, scores

    def classify_values(self, values: bytes | memoryview) -> tuple[int, npt.NDArray[np.float32]]:
        """The same of float32 values, little-endian, in the model's unit."""
        window = np.frombuffer(values, "<f4").reshape(self.spec.window, self.spec.channel_count)
        begin = time.perf_counter_ns()
        scores = self._finite(window)
        return time.perf_counter_ns() - begin, scores

    def _finite(self, window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        scores = self._run(window)
        if not np.isfinite(scores).all():
            raise ModelRunError("the model gave scores that are not finite")
        return scores

    def _run(self, window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        values = np.ascontiguousarray(window.T) if self._first else window
        try:
            output = self._graph.run(values.reshape(self._shape))
        except Exception as error:  # the runtimes raise several kinds, none documented
            # An interpreter that has failed once must not be used again.
            self._graph = self._load()
            raise ModelRunError(
                f"the model failed on a window: {_first_sentence(error)}"
            ) from error
        return output.reshape(-1).astype(np.float32, copy=False)

    def _load(self) -> Graph:
        spec = self.spec
        try:
            graph = self._runtime.load(self._bytes, Ends(spec.signature, spec.input, spec.output))
        except MemoryError:
            raise
        except GraphError as error:
            raise malformed(f"its spec is not that of its graph: {error}") from error
        except Exception as error:
            text = str(error).lower()
            if any(words in text for words in _UNSUPPORTED):
                raise self._unsupported(_first_sentence(error)) from error
            if any(words in text for words in _NO_MEMORY):
                raise _no_memory() from error
            raise malformed(f"the runtime does not load it: {_first_sentence(error)}") from error
        self._check(graph)
        return graph

    def _check(self, graph: Graph) -> None:
        """Hold the graph against the spec."""
        found = f"{graph.input_dtype} {graph.input_shape}"
        if graph.input_shape != self._shape or graph.input_dtype != np.float32:
            raise malformed(
                f"its spec says that the input is float32 {self._shape}, and it is {found}",
                key="input_shape",
            )
        labels = len(self.spec.labels)
        if graph.output_dtype.kind != "f" or int(np.prod(graph.output_shape)) != labels:
            raise malformed(
                f"its spec names {labels} labels, and its output is {graph.output_dtype} "
                f"{graph.output_shape}",
                key="labels",
            )

    def _unsupported(self, detail: str) -> OpUnsupportedError:
        info = self._runtime.info
        return OpUnsupportedError(
            f"the model uses an operator that {info.name} {info.version} does not have: {detail}. "
            "Convert it with built-in operators only, or install a newer runtime",
            detail=detail,
            runtime=f"{info.name} {info.version}",
        )


def _no_memory() -> ModelUnfitError:
    limit_mib = resource.getrlimit(resource.RLIMIT_DATA)[0] // 2**20
    return ModelUnfitError(
        f"the model needs more memory than the {limit_mib} MiB that model_memory_mib allows on "
        "this device; convert a smaller one, or raise model_memory_mib",
        key="model_memory_mib",
        model=f"over {limit_mib}",
        device=limit_mib,
    )


def _first_sentence(error: Exception) -> str:
    """The runtimes go on with advice that is not for a device."""
    text = str(error).strip().splitlines()[:1] or [type(error).__name__]
    return text[0].split(". ")[0].rstrip(".")[:300]
