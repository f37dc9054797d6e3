"""Laws of every Adc, run over each source that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from holter_device.adc import Adc, BlockAdc, make_adc
from holter_device.adc.pcf8591 import Pcf8591
from holter_device.config import SIMULATIONS
from holter_device.samples import SampleFormat
from holter_device.testing import Pcf8591Chip, SimulatedBus, level
from support.sampling import source_settings

INPUTS = [("A0",), ("A2",), ("A0", "A1"), ("A0", "A1", "A2", "A3"), ("A3", "A1")]


def _pcf8591(inputs: tuple[str, ...], oversampling: int) -> Adc:
    chip = Pcf8591Chip([level(volts) for volts in (0.5, 1.0, 2.0, 3.0)])
    settings = source_settings(inputs=inputs, oversampling=oversampling)
    return Pcf8591(settings, lambda _: SimulatedBus(chip))


SOURCES: dict[str, Callable[[Path], Adc]] = {
    f"pcf8591 {','.join(inputs)} x{oversampling}": (
        lambda _, i=inputs, m=oversampling: _pcf8591(i, m)
    )
    for inputs in INPUTS
    for oversampling in (1, 3)
}
SOURCES |= {
    f"simulate {kind}": lambda _, k=kind: make_adc(source_settings(simulate=k, inputs=("A0", "A3")))
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
@pytest.mark.parametrize("source", [name for name in SOURCES if not name.startswith("pcf8591")])
def test_many_frames_are_the_same_frames(source: str, size: int, short_record: Path) -> None:
    """A source that gives blocks gives the same frames in blocks of any size."""
    adc = SOURCES[source](short_record)
    assert isinstance(adc, BlockAdc)
    adc.open()
    blocks = b"".join(adc.read_many(first, size) for first in range(0, 4000, size))
    frames = b"".join(adc.read(sequence) for sequence in range(4000))
    assert blocks[: len(frames)] == frames
    adc.close()
