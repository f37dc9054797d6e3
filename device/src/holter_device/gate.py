"""The gate: what a model must pass on this device before it may classify.

    digest   the bytes have the SHA-256 that was told
    load     in a new classifier process: the file is read, fits the device, and loads
    golden   its golden windows have the scores there that they had where it was made

The active model runs on meanwhile. Errors: ModelRefusedError, of the kind that says why.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .classifier import Classifier, StartClassifier
from .errors import DigestMismatchError
from .runtime.fit import DeviceFit


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


async def judge(
    steps: Steps, start: StartClassifier, model: bytes, sha256: str, fit: DeviceFit
) -> Classifier:
    """The steps that a new classifier takes: "load" and "golden".

    Returns:
        The classifier, with the model loaded and run; the caller closes it.

    Raises:
        ModelRefusedError: it does not pass; the classifier is closed.
        ClassifierUnavailableError: a classifier cannot be started.
    """
    begin = time.perf_counter_ns()
    classifier = await start()
    try:
        with steps.step("load") as facts:
            facts["start_ns"] = str(time.perf_counter_ns() - begin)
            loaded = await classifier.load(sha256, model, fit)
            facts["load_ns"] = str(loaded.elapsed_ns)
            facts["runtime"] = f"{classifier.runtime.name} {classifier.runtime.version}"
        with steps.step("golden") as facts:
            golden = await classifier.prove()
            facts["windows"] = str(golden.count)
            facts["max_abs_difference"] = f"{golden.max_abs_difference:.6g}"
            facts["tolerance"] = f"{loaded.spec.tolerance:g}"
    except BaseException:
        await classifier.close()
        raise
    return classifier


def digest(model: bytes) -> str:
    """SHA-256 of a model file, in lower-case hex: its name."""
    return hashlib.sha256(model).hexdigest()
