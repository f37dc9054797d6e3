"""Each window yields exactly one classification, in order, by the right model."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_device.errors import (
    ClassifierUnavailableError,
    DeviceError,
    ModelTimeoutError,
    NoActiveModelError,
)
from holter_device.grid import GapCause, Grid
from holter_device.leads import LeadOffDetector
from holter_device.pipeline import QUEUE_LIMIT, Pipeline, PipelineState
from holter_device.samples import (
    Block,
    Channel,
    Classification,
    Gap,
    ModelChange,
    Session,
    UnclassifiableReason,
)
from holter_device.windows import window_ends
from support.classifiers import ScriptedClassifier, counts_spec

OLD, NEW = "a" * 64, "b" * 64


class Emitted:
    """What a pipeline emitted."""

    def __init__(self) -> None:
        self.items: list[Classification | ModelChange] = []

    def __call__(self, items: Sequence[Classification | ModelChange]) -> None:
        """Take items as a log does."""
        self.items.extend(items)

    @property
    def classifications(self) -> list[Classification]:
        """Only the classifications."""
        return [item for item in self.items if isinstance(item, Classification)]


class Unrevivable(ScriptedClassifier):
    """A classifier whose process the system does not start again."""

    async def revive(self) -> None:
        """Fail as a fork does."""
        raise OSError("no memory")


def _session() -> Session:
    return Session(session_id=3, log_id="", grid=Grid(0, 1.0), channels=(Channel("A0"),))


def _frames(first: int, count: int) -> Block:
    return Block(3, first, count, bytes((first + k) % 256 for k in range(count)))


async def test_the_active_model_is_announced_from_the_start() -> None:
    """A session that begins with a model says so at sequence 0, one without says that too."""
    for classifier in (ScriptedClassifier(counts_spec(2, 2)), None):
        emitted = Emitted()
        pipeline = Pipeline(emitted)
        assert pipeline.swap(classifier) == (0, 0)
        pipeline.begin(_session())
        await pipeline.drain()
        assert emitted.items == [ModelChange(3, 0, OLD if classifier else "")]
        await pipeline.close()
        assert classifier is None or classifier.closed


@given(
    cuts=st.lists(st.integers(1, 8), min_size=1, max_size=8),
    swap_at=st.integers(0, 8),
    old=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    new=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    paced=st.booleans(),
)
def test_a_swap_loses_and_repeats_no_window(
    cuts: list[int], swap_at: int, old: tuple[int, int], new: tuple[int, int], *, paced: bool
) -> None:
    """Around a swap at S the windows are the computable set: below S the old model's, then ours."""

    async def run() -> None:
        emitted = Emitted()
        pipeline = Pipeline(emitted, paced=paced)
        first = ScriptedClassifier(counts_spec(old[0], min(old)), OLD)
        second = ScriptedClassifier(counts_spec(new[0], min(new)), NEW)
        pipeline.swap(first)
        pipeline.begin(_session())
        sequence, swapped = 0, -1
        for index, count in enumerate(cuts):
            if index == min(swap_at, len(cuts) - 1):
                session_id, swapped = pipeline.swap(second)
                assert (session_id, swapped) == (3, sequence)
            await pipeline.feed([_frames(sequence, count)])
            sequence += count
        await pipeline.drain()
        ends = [(c.last_sequence, c.model_sha256) for c in emitted.classifications]
        expected = [(e, OLD) for e in window_ends(old[0], min(old), 0, swapped)]
        expected += [(e, NEW) for e in window_ends(new[0], min(new), swapped, sequence)]
        assert ends == expected
        assert emitted.items.index(ModelChange(3, swapped, NEW)) == 1 + sum(
            sha256 == OLD for _, sha256 in ends
        )
        assert first.closed
        await pipeline.close()

    asyncio.run(run())


async def test_a_full_line_is_overloaded() -> None:
    """Windows over the limit are UNCLASSIFIABLE(OVERLOADED), in their place; none is missing."""
    emitted = Emitted()
    classifier = ScriptedClassifier(counts_spec(1, 1))
    classifier.open.clear()
    pipeline = Pipeline(emitted)
    pipeline.swap(classifier)
    pipeline.begin(_session())
    await pipeline.feed([_frames(0, QUEUE_LIMIT + 3)])
    classifier.open.set()
    await pipeline.drain()
    reasons = [item.reason for item in emitted.classifications]
    assert reasons == [None] * QUEUE_LIMIT + [UnclassifiableReason.OVERLOADED] * 3
    assert [c.last_sequence for c in emitted.classifications] == list(range(QUEUE_LIMIT + 3))
    await pipeline.close()


async def test_a_paced_source_waits_instead() -> None:
    """With a source that waits for its reader no window is overloaded."""
    emitted = Emitted()
    pipeline = Pipeline(emitted, paced=True)
    pipeline.swap(ScriptedClassifier(counts_spec(1, 1)))
    pipeline.begin(_session())
    await pipeline.feed([_frames(0, 5 * QUEUE_LIMIT)])
    await pipeline.drain()
    assert [item.reason for item in emitted.classifications] == [None] * 5 * QUEUE_LIMIT
    await pipeline.close()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelTimeoutError("slow"), UnclassifiableReason.TIMEOUT),
        (ClassifierUnavailableError("gone"), UnclassifiableReason.MODEL_ERROR),
        (DeviceError("odd"), UnclassifiableReason.MODEL_ERROR),
    ],
)
async def test_a_failed_window_is_unclassifiable(
    error: DeviceError, reason: UnclassifiableReason
) -> None:
    """A window on which the model fails has the reason, and the next one goes on as before."""
    emitted = Emitted()
    classifier = ScriptedClassifier(counts_spec(2, 2))
    classifier.fail = lambda counts: error if counts[0] == 2 else None
    pipeline = Pipeline(emitted)
    pipeline.swap(classifier)
    pipeline.begin(_session())
    await pipeline.feed([_frames(0, 6)])
    await pipeline.drain()
    assert [item.reason for item in emitted.classifications] == [None, reason, None]
    assert classifier.revived == 1
    assert pipeline.last_error == str(error)
    assert pipeline.state is PipelineState.RUNNING
    await pipeline.close()


async def test_an_error_that_nobody_foresaw_stops_nothing() -> None:
    """Whatever fails while a model is brought back, or is told, later windows have their class."""
    emitted = Emitted()
    refuse = [ValueError("odd")]

    def emit(items: Sequence[Classification | ModelChange]) -> None:
        if refuse and isinstance(items[0], Classification):
            raise refuse.pop()
        emitted(items)

    classifier = Unrevivable(counts_spec(2, 2))
    classifier.fail = lambda counts: DeviceError("odd") if counts[0] == 2 else None
    pipeline = Pipeline(emit)
    pipeline.swap(classifier)
    pipeline.begin(_session())
    await pipeline.feed([_frames(0, 6)])
    await pipeline.drain()
    found = [(item.last_sequence, item.reason) for item in emitted.classifications]
    assert found == [(3, UnclassifiableReason.MODEL_ERROR), (5, None)]
    assert pipeline.last_error == "no memory"
    await pipeline.close()


async def test_the_state_is_that_of_the_active_classifier() -> None:
    """A classifier that does not come back is STARTING; the one that is swapped in is RUNNING."""
    pipeline = Pipeline(Emitted())
    assert pipeline.state is PipelineState.NO_MODEL
    classifier = Unrevivable(counts_spec(2, 2))
    classifier.fail = lambda _counts: DeviceError("gone")
    pipeline.swap(classifier)
    pipeline.begin(_session())
    await pipeline.feed([_frames(0, 2)])
    await pipeline.drain()
    assert pipeline.state is PipelineState.STARTING
    pipeline.swap(ScriptedClassifier(counts_spec(2, 2), NEW))
    assert pipeline.state is PipelineState.RUNNING
    await pipeline.close()


async def test_spoilt_windows_never_reach_the_model() -> None:
    """A window that touches a gap is UNCLASSIFIABLE(GAP), and the model is not asked."""
    emitted = Emitted()
    classifier = ScriptedClassifier(counts_spec(2, 2))
    pipeline = Pipeline(emitted)
    pipeline.swap(classifier)
    pipeline.begin(_session())
    await pipeline.feed([_frames(0, 3), Gap(3, 3, 2, GapCause.LATE), _frames(5, 3)])
    await pipeline.drain()
    reasons = [item.reason for item in emitted.classifications]
    gap = UnclassifiableReason.GAP
    assert reasons == [None, gap, gap, None]
    assert classifier.classified == [b"\x00\x01", b"\x06\x07"]
    await pipeline.close()


async def test_a_caller_s_window_needs_a_model() -> None:
    """A window that a caller brings is refused while there is no model, and scored with one."""
    pipeline = Pipeline(Emitted())
    with pytest.raises(NoActiveModelError, match="holter deploy"):
        await pipeline.classify(b"\x01\x02")
    pipeline.swap(ScriptedClassifier(counts_spec(2, 2)))
    result = await pipeline.classify(b"\x01\x02")
    assert (result.label, result.scores, result.session_id) == ("V", (1.0, 2.0), 0)
    await pipeline.close()


@pytest.mark.parametrize(
    ("channels", "reason"),
    [(("A0",), None), (("A1",), UnclassifiableReason.LEADS_OFF), ((), None)],
)
async def test_an_input_at_a_rail_spoils_its_own_models_windows(
    channels: tuple[str, ...], reason: UnclassifiableReason | None
) -> None:
    """With A1 tied to a rail a model of A0 (the first, where none is named) has its classes."""
    session = dataclasses.replace(_session(), channels=(Channel("A0"), Channel("A1")))
    spec = dataclasses.replace(counts_spec(4, 4), channels=channels)
    emitted = Emitted()
    pipeline = Pipeline(emitted)
    pipeline.swap(ScriptedClassifier(spec))
    pipeline.begin(session)
    detector = LeadOffDetector(session, ((0, 255), (0, 255)))
    await pipeline.feed(detector.mark([Block(3, 0, 4, bytes([128, 255] * 4))]))
    await pipeline.drain()
    assert [c.reason for c in emitted.classifications] == [reason]
    await pipeline.close()
