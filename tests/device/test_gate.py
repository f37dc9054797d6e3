"""Laws of the gate: its order, what each step tells, and that a refused model leaves nothing."""

import numpy as np
import pytest

from holter_device.classifier import ClassifierSettings, ProcessClassifier
from holter_device.errors import DigestMismatchError, GoldenMismatchError, ModelMalformedError
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
    assert [step.name for step in report.steps] == ["digest", "load", "golden"]
    assert all(step.elapsed_ns > 0 for step in report.steps)
    facts = {step.name: step.facts for step in report.steps}
    assert facts["digest"] == {"size_bytes": str(len(model))}
    runtime = classifier.runtime
    assert facts["load"]["runtime"] == f"{runtime.name} {runtime.version}"
    assert facts["golden"]["windows"] == "8"
    assert facts["golden"]["tolerance"] == "0.001"
    assert 0 <= float(facts["golden"]["max_abs_difference"]) <= 0.001


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
        (0.5, None, GoldenMismatchError, ["load"]),
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
