"""How well the grid is kept, since the start and over the newest minute."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_device.grid import GapCause
from holter_device.lateness import Lateness
from holter_device.quality import RECENT_SECONDS, QualityCounter
from holter_device.samples import Block, Gap, RecentQuality, SessionQuality

RATE_HZ = 8.0

# (frames, late ones among them; None for a gap), retries, errors by errno, lateness in us
EVENTS = st.lists(
    st.tuples(
        st.integers(1, 100),
        st.none() | st.integers(0, 1),
        st.integers(0, 3),
        st.dictionaries(st.sampled_from([5, 110, 121]), st.integers(1, 4)),
        st.lists(st.integers(0, 10**5), max_size=3),
    ),
    max_size=60,
)


def _tile(first: int, count: int, late: int | None) -> Block | Gap:
    if late is None:
        return Gap(1, first, count, GapCause.BUS_ERROR)
    return Block(1, first, count, bytes(count), late_count=late)


def _told(micros: list[int]) -> bytes:
    lateness = Lateness()
    for value in micros:
        lateness.add(value * 1000)
    return lateness.take()


@given(events=EVENTS, rate_hz=st.sampled_from([RATE_HZ, 0.4, 7.3, 360.0]))
def test_the_last_minute_is_what_was_counted_in_its_seconds(
    events: list[tuple[int, int | None, int, dict[int, int], list[int]]], rate_hz: float
) -> None:
    """Frames and errors belong to their second of the grid; lateness to that of the last frame."""
    counter = QualityCounter(rate_hz)
    received: dict[int, bool] = {}
    others: list[tuple[int, int, int, dict[int, int], list[int]]] = []
    first = 0
    for count, late, retries, errors, micros in events:
        counter.bus(first, retries, errors)
        counter.tile(_tile(first, count, late))
        begun = int(first / rate_hz)
        received |= dict.fromkeys(range(first, first + count), late is not None)
        first += count
        counter.lateness(_told(micros))
        others.append((begun, 0, retries, errors, []))
        others.append((int((first - 1) / rate_hz), late or 0, 0, {}, micros))
    newest = int((first - 1) / rate_hz) if first else 0
    quality = counter.quality
    _assert_counted(quality, rate_hz, received, others, -math.inf)
    _assert_counted(quality.last_minute, rate_hz, received, others, newest - RECENT_SECONDS)


def _assert_counted(
    quality: SessionQuality | RecentQuality,
    rate_hz: float,
    received: dict[int, bool],
    others: list[tuple[int, int, int, dict[int, int], list[int]]],
    before: float,
) -> None:
    """The quality is that of the seconds after `before`, counted one by one."""
    frames = [good for sequence, good in received.items() if int(sequence / rate_hz) > before]
    assert (quality.received_count, quality.missing_count) == (sum(frames), frames.count(False))
    assert isinstance(quality, SessionQuality) or quality.duration_ns == round(
        len(frames) * 1e9 / rate_hz
    )
    recent = [entry for entry in others if entry[0] > before]
    assert quality.late_count == sum(entry[1] for entry in recent)
    assert quality.retry_count == sum(entry[2] for entry in recent)
    assert quality.bus_errors == sum((Counter(entry[3]) for entry in recent), Counter())
    lateness = Lateness()
    for entry in recent:
        lateness.merge(_told(entry[4]))
    expected = (*lateness.quantiles_ns(0.5, 0.99, 0.999), lateness.max_ns)
    told = (quality.lateness_p50_ns, quality.lateness_p99_ns, quality.lateness_p999_ns)
    assert (*told, quality.lateness_max_ns) == expected


@pytest.mark.parametrize("missing", [0, 1, 360, 3600])
def test_a_gap_lowers_the_rate_that_was_achieved_exactly(missing: int) -> None:
    """Frames that were read, divided by their time on the grid: 360 Hz less what is missing."""
    counter = QualityCounter(360.0)
    counter.tile(Block(1, 0, 7200, bytes(7200)))
    if missing:
        counter.tile(Gap(1, 7200, missing, GapCause.LATE))
    recent = counter.quality.last_minute
    assert recent.duration_ns == round((7200 + missing) * 1e9 / 360)
    assert recent.achieved_rate_hz == 7200 / (7200 + missing) * 360


def test_a_minute_without_a_frame_has_a_rate_of_zero() -> None:
    """A hole as long as the minute leaves nothing of before; its memory stays bounded."""
    counter = QualityCounter(360.0)
    counter.tile(Block(1, 0, 360, bytes(360)))
    counter.tile(Gap(1, 360, 360 * 3600, GapCause.SAMPLER_RESTARTED))
    recent = counter.quality.last_minute
    assert (recent.received_count, recent.achieved_rate_hz) == (0, 0)
    assert recent.missing_count == 360 * RECENT_SECONDS
    assert len(counter._seconds) == RECENT_SECONDS


def test_before_the_first_frame_all_is_zero() -> None:
    """Nothing counted is nothing told."""
    assert QualityCounter(360.0).quality == SessionQuality(last_minute=RecentQuality())


def test_who_asks_twice_gets_the_same_answer() -> None:
    """The answer is made once between two changes, for however many ask; a restart is a change."""
    counter = QualityCounter(360.0)
    counter.tile(Block(1, 0, 9, bytes(9)))
    first = counter.quality
    assert counter.quality is first
    counter.restart_count += 1
    assert counter.quality.sampler_restart_count == 1
    counter.bus(9, 1, {121: 1})
    assert counter.quality.retry_count == 1
