"""What the classifier process answers; the frames are those of children.classifier."""

from __future__ import annotations

import json
import time
from typing import Any

from ..children.classifier import INFERENCE_NS, Kind
from ..errors import ConfigError, DeviceError
from . import Runtime, load_runtime
from .fit import DeviceFit
from .model import Model, ModelRunError, NotFiniteError, peak_memory_bytes


def hello(choice: str) -> tuple[Kind, bytes, Runtime | None]:
    """Import the runtime that a setting means; the first frame says which, or why none."""
    try:
        runtime = load_runtime(choice)
    except ConfigError as error:
        return Kind.REFUSED, _refusal(error), None
    info = runtime.info
    return Kind.HELLO, _json(name=info.name, version=info.version), runtime


class Server:
    """Answers the frames of one parent, one at a time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._fit = b""
        self._model: Model | None = None

    def answer(self, kind: int, payload: bytes) -> tuple[Kind, bytes] | None:
        """The answer to a frame; None where it has none."""
        if kind == Kind.COUNTS or kind == Kind.VALUES:
            return self._classify(kind, payload)
        if kind == Kind.FIT:
            self._fit = payload
            return None
        try:
            return self._load(payload) if kind == Kind.LOAD else self._prove()
        except Exception as error:  # whatever a hostile file brings about is a refusal
            return Kind.REFUSED, _refusal(error)

    def _classify(self, kind: int, payload: bytes) -> tuple[Kind, bytes]:
        model = self._loaded()
        classify = model.classify_counts if kind == Kind.COUNTS else model.classify_values
        try:
            inference_ns, scores = classify(payload)
        except NotFiniteError as error:
            return Kind.NOT_FINITE, str(error).encode()
        except ModelRunError as error:
            return Kind.FAILED, str(error).encode()
        return Kind.RESULT, INFERENCE_NS.pack(inference_ns) + scores.tobytes()

    def _load(self, payload: bytes) -> tuple[Kind, bytes]:
        model = self._model = Model(self._runtime, payload, DeviceFit.from_json(self._fit))
        return Kind.LOADED, _json(
            spec=model.spec.to_json(), op_count=model.op_count, elapsed_ns=model.elapsed_ns
        )

    def _prove(self) -> tuple[Kind, bytes]:
        model, begin = self._loaded(), time.perf_counter_ns()
        count, difference = model.prove()
        proved = time.perf_counter_ns()
        took = sorted(model.time_windows())
        return Kind.PROVED, _json(
            count=count,
            max_abs_difference=difference,
            elapsed_ns=proved - begin,
            timed_ns=time.perf_counter_ns() - proved,
            run_count=len(took),
            p99_ns=took[-(-99 * len(took) // 100) - 1],
            peak_memory_bytes=peak_memory_bytes(),
        )

    def _loaded(self) -> Model:
        assert self._model is not None, "the parent loads a model before it uses it"
        return self._model


def _refusal(error: Exception) -> bytes:
    if isinstance(error, DeviceError):
        return _json(error=type(error).__name__, message=str(error), facts=error.facts)
    detail = f"{type(error).__name__}: {error}"
    message = f"the model cannot be read or run: {detail}"
    return _json(error="ModelMalformedError", message=message, facts={"detail": detail})


def _json(**values: Any) -> bytes:
    return json.dumps(values).encode()
