"""Laws of every Adc, run over each source that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from holter_device.adc import Adc, BlockAdc, make_adc
from holter_device.adc.ads1115 import Ads1115
from holter_device.adc.pcf8591 import Pcf8591
from holter_device.clock import FollowingClock
from holter_device.config import SIMULATIONS
from holter_device.samples import SampleFormat
from holter_device.testing import Ads1115Chip, Pcf8591Chip, SimulatedBus, level
from support.sampling import source_settings

LEVELS = [level(volts) for volts in (0.5, 1.0, 2.0, 3.0)]
INPUTS = [("A0",), ("A2",), ("A0", "A1"), ("A0", "A1", "A2", "A3"), ("A3", "A1")]


def _pcf8591(inputs: tuple[str, ...], oversampling: int) -> Adc:
    clock = FollowingClock(0)
    chip = Pcf8591Chip(LEVELS, now_ns=clock.monotonic_ns)
    settings = source_settings(inputs=inputs, rate=100.0, oversampling=str(oversampling))
    bus = SimulatedBus(chip, clock_hz=100e3, clock=clock)
    return Pcf8591(settings, lambda _: bus, clock)


def _ads1115(inputs: tuple[str, ...], oversampling: int) -> Adc:
    clock = FollowingClock(0)
    chip = Ads1115Chip(LEVELS, now_ns=clock.monotonic_ns)
    settings = source_settings(
        adc="ads1115", inputs=inputs, rate=30.0, oversampling=str(oversampling)
    )
    bus = SimulatedBus(chip, clock_hz=400e3, clock=clock)
    return Ads1115(settings, lambda _: bus, clock)


SOURCES: dict[str, Callable[[Path], Adc]] = {
    f"{name} {','.join(inputs)} x{oversampling}": (
        lambda _, make=make, i=inputs, m=oversampling: make(i, m)
    )
    for name, make in (("pcf8591", _pcf8591), ("ads1115", _ads1115))
    for inputs in INPUTS
    for oversampling in (1, 3)
}
CHIPS = tuple(SOURCES)
SOURCES |= {
    f"simulate {kind}": lambda _, k=kind: make_adc(
        source_settings(simulate=k, inputs=("A0", "A3"), oversampling="auto")
    )
    for kind in SIMULATIONS
}
SOURCES["replay"] = lambda record: make_adc(source_settings(replay=str(record)))


@pytest.fixture(params=SOURCES)
def adc(request: pytest.FixtureRequest, short_record: Path) -> Adc:
    """Each source, closed."""
    return SOURCES[request.param](short_record)


def test_a_frame_has_as_many_bytes_as_its_inputs_need(adc: Adc) -> None:
    """What `open` tells is what `read` gives: a count of its format for each input."""
    info = adc.open()
    size = len(info.inputs) * SampleFormat[info.sample_format].dtype.itemsize
    assert info.frame_size == size
    assert [len(adc.read(sequence)) for sequence in range(5)] == [size] * 5
    adc.close()


def test_inputs_have_distinct_names_and_a_rising_map(adc: Adc) -> None:
    """No two channels share a name, and more counts are more volts."""
    info = adc.open()
    assert len({source.name for source in info.inputs}) == len(info.inputs) > 0
    assert all(source.volts_per_count > 0 for source in info.inputs)
    assert info.kind in info.description.lower() or info.kind in ("simulate", "replay")
    adc.close()


def test_rails_are_counts_of_the_format_and_apart(adc: Adc) -> None:
    """Both rails are counts that can be read, with most of the range between them."""
    info = adc.open()
    limits = np.iinfo(SampleFormat[info.sample_format].dtype)
    for source in info.inputs:
        assert limits.min <= source.rail_low < source.rail_high <= limits.max
        volts = (source.rail_high - source.rail_low) * source.volts_per_count
        assert volts > 0.9 * 3.3 - 0.2
    adc.close()


def test_a_chip_tells_when_it_converts_and_a_table_has_no_instant(adc: Adc) -> None:
    """Capture offsets lie within the read of a chip; a source that reads nothing has none."""
    info = adc.open()
    offsets = [source.capture_offset_ns for source in info.inputs]
    if info.kind in ("simulate", "replay"):
        assert (info.frame_read_ns, info.oversampling, set(offsets)) == (0, 1, {0})
    else:
        assert all(0 < offset < info.frame_read_ns for offset in offsets)
        assert len(set(offsets)) == len(offsets)
    adc.close()


def test_closing_is_safe_to_repeat_and_opening_starts_again(adc: Adc) -> None:
    """A source that was closed, even twice, opens and reads as before."""
    first = adc.open()
    frame = adc.read(0)
    adc.close()
    adc.close()
    assert adc.open() == first
    assert adc.read(0) == frame
    adc.close()


@pytest.mark.parametrize("size", [1, 7, 360, 4000])
@pytest.mark.parametrize("source", [name for name in SOURCES if name not in CHIPS])
def test_many_frames_are_the_same_frames(source: str, size: int, short_record: Path) -> None:
    """A source that gives blocks gives the same frames in blocks of any size."""
    adc = SOURCES[source](short_record)
    assert isinstance(adc, BlockAdc)
    adc.open()
    blocks = b"".join(adc.read_many(first, size) for first in range(0, 4000, size))
    frames = b"".join(adc.read(sequence) for sequence in range(4000))
    assert blocks[: len(frames)] == frames
    adc.close()
