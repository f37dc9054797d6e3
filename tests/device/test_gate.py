"""Laws of the gate: its order, what each step tells, and that a refused model leaves nothing."""

import dataclasses

import numpy as np
import pytest

from holter_device.classifier import ClassifierSettings, ProcessClassifier
from holter_device.errors import (
    DeviceError,
    DigestMismatchError,
    GoldenMismatchError,
    ModelMalformedError,
    ModelMemoryError,
    ModelTooSlowError,
)
from holter_device.gate import Steps, check_digest, digest, judge
from holter_device.runtime.fit import DeviceFit
from holter_device.samples import Channel, SampleFormat
from support import tflite_models as models

pytestmark = pytest.mark.litert

FIT = DeviceFit(360.0, (Channel("A0"),), SampleFormat.U8, 43200)


class Starter:
    """Starts classifiers and remembers them."""

    def __init__(self) -> None:
        self.started: list[ProcessClassifier] = []

    async def __call__(self) -> ProcessClassifier:
        """Start one."""
        classifier = await ProcessClassifier.start(ClassifierSettings())
        self.started.append(classifier)
        return classifier


async def test_a_good_model_passes_every_step() -> None:
    """The steps run in their order; each tells its time and its facts."""
    model, steps = models.averaging_model(), Steps()
    await check_digest(steps, model, digest(model))
    classifier = await judge(steps, Starter(), model, digest(model), FIT)
    try:
        scores = await classifier.classify_counts(bytes(models.WINDOW), 60.0)
        assert scores.scores == (0.0, 0.0, 0.0)
    finally:
        await classifier.close()
    report = steps.report()
    assert [step.name for step in report.steps] == [
        *("digest", "spec", "ops", "load", "golden", "latency", "memory")
    ]
    assert all(step.elapsed_ns > 0 for step in report.steps if step.name != "memory")
    facts = {step.name: step.facts for step in report.steps}
    assert facts["digest"] == {"size_bytes": str(len(model))}
    runtime = classifier.runtime
    assert facts["spec"] == {"name": "averages", "window": "40", "hop": "40"}
    assert facts["ops"] == {"ops": "1", "runtime": f"{runtime.name} {runtime.version}"}
    assert 0 < int(facts["load"]["load_ns"]) < report.steps[3].elapsed_ns
    assert facts["golden"]["windows"] == "8"
    assert facts["golden"]["tolerance"] == "0.001"
    assert 0 <= float(facts["golden"]["max_abs_difference"]) <= 0.001
    assert facts["latency"]["runs"] == "100"
    assert 0 < int(facts["latency"]["p99_ns"]) <= int(facts["latency"]["hop_ns"]) == 111111111
    assert 10 * 2**20 < int(facts["memory"]["peak_bytes"]) < 200 * 2**20


async def test_another_digest() -> None:
    """Bytes with another digest are refused with both, before a process is started."""
    model, steps = models.averaging_model(), Steps()
    with pytest.raises(DigestMismatchError) as caught:
        await check_digest(steps, model, "0" * 64)
    assert caught.value.facts == {"sha256": "0" * 64, "actual_sha256": digest(model)}
    assert steps.report().steps == ()


@pytest.mark.parametrize(
    ("bias", "keep", "error", "passed"),
    [
        (0.5, None, GoldenMismatchError, ["spec", "ops", "load"]),
        (0.0, 500, ModelMalformedError, []),
    ],
    ids=["golden", "load"],
)
async def test_a_refused_model_leaves_no_process(
    bias: float, keep: int | None, error: type[Exception], passed: list[str]
) -> None:
    """The classifier of a refused model is ended; the steps before the refusal are told."""
    spec = models.make_spec()
    windows = models.make_windows(spec)
    scores = windows.reshape(8, -1) @ models.averaging_weights().T + np.float32(bias)
    tflite = models.linear(models.averaging_weights(), np.zeros(3, "f4"))
    model = models.holter_model(tflite, spec, windows, scores)[:keep]
    start, steps = Starter(), Steps()
    with pytest.raises(error):
        await judge(steps, start, model, digest(model), FIT)
    assert [step.name for step in steps.report().steps] == passed
    assert [classifier.ended for classifier in start.started] == [True]


@pytest.mark.parametrize(
    ("changes", "error", "passed", "facts"),
    [
        # A window every 111 ms at real time, faster than any model at a speed of 10 million.
        ({"speed": 1e7}, ModelTooSlowError, "golden", {"hop_ns": "11"}),
        ({"memory_bytes": 2**20}, ModelMemoryError, "latency", {"limit_bytes": str(2**20)}),
    ],
    ids=["latency", "memory"],
)
async def test_a_model_over_a_budget(
    changes: dict[str, float], error: type[DeviceError], passed: str, facts: dict[str, str]
) -> None:
    """A model that is too slow or too large here is refused with what it took and what it may."""
    model, start, steps = models.averaging_model(), Starter(), Steps()
    fit = dataclasses.replace(FIT, **changes)  # type: ignore[arg-type]
    with pytest.raises(error) as caught:
        await judge(steps, start, model, digest(model), fit)
    assert steps.report().steps[-1].name == passed
    assert caught.value.facts.items() >= facts.items()
    taken, allowed = caught.value.facts.keys() - facts.keys(), next(iter(facts.values()))
    assert int(caught.value.facts[taken.pop()]) > int(allowed)
    assert [classifier.ended for classifier in start.started] == [True]


async def test_frames_that_wait_leave_all_the_time() -> None:
    """Where the source waits for its reader no model is too slow, and the report says so."""
    model, steps = models.averaging_model(), Steps()
    fit = dataclasses.replace(FIT, speed=0.0)
    classifier = await judge(steps, Starter(), model, digest(model), fit)
    await classifier.close()
    facts = {step.name: step.facts for step in steps.report().steps}
    assert facts["latency"]["hop"] == "waits for the model"
