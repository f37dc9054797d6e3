"""A chip on /dev/i2c-1, read by an unmodified smbus2, as a gRPC client sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import holter_host
from holter.frontend import FrontEnd
from holter_device.testing import LockstepClockServer, level, played
from holter_host import Gap, SampleBlock
from support.daemon import holterd
from support.i2c import record_volts, virtual_ads1115, virtual_i2c

RATE_HZ = 360
# The sampler hands its frames on when it has 25 ms of them.
FLUSH = 9


async def _tiles(device: holter_host.Device, frames: int) -> list[SampleBlock | Gap]:
    """The session's tiles from its start, of so many frames or more; contiguous."""
    tiles: list[SampleBlock | Gap] = []
    next_sequence = 0
    async for event in device.samples("earliest"):
        if isinstance(event, holter_host.SessionStarted):
            continue
        assert event.first_sequence == next_sequence
        next_sequence += event.frame_count
        tiles.append(event)
        if next_sequence >= frames:
            break
    return tiles


def _counts(tiles: list[SampleBlock | Gap]) -> bytes:
    return b"".join(t.counts.tobytes() for t in tiles if isinstance(t, SampleBlock))


def _gaps(tiles: list[SampleBlock | Gap]) -> list[Gap]:
    return [tile for tile in tiles if isinstance(tile, Gap)]


async def test_a_record_in_real_time_equals_the_journal(tmp_path: Path, mitdb: Path) -> None:
    """Each count that a client gets is what the chip converted in that read; holes are named."""
    volts = record_volts(mitdb / "208", 20)
    with virtual_i2c() as pi:
        async with (
            holterd(tmp_path, env=pi.environment) as daemon,
            holter_host.connect(daemon.address) as device,
        ):
            status = await device.status()
            assert status.source.kind == "pcf8591"
            start_ns = status.session.start_monotonic_nanos
            pi.chip.inputs[0] = played(volts, RATE_HZ, start_ns)
            tiles = await _tiles(device, 8 * RATE_HZ)
            quality = (await device.status()).quality
            frames = b"".join(pi.frames_since(start_ns))
            assert await daemon.stop() == 0
    received = _counts(tiles)
    assert received == frames[: len(received)]
    missing = sum(gap.frame_count for gap in _gaps(tiles))
    last = tiles[-1]
    assert len(received) + missing == last.first_sequence + last.frame_count
    assert {gap.cause for gap in _gaps(tiles)} <= {holter_host.GapCause.LATE}
    assert quality.received_count >= len(received) > 0
    assert quality.missing_count >= missing
    assert len(set(received)) > 20


async def test_a_client_is_told_what_auto_chose_and_when_counts_were_true(tmp_path: Path) -> None:
    """Each frame is of as many conversions as GetDevice says, and captured within its read."""
    with virtual_i2c([level(1.0), level(2.0)]) as pi:
        pi.bus.clock_hz = 100e3
        flags = ("--inputs", "A1,A0", "--rate", "100", "--oversampling", "auto")
        async with (
            holterd(tmp_path, *flags, env=pi.environment) as daemon,
            holter_host.connect(daemon.address) as device,
        ):
            status = await device.status()
            tiles = await _tiles(device, 20)
            start_ns = status.session.start_monotonic_nanos
            reads = [read for read in pi.chip.reads if read.time_ns >= start_ns]
    count = status.source.oversampling
    assert count > 1
    assert f"mean of {count}" in status.source.description
    assert {len(read.conversions) for read in reads} == {1 + count}
    assert set(_counts(tiles)) == {int(volts * 256 / 3.3) for volts in (1.0, 2.0)}
    first, second = (channel.capture_offset_nanos for channel in status.session.channels)
    assert 0 < first < second < status.source.frame_read_nanos


async def test_a_record_in_lockstep_has_no_hole(tmp_path: Path, mitdb: Path) -> None:
    """60 s of record 208, tick by tick: every frame arrives, and is the record's own value."""
    frames = 60 * RATE_HZ
    volts = record_volts(mitdb / "208", 61)
    with (
        LockstepClockServer(tmp_path / "clock") as lockstep,
        virtual_i2c(now_ns=lockstep.now_ns) as pi,
    ):
        async with (
            holterd(tmp_path, "--clock", lockstep.text, env=pi.environment) as daemon,
            holter_host.connect(daemon.address) as device,
        ):
            start_ns = (await device.status()).session.start_monotonic_nanos
            pi.chip.inputs[0] = played(volts, RATE_HZ, start_ns)
            lockstep.release(frames)
            tiles = await _tiles(device, frames)
            quality = (await device.status()).quality
            reads = [read for read in pi.chip.reads if read.time_ns >= start_ns]
    assert _gaps(tiles) == []
    counts = _counts(tiles)
    assert counts == bytes(read.conversions[0].code for read in reads)
    front_end = FrontEnd()
    millivolts = (volts[:frames] - front_end.baseline_volts) / front_end.gain * 1000
    assert counts == front_end.counts(millivolts).tobytes()
    assert (quality.received_count, quality.missing_count) == (frames, 0)


async def test_four_inputs_never_mix(tmp_path: Path) -> None:
    """10 000 ticks of four inputs at four levels: each channel has its own level only."""
    levels = (0.3, 1.1, 2.2, 3.1)
    codes = [int(volts * 256 / 3.3) for volts in levels]
    with (
        LockstepClockServer(tmp_path / "clock") as lockstep,
        virtual_i2c([level(volts) for volts in levels], now_ns=lockstep.now_ns) as pi,
    ):
        flags = ("--inputs", "A0,A1,A2,A3", "--clock", lockstep.text)
        async with (
            holterd(tmp_path, *flags, env=pi.environment) as daemon,
            holter_host.connect(daemon.address) as device,
        ):
            session = (await device.status()).session
            assert [channel.name for channel in session.channels] == ["A0", "A1", "A2", "A3"]
            lockstep.release(10_000 + FLUSH)
            tiles = await _tiles(device, 10_000)
    assert _gaps(tiles) == []
    counts = np.concatenate([t.counts for t in tiles if isinstance(t, SampleBlock)])
    assert len(counts) >= 10_000
    assert (counts == codes).all()


@pytest.mark.parametrize(("inputs", "columns"), [("A2", [2]), ("A3,A1", [3, 1])])
async def test_any_inputs_can_be_channels(tmp_path: Path, inputs: str, columns: list[int]) -> None:
    """Inputs that do not begin at A0, or in another order, are channels as they are named."""
    levels = (0.3, 1.1, 2.2, 3.1)
    with (
        LockstepClockServer(tmp_path / "clock") as lockstep,
        virtual_i2c([level(volts) for volts in levels], now_ns=lockstep.now_ns) as pi,
    ):
        flags = ("--inputs", inputs, "--clock", lockstep.text)
        async with (
            holterd(tmp_path, *flags, env=pi.environment) as daemon,
            holter_host.connect(daemon.address) as device,
        ):
            lockstep.release(720)
            tiles = await _tiles(device, 720)
    counts = np.concatenate([t.counts for t in tiles if isinstance(t, SampleBlock)])
    assert (counts == [int(levels[column] * 256 / 3.3) for column in columns]).all()


@pytest.mark.parametrize(("inputs", "rate"), [("A0", 360), ("A3,A1", 100)])
async def test_an_ads1115_streams_what_it_converted(
    tmp_path: Path, mitdb: Path, inputs: str, rate: int
) -> None:
    """S16LE counts: each is a conversion of its own, of its input, in the journal's order."""
    volts = record_volts(mitdb / "208", 10)
    names = inputs.split(",")
    with virtual_ads1115() as pi:
        flags = ("--adc", "ads1115", "--inputs", inputs, "--rate", str(rate))
        async with (
            holterd(tmp_path, *flags, env=pi.environment) as daemon,
            holter_host.connect(daemon.address) as device,
        ):
            status = await device.status()
            start_ns = status.session.start_monotonic_nanos
            for shift, name in enumerate(names):
                pi.chip.inputs[int(name[1])] = played(volts[360 * shift :], RATE_HZ, start_ns)
            tiles = await _tiles(device, 2 * rate)
            assert await daemon.stop() == 0
        fetched = [fetch.conversion for fetch in pi.chip.fetches if fetch.time_ns >= start_ns]
    assert status.source.kind == "ads1115"
    offsets = [channel.capture_offset_nanos for channel in status.session.channels]
    assert all(0 < offset < status.source.frame_read_nanos for offset in offsets)
    assert [channel.volts_per_count for channel in status.session.channels] == [
        4.096 / 32768 for _ in names
    ]
    blocks = [tile for tile in tiles if isinstance(tile, SampleBlock)]
    counts = np.concatenate([block.counts for block in blocks])
    assert counts.dtype == np.dtype("<i2")
    conversions = [one for one in fetched if one is not None][: counts.size]
    assert counts.reshape(-1).tolist() == [one.code for one in conversions]
    assert [one.mux - 4 for one in conversions] == [int(name[1]) for name in names] * len(counts)
    assert len({one.number for one in conversions}) == counts.size
    assert all(one.begun_ns >= start_ns for one in conversions)
    missing = sum(gap.frame_count for gap in _gaps(tiles))
    assert len(counts) + missing == tiles[-1].first_sequence + tiles[-1].frame_count
    assert {gap.cause for gap in _gaps(tiles)} <= {holter_host.GapCause.LATE}
    assert len(set(counts.reshape(-1).tolist())) > 100
