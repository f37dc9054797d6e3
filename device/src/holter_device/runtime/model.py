"""A model on a device: its file read, fitted and loaded, its windows run."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import GoldenMismatchError, ModelMemoryError
from . import Ends, Graph, GraphError, Runtime
from .fit import DeviceFit, UnitMap
from .model_file import malformed, read_model_file
from .ops import audit, flex_op, read_ops

# Golden windows are run again until there are this many times, or this time has gone.
TIMED_RUNS = 100
TIMED_NS = 500_000_000

# What the runtimes say, in lower case, of memory that they do not get.
_NO_MEMORY = ("failed to allocate", "out of memory", "failed to create xnnpack runtime")


class ModelRunError(RuntimeError):
    """Error raised when a model fails on a window."""


class NotFiniteError(ModelRunError):
    """Error raised when a model gives scores that are not finite."""


class Model:
    """A loaded model. Never used by two threads.

    Args:
        runtime: what runs it.
        model: the whole file.
        fit: what it must fit.

    Raises:
        ModelMalformedError: the file is no Holter model, or its spec is not that of its graph.
        ModelUnfitError: it does not fit the device.
        OpUnsupportedError: it uses an operator that the runtime lacks.
        ModelMemoryError: it needs too much memory.

    Attributes:
        spec: what it says of itself.
        op_count: operators that it lists.
        elapsed_ns: time that the steps "spec", "ops" and "load" took.
    """

    def __init__(self, runtime: Runtime, model: bytes, fit: DeviceFit) -> None:
        self._runtime = runtime
        self._bytes = model
        begin = time.perf_counter_ns()
        try:
            file = read_model_file(model)
            channels = fit.select(file.spec)
            self.spec = file.spec
            spec_read = time.perf_counter_ns()
            if file.spec.ops == "select_tf":
                raise flex_op("so its spec says", f"{runtime.info.name} {runtime.info.version}")
            ops = read_ops(model)
            audit(runtime, ops)
            audited = time.perf_counter_ns()
            self._golden = file.windows, file.scores
            self._shape = file.spec.input_shape
            self._first = file.spec.layout == "channels_first"
            self._graph = self._load()
            loaded = time.perf_counter_ns()
        except MemoryError as error:
            raise _no_memory() from error
        self._to_unit = UnitMap(file.spec.unit, channels, fit.sample_format)
        self._took: list[int] = []
        self.op_count = len(ops)
        self.elapsed_ns = {
            "spec": spec_read - begin,
            "ops": audited - spec_read,
            "load": loaded - audited,
        }

    def prove(self) -> tuple[int, float]:
        """Run the golden windows.

        Returns:
            (their count, the greatest absolute difference from the golden scores).

        Raises:
            GoldenMismatchError: a score is not finite or differs by more than the tolerance.
            ModelMalformedError: the model fails on one.
        """
        worst, self._took = 0.0, []
        for index, expected in enumerate(self._golden[1]):
            difference = float(np.max(np.abs(self._run_golden(index) - expected)))
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
        return len(self._took), worst

    def time_windows(self) -> list[int]:
        """The ns of every golden run: those of `prove`, and more of them to tell a percentile.

        Raises:
            ModelMalformedError: the model fails on one.
        """
        windows = self._golden[0]
        end = time.perf_counter_ns() + TIMED_NS
        while len(self._took) < TIMED_RUNS and time.perf_counter_ns() < end:
            self._run_golden(len(self._took) % len(windows))
        return self._took

    def _run_golden(self, index: int) -> npt.NDArray[np.float32]:
        begin = time.perf_counter_ns()
        try:
            scores = self._run(self._golden[0][index])
        except ModelRunError as error:
            raise malformed(f"on golden window {index} {error}") from error
        self._took.append(time.perf_counter_ns() - begin)
        return scores

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
            raise NotFiniteError("the model gave scores that are not finite")
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
            # Where the arena of all tensors gets no memory LiteRT says nothing at all.
            if not text or any(words in text for words in _NO_MEMORY):
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


def peak_memory_bytes() -> int:
    """The most memory that this process has had resident, of /proc/self/status.

    Not getrusage's ru_maxrss: that begins with what the parent had when it started this process.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _no_memory() -> ModelMemoryError:
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return ModelMemoryError(
        f"the model needs more memory than the {limit // 2**20} MiB that model_memory_mib allows "
        "on this device; convert a smaller one, or raise model_memory_mib",
        limit_bytes=limit,
    )


def _first_sentence(error: Exception) -> str:
    """The runtimes go on with advice that is not for a device."""
    text = str(error).strip().splitlines()[:1] or [type(error).__name__]
    return text[0].split(". ")[0].rstrip(".")[:300]
