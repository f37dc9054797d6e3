"""Laws of every Classifier, and what only one in a process of its own must stand."""

import asyncio
import dataclasses
import functools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holter_device.classifier import (
    Classifier,
    ClassifierFailedError,
    ClassifierSettings,
    ProcessClassifier,
)
from holter_device.errors import (
    ClassifierUnavailableError,
    DeviceError,
    GoldenMismatchError,
    ModelCrashedError,
    ModelMalformedError,
    ModelMemoryError,
    ModelTimeoutError,
    ModelUnfitError,
    OpUnsupportedError,
    WindowSizeMismatchError,
)
from holter_device.gate import digest
from holter_device.runtime.fit import DeviceFit
from holter_device.samples import Channel, SampleFormat
from holter_device.simulation.classifier import ClassifierPool, SharedClassifier
from support import tflite_models as models

pytestmark = pytest.mark.litert

FIT = DeviceFit(360.0, (Channel("A0"),), SampleFormat.U8, 43200)
LIMIT_SECONDS = 60.0
COUNTS = np.arange(models.WINDOW, dtype="u1")
SCORES = pytest.approx([19.5, 39.0, 58.5])

Start = Callable[..., Awaitable[Classifier]]
StartProcess = Callable[..., Awaitable[ProcessClassifier]]


# The child of another environment: its python takes the place of the one that it is given.
_TFLITE_PYTHON = Path(__file__).parents[2] / ".venv-tflite" / "bin" / "python"
_EXEC = "import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"


@pytest.fixture
async def start_process() -> AsyncIterator[StartProcess]:
    """Starts classifier processes, with a model if one is given, and ends them."""
    started: list[ProcessClassifier] = []

    async def start(model: bytes = b"", **settings: Any) -> ProcessClassifier:
        classifier = await ProcessClassifier.start(ClassifierSettings(**settings))
        started.append(classifier)
        if model:
            await classifier.load(digest(model), model, FIT)
        return classifier

    yield start
    for classifier in started:
        await classifier.close()


@pytest.fixture
async def start_shared() -> AsyncIterator[Start]:
    """Starts classifiers that share processes, as `start_process`; none is left."""
    pool, started = ClassifierPool(ClassifierSettings()), list[Classifier]()

    async def start(model: bytes = b"") -> Classifier:
        classifier = SharedClassifier(pool)
        started.append(classifier)
        if model:
            await classifier.load(digest(model), model, FIT)
        return classifier

    yield start
    for classifier in started:
        await classifier.close()
    assert pool.process_count == 0


@pytest.fixture(params=["litert", "tflite", "shared"])
def start(
    request: pytest.FixtureRequest, start_process: StartProcess, start_shared: Start
) -> Start:
    """Starts a classifier of each kind: a process with each runtime, and one that is shared."""
    if request.param == "shared":
        return start_shared
    if request.param == "tflite" and not _TFLITE_PYTHON.exists():
        pytest.skip("no .venv-tflite: `make test` makes it on Python 3.11")
    launcher = (str(_TFLITE_PYTHON), "-c", _EXEC) if request.param == "tflite" else ()
    return functools.partial(start_process, runtime=request.param, launcher=launcher)


def zeros_model(tflite: bytes, **changes: Any) -> bytes:
    """A graph with golden scores of 0."""
    spec = models.make_spec(**changes)
    scores = np.zeros((8, len(spec.labels)), "f4")
    return models.holter_model(tflite, spec, models.make_windows(spec), scores)


def endless_model() -> bytes:
    """A model that never answers a window that begins below 0 millivolts."""
    spec = models.make_spec(unit="millivolts")
    windows = models.make_windows(spec)
    scores = np.repeat(windows[:, 0], len(spec.labels), axis=1)
    return models.holter_model(models.endless_below_zero(), spec, windows, scores)


class TestContract:
    """What holds for every Classifier."""

    async def test_loads_proves_and_classifies(self, start: Start) -> None:
        """A loaded model tells its spec, passes its golden windows and gives scores."""
        model = models.averaging_model()
        classifier = await start()
        loaded = await classifier.load(digest(model), model, FIT)
        assert loaded.spec == classifier.spec == models.make_spec()
        assert classifier.sha256 == digest(model)
        assert classifier.runtime.version
        golden = await classifier.prove()
        assert golden.count == 8
        assert golden.max_abs_difference <= classifier.spec.tolerance
        scores = await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)
        assert list(scores.scores) == SCORES
        assert 0 < scores.inference_ns < LIMIT_SECONDS * 1e9

    async def test_values_and_counts_agree(self, start: Start) -> None:
        """Values in the model's unit give the scores of the counts that they come from."""
        classifier = await start(models.averaging_model(unit="volts"))
        scale, offset = FIT.channels[0].affine("volts")
        by_counts = await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)
        values = (COUNTS * scale + offset).astype("f4").reshape(-1, 1)
        by_values = await classifier.classify_values(values, LIMIT_SECONDS)
        assert by_counts.scores == by_values.scores

    async def test_calls_at_once_do_not_mix(self, start: Start) -> None:
        """Windows that are brought at the same time each get their own scores."""
        classifier = await start(models.averaging_model())
        windows = [np.full(models.WINDOW, value, "u1").tobytes() for value in range(20)]
        answers = await asyncio.gather(
            *(classifier.classify_counts(window, LIMIT_SECONDS) for window in windows)
        )
        assert [answer.scores[0] for answer in answers] == pytest.approx(range(20))

    async def test_cancelled_call_leaves_no_trace(self, start: Start) -> None:
        """A window after one whose caller went away gets its own scores."""
        classifier = await start(models.averaging_model())
        other = np.full(models.WINDOW, 200, "u1").tobytes()
        first = asyncio.create_task(classifier.classify_counts(other, LIMIT_SECONDS))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        scores = await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)
        assert list(scores.scores) == SCORES

    async def test_state_does_not_leak_between_windows(self, start: Start) -> None:
        """A model with variables gives the same window the same scores every time."""
        spec = models.make_spec(input_shape=(1, 1, models.WINDOW))
        weights, windows = models.averaging_weights(), models.make_windows(spec)
        tflite = models.recurrent(weights, np.eye(3, dtype="f4"))
        scores = windows.reshape(8, -1) @ weights.T
        classifier = await start(models.holter_model(tflite, spec, windows, scores))
        await classifier.prove()
        for _ in range(3):
            answer = await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)
            assert list(answer.scores) == SCORES

    @pytest.mark.parametrize("size", [0, models.WINDOW - 1, models.WINDOW + 1])
    async def test_wrong_size(self, start: Start, size: int) -> None:
        """A window of another size is refused with both sizes, and harms nothing."""
        classifier = await start(models.averaging_model())
        facts = {"actual": str(size), "expected": str(models.WINDOW)}
        with pytest.raises(WindowSizeMismatchError) as caught:
            await classifier.classify_counts(bytes(size), LIMIT_SECONDS)
        assert caught.value.facts == facts
        with pytest.raises(WindowSizeMismatchError) as caught:
            await classifier.classify_values(np.zeros(size, "f4"), LIMIT_SECONDS)
        assert caught.value.facts == facts
        assert (await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)).scores

    @pytest.mark.parametrize(
        ("model", "error", "fact"),
        [
            (models.averaging_model(rate_hz=250.0), ModelUnfitError, ("device", "360")),
            (models.averaging_model(channels=("II",)), ModelUnfitError, ("device", "A0")),
            (models.averaging_model()[:700], ModelMalformedError, ()),
            (zeros_model(models.custom_op("FlexErf")), OpUnsupportedError, ()),
            (zeros_model(models.integer_input()), ModelMalformedError, ("key", "input_shape")),
        ],
        ids=["rate", "channel", "cut off", "Flex", "input"],
    )
    async def test_refusals_keep_their_kind(
        self, start: Start, model: bytes, error: type[DeviceError], fact: tuple[str, str]
    ) -> None:
        """A refusal is of its own kind, with its facts; the same classifier then takes another."""
        classifier = await start()
        with pytest.raises(error) as caught:
            await classifier.load(digest(model), model, FIT)
        assert not fact or caught.value.facts[fact[0]] == fact[1]
        await classifier.load("good", models.averaging_model(), FIT)
        assert (await classifier.prove()).count == 8

    async def test_golden_scores_that_differ(self, start: Start) -> None:
        """A model that gives other scores here is refused when it is proved."""
        classifier = await start(zeros_model(models.linear(*_ones())))
        with pytest.raises(GoldenMismatchError) as caught:
            await classifier.prove()
        assert caught.value.facts["window"] == "0"

    async def test_scores_that_are_not_finite(self, start: Start) -> None:
        """A window with scores that are not finite fails; the next one is classified."""
        classifier = await start(models.averaging_model())
        with pytest.raises(ClassifierFailedError, match="not finite"):
            await classifier.classify_values(np.full(models.WINDOW, np.nan, "f4"), LIMIT_SECONDS)
        scores = await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)
        assert list(scores.scores) == SCORES

    async def test_closed_is_unavailable(self, start: Start) -> None:
        """A closed classifier says that it is unavailable, may be closed again, stays closed."""
        classifier = await start(models.averaging_model())
        await classifier.close()
        await classifier.close()
        await classifier.revive()
        with pytest.raises(ClassifierUnavailableError):
            await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)


def _ones() -> tuple[np.ndarray, np.ndarray]:
    return models.averaging_weights(), np.ones(3, "f4")


def limits_of(pid: int) -> dict[str, str]:
    """Soft limits of a process, by the kernel's names."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return {line[:26].strip(): line[26:47].strip() for line in lines}


def threads_of(pid: int) -> list[str]:
    """Ids of a process's threads."""
    return [thread.name for thread in Path(f"/proc/{pid}/task").iterdir()]


async def kill(classifier: ProcessClassifier) -> None:
    """Kill its process, and see that it is gone."""
    os.kill(classifier.pid, signal.SIGKILL)
    with pytest.raises(ClassifierUnavailableError):
        await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)
    assert classifier.ended


class TestShared:
    """What classifiers have that share a process."""

    async def test_one_process_for_one_model(self) -> None:
        """Many that load one model at once share a process, and what it said; the last ends it."""
        pool, model = ClassifierPool(ClassifierSettings()), models.averaging_model()
        many = [SharedClassifier(pool) for _ in range(20)]
        await asyncio.gather(*(one.load(digest(model), model, FIT) for one in many))
        assert pool.process_count == 1
        golden = await asyncio.gather(*(one.prove() for one in many))
        assert all(report is golden[0] for report in golden)
        assert await many[0].prove() is not golden[0]
        other = SharedClassifier(pool)
        slower = dataclasses.replace(FIT, rate_hz=250.0)
        of_250 = models.averaging_model(rate_hz=250.0)
        await other.load(digest(of_250), of_250, slower)
        assert pool.process_count == 2
        for one in [*many[1:], other]:
            await one.close()
        assert pool.process_count == 1
        scores = await many[0].classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)
        assert list(scores.scores) == SCORES
        await many[0].close()
        assert pool.process_count == 0

    async def test_what_one_device_refuses_another_may_have(self) -> None:
        """A refusal reaches all who wait for it, and who comes later tries anew."""
        pool, model = ClassifierPool(ClassifierSettings()), models.averaging_model(rate_hz=250.0)
        many = [SharedClassifier(pool) for _ in range(5)]
        calls = (one.load(digest(model), model, FIT) for one in many)
        for refusal in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(refusal, ModelUnfitError)
        assert pool.process_count == 0
        await many[0].load(digest(model), model, dataclasses.replace(FIT, rate_hz=250.0))
        await many[0].close()

    async def test_who_goes_away_takes_nothing_from_the_others(self) -> None:
        """One whose load is cancelled, or who is closed, leaves the process to those who wait."""
        pool, model = ClassifierPool(ClassifierSettings()), models.averaging_model()
        first, second = SharedClassifier(pool), SharedClassifier(pool)
        going = asyncio.create_task(first.load(digest(model), model, FIT))
        staying = asyncio.create_task(second.load(digest(model), model, FIT))
        await asyncio.sleep(0)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        assert (await staying).spec == models.make_spec()
        await second.close()
        alone = asyncio.create_task(first.load(digest(model), model, FIT))
        await asyncio.sleep(0)
        alone.cancel()
        await asyncio.wait([alone])
        assert pool.process_count == 0

    async def test_a_model_that_hangs_is_killed_and_comes_back_for_all(self) -> None:
        """A window that never ends is a timeout for its device; revived, others are classified."""
        pool, model = ClassifierPool(ClassifierSettings()), endless_model()
        one, other = SharedClassifier(pool), SharedClassifier(pool)
        for classifier in (one, other):
            await classifier.load(digest(model), model, FIT)
        with pytest.raises(ModelTimeoutError):
            await one.classify_counts(bytes(models.WINDOW), 0.2)
        with pytest.raises(ClassifierUnavailableError):
            await other.classify_counts(bytes(models.WINDOW), 0.2)
        await asyncio.gather(one.revive(), other.revive())
        above_zero = np.full(models.WINDOW, 255, "u1").tobytes()
        assert (await other.classify_counts(above_zero, LIMIT_SECONDS)).scores[0] > 0
        for classifier in (one, other):
            await classifier.close()


class TestProcess:
    """What a process of its own must stand."""

    async def test_killed_while_idle(self, start_process: StartProcess) -> None:
        """Once its process was killed a window fails with the signal; revived it is classified."""
        classifier = await start_process(models.averaging_model())
        os.kill(classifier.pid, signal.SIGKILL)
        with pytest.raises(ClassifierUnavailableError, match="SIGKILL"):
            await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)
        await classifier.revive()
        scores = await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)
        assert list(scores.scores) == SCORES

    async def test_killed_during_a_window(self, start_process: StartProcess) -> None:
        """A window during which its process is killed fails; so do those in line behind it."""
        classifier = await start_process(endless_model())
        below_zero = bytes(models.WINDOW)
        calls = [
            asyncio.create_task(classifier.classify_counts(below_zero, LIMIT_SECONDS))
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        os.kill(classifier.pid, signal.SIGKILL)
        for call in calls:
            with pytest.raises(ClassifierUnavailableError, match="SIGKILL"):
                await call
        await classifier.revive()
        assert (await classifier.prove()).count == 8

    async def test_a_window_that_never_ends(self, start_process: StartProcess) -> None:
        """A window that takes too long is a timeout, its process is killed, and can be revived."""
        classifier = await start_process(endless_model())
        before = classifier.pid
        with pytest.raises(ModelTimeoutError) as caught:
            await classifier.classify_counts(bytes(models.WINDOW), 0.2)
        assert caught.value.facts == {"step": "window", "limit_seconds": "0.2"}
        with pytest.raises(ClassifierUnavailableError):
            await classifier.classify_counts(bytes(models.WINDOW), LIMIT_SECONDS)
        await classifier.revive()
        assert classifier.pid != before
        above_zero = np.full(models.WINDOW, 255, "u1").tobytes()
        assert (await classifier.classify_counts(above_zero, LIMIT_SECONDS)).scores[0] > 0

    async def test_a_golden_window_that_never_ends(self, start_process: StartProcess) -> None:
        """A model that does not answer its golden windows in time names that step."""
        spec = models.make_spec()
        windows = models.make_windows(spec) - 256
        model = models.holter_model(
            models.endless_below_zero(), spec, windows, np.zeros((8, 3), "f4")
        )
        classifier = await start_process(model_timeout=2.0)
        await classifier.load(digest(model), model, FIT)
        with pytest.raises(ModelTimeoutError) as caught:
            await classifier.prove()
        assert caught.value.facts["step"] == "golden"

    async def test_a_model_that_crashes_its_runtime(self, start_process: StartProcess) -> None:
        """A model that ends its process by a signal is refused with the signal's name."""
        model = zeros_model(models.crashing())
        classifier = await start_process()
        with pytest.raises(ModelCrashedError, match="SIGSEGV") as caught:
            await classifier.load(digest(model), model, FIT)
        assert caught.value.facts["step"] == "load"

    async def test_revive_reads_the_model_where_it_is_told(
        self, start_process: StartProcess
    ) -> None:
        """After `reload_from` a revived classifier gets the model's bytes by that call."""
        model = models.averaging_model()
        classifier = await start_process(model)
        reads: list[bytes] = []

        def read() -> bytes:
            reads.append(model)
            return model

        classifier.reload_from(read)
        await classifier.revive()
        assert reads == []
        await kill(classifier)
        await classifier.revive()
        assert reads == [model]

    async def test_windows_during_a_revival(self, start_process: StartProcess) -> None:
        """A window that is brought while the model is brought back waits for it."""
        classifier = await start_process(models.averaging_model())
        await kill(classifier)
        reviving = asyncio.create_task(classifier.revive())
        await asyncio.sleep(0)
        scores = await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)
        assert list(scores.scores) == SCORES
        await reviving

    async def test_a_revival_that_fails(self, start_process: StartProcess) -> None:
        """If the model is refused when it is brought back, the next revival tries again."""
        model = models.averaging_model()
        classifier = await start_process(model)
        await kill(classifier)
        classifier.reload_from(lambda: b"damaged")
        with pytest.raises(ModelMalformedError):
            await classifier.revive()
        with pytest.raises(ClassifierUnavailableError):
            await classifier.classify_counts(COUNTS.tobytes(), LIMIT_SECONDS)
        classifier.reload_from(lambda: model)
        await classifier.revive()
        assert (await classifier.prove()).count == 8

    async def test_a_load_that_is_cancelled(self, start_process: StartProcess) -> None:
        """A load whose caller goes away while the file is on its way ends the process."""
        big = models.averaging_model() + bytes(32 * 2**20)
        classifier = await start_process()
        load = asyncio.create_task(classifier.load(digest(big), big, FIT))
        await asyncio.sleep(0)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        with pytest.raises(ModelCrashedError, match="SIGKILL"):
            await classifier.prove()

    async def test_killed_while_the_file_is_on_its_way(self, start_process: StartProcess) -> None:
        """A process that ends while it is handed its model is a crash, not a wait."""
        big = models.averaging_model() + bytes(32 * 2**20)
        classifier = await start_process()
        load = asyncio.create_task(classifier.load(digest(big), big, FIT))
        await asyncio.sleep(0)
        os.kill(classifier.pid, signal.SIGKILL)
        with pytest.raises(ModelCrashedError, match="SIGKILL"):
            await load

    async def test_closing_during_a_revival(self, start_process: StartProcess) -> None:
        """A classifier that is closed while it is revived leaves no process behind."""
        classifier = await start_process(models.averaging_model())
        await kill(classifier)
        reviving = asyncio.create_task(classifier.revive())
        await asyncio.sleep(0)
        await classifier.close()
        with pytest.raises((ClassifierUnavailableError, ModelCrashedError)):
            await reviving
        await classifier.close()
        assert not _is_running(classifier.pid)

    async def test_a_runtime_that_is_not_installed(self, start_process: StartProcess) -> None:
        """Without its runtime the process says how to install it."""
        with pytest.raises(ClassifierUnavailableError, match=r"pip install 'holter-device\[tflite"):
            await start_process(runtime="tflite")

    async def test_a_launcher_that_is_not_there(self, start_process: StartProcess) -> None:
        """What the system does not start is unavailable, in one sentence that names it."""
        with pytest.raises(ClassifierUnavailableError, match="does not start: /nowhere/run: No "):
            await start_process(launcher=("/nowhere/run",))

    async def test_too_little_memory_to_start(self, start_process: StartProcess) -> None:
        """A process that cannot even start in its memory says that it ended."""
        with pytest.raises(ClassifierUnavailableError, match="does not start"):
            await start_process(memory_bytes=20 * 2**20)

    async def test_too_much_memory(self, start_process: StartProcess) -> None:
        """A model that needs more memory than is allowed is unfit, and says the limit."""
        spec = models.make_spec(
            window=40000, hop=40000, input_shape=(1, 40000, 1), labels=_names(200)
        )
        weights = models.averaging_weights(spec.window, 200)
        model = models.holter_model(
            models.linear(weights, np.zeros(200, "f4")),
            spec,
            models.make_windows(spec, 1),
            np.zeros((1, 200), "f4"),
        )
        classifier = await start_process(memory_bytes=100 * 2**20)
        with pytest.raises(ModelMemoryError) as caught:
            await classifier.load(digest(model), model, FIT)
        assert caught.value.facts == {"limit_bytes": str(100 * 2**20)}

    async def test_its_limits(self, start_process: StartProcess) -> None:
        """The process may use its memory and no more, write no file, dump no core; time is free."""
        classifier = await start_process(memory_bytes=200 * 2**20)
        rows = limits_of(classifier.pid)
        assert rows["Max data size"] == str(200 * 2**20)
        assert rows["Max file size"] == rows["Max core file size"] == "0"
        assert rows["Max cpu time"] == rows["Max address space"] == "unlimited"

    async def test_it_is_one_thread(self, start_process: StartProcess) -> None:
        """A loaded and proved model runs in a process of one thread."""
        classifier = await start_process(models.averaging_model())
        await classifier.prove()
        assert threads_of(classifier.pid) == [str(classifier.pid)]


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"class_{index}" for index in range(count))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
