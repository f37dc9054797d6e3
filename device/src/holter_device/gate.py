"""The gate: what a model must pass on this device before it may classify.

    digest     the bytes have the SHA-256 that was told
    signature  a trusted key has signed it, where the device has some
    spec       in a new classifier process: the file is read and fits the device
    ops        the runtime has each operator that it uses
    load       it loads
    golden     its golden windows have the scores there that they had where it was made
    latency    p99 of these runs is within the hop
    memory     the process's peak is within model_memory_mib

The active model runs on meanwhile. Errors: ModelRefusedError, of the kind that says why.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from holter.signature import ModelSignature
from holter.spec import ModelSpec

from .classifier import Classifier, GoldenReport, StartClassifier
from .errors import DigestMismatchError, ModelMemoryError, ModelTooSlowError
from .runtime.fit import DeviceFit
from .signing import Trust


@dataclasses.dataclass(frozen=True, slots=True)
class GateStep:
    """A step that passed: its name, the time that it took in ns, and what was found."""

    name: str
    elapsed_ns: int
    facts: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class GateReport:
    """The steps that ran, in their order."""

    steps: tuple[GateStep, ...] = ()


class Steps:
    """Collects the steps of one deploy."""

    def __init__(self) -> None:
        self._steps: list[GateStep] = []

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, str]]:
        """Time a step; the block fills in its facts."""
        facts: dict[str, str] = {}
        begin = time.perf_counter_ns()
        yield facts
        self._steps.append(GateStep(name, time.perf_counter_ns() - begin, facts))

    def add(self, name: str, elapsed_ns: int, /, **facts: object) -> None:
        """A step that was timed elsewhere."""
        texts = {key: str(fact) for key, fact in facts.items()}
        self._steps.append(GateStep(name, elapsed_ns, texts))

    def report(self) -> GateReport:
        """What has passed so far."""
        return GateReport(tuple(self._steps))


async def check_digest(steps: Steps, model: bytes, sha256: str) -> None:
    """The step "digest".

    Raises:
        DigestMismatchError: the bytes have another digest.
    """
    with steps.step("digest") as facts:
        actual = await asyncio.to_thread(digest, model)
        if actual != sha256:
            raise DigestMismatchError(
                f"the model's bytes have the SHA-256 {actual}, not {sha256} as was said: the file "
                "was damaged on its way; send it again",
                sha256=sha256,
                actual_sha256=actual,
            )
        facts["size_bytes"] = str(len(model))


def check_signature(
    steps: Steps, trust: Trust, sha256: str, signature: ModelSignature | None
) -> None:
    """The step "signature", where the device trusts some keys.

    Raises:
        ModelUnsignedError, SignatureInvalidError, SignerUntrustedError: as `Trust.check`.
    """
    if trust:
        with steps.step("signature") as facts:
            trust.check(sha256, signature)
            assert signature is not None
            facts["signer"] = signature.signer


async def judge(
    steps: Steps,
    start: StartClassifier,
    model: bytes,
    sha256: str,
    fit: DeviceFit,
    admit: Callable[[ModelSpec], None] = lambda _: None,
) -> Classifier:
    """The steps that a new classifier takes, from "spec" to "memory".

    Args:
        steps: gets them.
        start: starts a classifier without a model.
        model: the whole file.
        sha256: its digest.
        fit: what a model must fit.
        admit: raises a ModelRefusedError where what the model says of itself is not wanted.

    Returns:
        The classifier, with the model loaded and run; the caller closes it.

    Raises:
        ModelRefusedError: it does not pass; the classifier is closed.
        ClassifierUnavailableError: a classifier cannot be started.
    """
    begin = time.perf_counter_ns()
    classifier = await start()
    started = time.perf_counter_ns()
    try:
        loaded = await classifier.load(sha256, model, fit)
        sent = time.perf_counter_ns()
        took, spec = loaded.elapsed_ns, loaded.spec
        admit(spec)
        runtime = f"{classifier.runtime.name} {classifier.runtime.version}"
        steps.add("spec", took["spec"], name=spec.name, window=spec.window, hop=spec.hop)
        steps.add("ops", took["ops"], ops=loaded.op_count, runtime=runtime)
        # The process and the way of the bytes into it are what "load" costs beside the runtime.
        elapsed_ns = sent - begin - took["spec"] - took["ops"]
        steps.add("load", elapsed_ns, start_ns=started - begin, load_ns=took["load"])
        golden = await classifier.prove()
        if golden.p99_ns > fit.hop_seconds(spec) * 1e9:
            golden = await classifier.prove()  # a machine may be busy for a moment
        difference = f"{golden.max_abs_difference:.6g}"
        tolerance = f"{spec.tolerance:g}"
        steps.add(
            "golden",
            golden.elapsed_ns,
            windows=golden.count,
            max_abs_difference=difference,
            tolerance=tolerance,
        )
        _check_latency(steps, golden, fit.hop_seconds(spec))
        check_memory(steps, golden, fit.memory_bytes)
    except BaseException:
        await classifier.close()
        raise
    return classifier


def _check_latency(steps: Steps, golden: GoldenReport, hop_seconds: float) -> None:
    limited = math.isfinite(hop_seconds)
    hop_ns = round(hop_seconds * 1e9) if limited else 0
    if limited and golden.p99_ns > hop_ns:
        raise ModelTooSlowError(
            f"the model takes {golden.p99_ns / 1e6:.1f} ms for a window on this device (p99 of "
            f"{golden.run_count}) and a window comes every {hop_ns / 1e6:.1f} ms; convert it with "
            "a longer --hop, or a smaller one",
            p99_ns=golden.p99_ns,
            hop_ns=hop_ns,
        )
    limit = {"hop_ns": hop_ns} if limited else {"hop": "waits for the model"}
    steps.add("latency", golden.timed_ns, p99_ns=golden.p99_ns, runs=golden.run_count, **limit)


def check_memory(steps: Steps, golden: GoldenReport, limit: int) -> None:
    """The step "memory".

    Raises:
        ModelMemoryError: the model needed more than `limit` bytes; 0 is no limit.
    """
    peak = golden.peak_memory_bytes
    if limit and peak > limit:
        raise ModelMemoryError(
            f"the model needs {peak / 2**20:.1f} MiB on this device and model_memory_mib allows "
            f"{limit / 2**20:g}; convert a smaller one, or raise model_memory_mib",
            limit_bytes=limit,
            peak_bytes=peak,
        )
    steps.add("memory", 0, peak_bytes=peak, **({"limit_bytes": limit} if limit else {}))


def digest(model: bytes) -> str:
    """SHA-256 of a model file, in lower-case hex: its name."""
    return hashlib.sha256(model).hexdigest()
