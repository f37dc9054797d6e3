"""Laws of captures: what they hold, how they are filed, and how they are classified."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holter_host
from holter_host import (
    BadInputError,
    Capture,
    GapCause,
    HolterError,
    LeadOffReason,
    LeadOffRun,
    _capture_file,
    connect,
)
from holter_host.testing import Failure, FakeDevice, Hole, fake_counts
from support.model_files import make_model

HOLES = [Hole(1, 100, 10), Hole(1, 350, 20, "SAMPLER_RESTARTED")]


@pytest.fixture
def fake() -> Iterator[FakeDevice]:
    """Two channels, two holes, and an electrode off at frames 200 to 249."""
    with FakeDevice(
        [5000], channels=("A0", "A1"), holes=HOLES, lead_off=[(200, 50)], block=25
    ) as device:
        yield device


async def take(fake: FakeDevice, seconds: float = 1.0, start: Any = "earliest") -> Capture:
    """A capture from the fake device."""
    async with connect(fake.address) as device:
        return await device.capture(seconds, start)


class TestCapture:
    async def test_every_frame_is_a_count_or_a_gap(self, fake: FakeDevice) -> None:
        """Counts are the device's own, the masks say exactly what is missing and what was off."""
        taken = await take(fake)
        frames = np.arange(360)
        valid = ~(((frames >= 100) & (frames < 110)) | (frames >= 350))
        assert (len(taken), taken.first_sequence, taken.seconds) == (360, 0, 1.0)
        assert (taken.valid == valid).all()
        assert (taken.counts[valid] == fake_counts(0, 360, 2)[valid]).all()
        assert not taken.counts[~valid].any()
        assert (taken.lead_off() == ((frames >= 200) & (frames < 250))).all()
        assert [(gap.first_sequence, gap.frame_count, gap.cause) for gap in taken.gaps] == [
            (100, 10, GapCause.BUS_ERROR),
            (350, 10, GapCause.SAMPLER_RESTARTED),
        ]

    async def test_volts_and_millivolts_are_nan_in_gaps_only(self, fake: FakeDevice) -> None:
        """Views are the linear maps where there are counts, and NaN where there are none."""
        taken = await take(fake)
        for view in (taken.volts(), taken.millivolts()):
            assert view.shape == (360, 2)
            assert (np.isnan(view).all(axis=1) == ~taken.valid).all()
            assert (np.isnan(view).any(axis=1) == ~taken.valid).all()
        volts = fake_counts(0, 360, 2) * 3.3 / 256
        assert taken.volts()[taken.valid] == pytest.approx(volts[taken.valid])
        millivolts = (volts - 1.65) / 1100 * 1000
        assert taken.millivolts()[taken.valid] == pytest.approx(millivolts[taken.valid])

    @pytest.mark.parametrize("block", [1, 7, 360, 1000])
    async def test_blocks_leave_no_trace(self, block: int) -> None:
        """A capture is the same however the device cuts its blocks."""
        with FakeDevice([500], block=block) as fake:
            taken = await take(fake)
        assert (taken.counts == fake_counts(0, 360, 1)).all()

    async def test_it_begins_at_the_first_frame_that_comes(self) -> None:
        """A live capture begins where the stream does, inside of a gap too."""
        with FakeDevice(live_sequence=105, holes=HOLES) as fake:
            taken = await take(fake, 0.1, "live")
        assert (taken.first_sequence, taken.valid.tolist()) == (105, [False] * 5 + [True] * 31)

    async def test_it_ends_with_its_session(self) -> None:
        """A capture never spans sessions: it is shorter where the session ends."""
        with FakeDevice([100, 500]) as fake:
            taken = await take(fake)
        assert (len(taken), taken.session.session_id) == (100, 1)

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [
            (0.2, [(1, 72)]),
            (100 / 360, [(1, 100)]),
            # Frames of session 1, a hole of 1 s, and the rest of the time from session 2.
            (1.2, [(1, 100)]),
            (2.0, [(1, 100), (2, 720 - 360 - 100)]),
            (9.0, [(1, 100), (2, 500)]),
        ],
    )
    async def test_captures_go_from_session_to_session(
        self, seconds: float, expected: list[tuple[int, int]]
    ) -> None:
        """There is a capture for each session, and the time between two of them counts."""
        with FakeDevice([100, 500]) as fake:
            async with connect(fake.address) as device:
                taken = [part async for part in device.captures(seconds, "earliest")]
            with holter_host.connect_sync(fake.address) as sync:
                again = list(sync.captures(seconds, "earliest"))
                last = 0
                for event in sync.samples("earliest", seconds=seconds):
                    last = getattr(event, "next_sequence", 0)
            assert fake.wait_until_idle()
        assert [(part.session.session_id, len(part)) for part in taken] == expected
        assert [(part.session.session_id, len(part)) for part in again] == expected
        assert all(part.first_sequence == 0 and part.valid.all() for part in taken)
        assert 0 <= last - expected[-1][1] < 36

    async def test_lead_off_runs_do_not_end_with_blocks(self) -> None:
        """A run is whole, with its channels and reasons, however the device cuts its blocks."""
        runs = [
            LeadOffRun(10, 100, (1,), (LeadOffReason.RAILED,)),
            LeadOffRun(110, 5, (0, 1), (LeadOffReason.LO_PLUS, LeadOffReason.SETTLING)),
            LeadOffRun(350, 50),
        ]
        with FakeDevice([500], channels=("A0", "A1"), lead_off=runs, block=7) as fake:
            taken = await take(fake)
        assert taken.lead_off_runs == (*runs[:2], LeadOffRun(350, 10))
        assert taken.channel_lead_off().sum(axis=0).tolist() == [5 + 10, 100 + 5 + 10]

    async def test_a_stream_without_frames(self) -> None:
        """Where no frame comes at all there is an error, not an empty capture."""
        with (
            FakeDevice([0]) as fake,
            pytest.raises(holter_host.DeviceError, match="before it gave a frame"),
        ):
            await take(fake)

    @pytest.mark.parametrize("seconds", [0, -1, 1e12, float("nan"), float("inf")])
    async def test_an_impossible_length(self, fake: FakeDevice, seconds: float) -> None:
        """A length of no frames, of too many, or no number is a BadInputError."""
        with pytest.raises(BadInputError, match="is not 1 to"):
            await take(fake, seconds)

    async def test_progress_is_told(self, fake: FakeDevice) -> None:
        """Progress counts up to all the frames that are wanted."""
        told: list[tuple[int, int]] = []
        async with connect(fake.address) as device:
            await device.capture(1, "earliest", progress=lambda *args: told.append(args))
        assert [came for came, _ in told] == sorted({came for came, _ in told})
        assert told[-1] == (360, 360)

    async def test_a_capture_closes_its_stream(self, fake: FakeDevice) -> None:
        """When the capture is there the device has no stream open."""
        await take(fake)
        assert fake.wait_until_idle()

    @given(frames=st.integers(1, 40), window=st.integers(1, 12), hop=st.integers(1, 12))
    def test_windows_are_slices(self, frames: int, window: int, hop: int) -> None:
        """Windows are every whole slice at the hop, with its own first sequence."""
        taken = _plain(frames)
        found = list(taken.windows(window, hop))
        starts = [start for start in range(0, frames, hop) if start + window <= frames]
        assert [part.first_sequence - taken.first_sequence for part in found] == starts
        for part, start in zip(found, starts, strict=True):
            assert (part.counts == taken.counts[start : start + window]).all()

    @given(start=st.integers(0, 39), frames=st.integers(1, 50), hole=st.integers(0, 30))
    def test_a_window_tells_of_its_own_frames_only(
        self, start: int, frames: int, hole: int
    ) -> None:
        """The gaps and the runs of a window are those of the capture, cut at its ends."""
        taken = _plain(40)
        first = taken.first_sequence + hole
        taken.valid[hole : hole + 9] = False
        taken = dataclasses.replace(
            taken,
            gaps=(holter_host.Gap(1, first, 9, holter_host.GapCause.LATE),),
            lead_off_runs=(holter_host.LeadOffRun(first, 9),),
        )
        part = taken.window(start, frames)
        missing = int((~part.valid).sum())
        assert sum(gap.frame_count for gap in part.gaps) == missing
        assert sum(run.frame_count for run in part.lead_off_runs) == missing
        assert (part.lead_off() == ~part.valid).all()


class TestFile:
    async def test_what_is_saved_is_what_is_loaded(self, fake: FakeDevice, tmp_path: Path) -> None:
        """Every part of a capture survives the file."""
        taken = await take(fake)
        taken.save(tmp_path / "ecg.npz")
        again = Capture.load(tmp_path / "ecg.npz")
        for name in ("session", "first_sequence", "gaps", "lead_off_runs", "clock_offsets"):
            assert getattr(again, name) == getattr(taken, name)
        assert len(taken.clock_offsets) == 2
        assert again.counts.dtype == taken.counts.dtype
        for name in ("counts", "valid"):
            assert (getattr(again, name) == getattr(taken, name)).all()

    @settings(max_examples=20, deadline=None)
    @given(frames=st.integers(1, 50), wide=st.booleans())
    def test_counts_of_either_width_survive(
        self, tmp_path_factory: pytest.TempPathFactory, frames: int, wide: bool
    ) -> None:
        """uint8 and int16 counts come back as they were."""
        taken = _plain(frames, np.int16 if wide else np.uint8)
        path = tmp_path_factory.mktemp("captures") / "x.npz"
        taken.save(path)
        again = Capture.load(path)
        assert again.counts.dtype == taken.counts.dtype
        assert (again.counts == taken.counts).all()

    def test_any_numpy_reads_it(self, tmp_path: Path) -> None:
        """The file holds plain arrays under the documented names, and no pickle."""
        _plain(5).save(tmp_path / "x.npz")
        with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
            assert str(arrays["format"]) == "holter capture 2"
            assert arrays["counts"].shape == (5, 1)
            assert {name: arrays[name].shape for name in arrays.files}["gap_cause"] == (0,)

    def test_a_failed_save_leaves_nothing(self, tmp_path: Path) -> None:
        """Where the file cannot be written there is one error and no trace of the attempt."""
        with pytest.raises(BadInputError, match="Cannot write"):
            _plain(5).save(tmp_path / "missing" / "x.npz")
        (tmp_path / "folder").mkdir()
        with pytest.raises(BadInputError, match="Cannot write"):
            _plain(5).save(tmp_path / "folder")
        assert [path.name for path in tmp_path.iterdir()] == ["folder"]

    def test_a_full_disk_is_no_bad_input(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The disk's failure has exit code 1, and what was there stays."""
        _plain(5).save(tmp_path / "x.npz")
        before = tmp_path.joinpath("x.npz").read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(HolterError, match=r"Cannot write .*No space left") as refused:
            _plain(50).save(tmp_path / "x.npz")
        assert refused.value.exit_code == 1
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"x.npz": before}

    def test_what_is_no_capture_is_refused(self, tmp_path: Path) -> None:
        """What is missing, cut, damaged or something else is one BadInputError with its name."""
        good = tmp_path / "good.npz"
        _plain(50).save(good)
        cases = {
            "text.npz": b"hello",
            "empty.npz": b"",
            "cut.npz": good.read_bytes()[:-300],
            "flipped.npz": _flip(good.read_bytes()),
        }
        for name, content in cases.items():
            (tmp_path / name).write_bytes(content)
        np.savez(tmp_path / "other.npz", counts=np.zeros(3))
        np.save(tmp_path / "array.npy", np.zeros(3))
        for name in [*cases, "other.npz", "array.npy", "missing.npz"]:
            with pytest.raises(BadInputError, match=name) as caught:
                Capture.load(tmp_path / name)
            assert not re.search("pickle|KeyError|archive", str(caught.value))

    def test_it_is_shown_in_one_line(self) -> None:
        """The repr of a capture of any length is one line that says how long it is."""
        assert repr(_plain(5000)).startswith("<Capture of ")
        assert "5000 frames" in repr(_plain(5000))
        assert len(repr(_plain(5000))) < 200

    @pytest.mark.parametrize(
        "changes",
        [
            {"format": np.array("holter capture 1")},
            {"counts": np.zeros((5, 1))},
            {"counts": np.zeros((5, 3), np.uint8)},
            {"valid": np.ones(4, np.bool_)},
            {"lead_off": np.ones((5, 1), np.bool_)},
            {"lead_off": np.zeros(5, np.bool_)},
            {"clock_offset_nanos": np.zeros(1, np.int64)},
            {"gain": np.zeros(2)},
            {"rate_hz": np.array([1.0, 2.0])},
            {"gap_first_sequence": np.zeros(1, np.int64)},
        ],
    )
    def test_parts_that_do_not_fit_are_refused(
        self, tmp_path: Path, changes: dict[str, Any]
    ) -> None:
        """A part of another type or shape makes the file no capture."""
        arrays = {**_capture_file.arrays(_plain(5)), **changes}
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(BadInputError, match="not a capture of Holter's"):
            Capture.load(tmp_path / "x.npz")


class TestClassify:
    @pytest.mark.parametrize("unit", ["counts", "volts", "millivolts"])
    async def test_values_are_in_the_models_unit(self, tmp_path: Path, unit: str) -> None:
        """The channels that the model names are sent in its order and unit."""
        with FakeDevice([5000], channels=("A0", "A1", "A2")) as fake:
            taken = await take(fake)
            async with connect(fake.address) as device:
                await device.deploy(make_model(tmp_path / "m", unit=unit, channels=("A2", "A0")))
                answer = await device.classify(taken.window(0, 360))
            sent = np.array(fake.requests[-1].model_values.values).reshape(360, 2)
        views = {"counts": taken.counts, "volts": taken.volts(), "millivolts": taken.millivolts()}
        assert sent == pytest.approx(views[unit][:, [2, 0]], abs=1e-4)
        assert (answer.session_id, answer.first_sequence, answer.last_sequence) == (1, 0, 359)
        assert answer.monotonic_time_nanos == taken.session.monotonic_nanos(359)

    @pytest.mark.parametrize(("first", "reason"), [(0, "GAP"), (110, "LEADS_OFF")])
    async def test_a_damaged_window_has_no_class(
        self, fake: FakeDevice, tmp_path: Path, first: int, reason: str
    ) -> None:
        """As on the device, a window with a gap or a lead off is not shown to the model."""
        taken = await take(fake)
        async with connect(fake.address) as device:
            await device.deploy(make_model(tmp_path / "m", window=105, hop=105))
            answer = await device.classify(taken.window(first, 105))
        assert (answer.label, answer.unclassifiable_reason) == ("", reason)
        assert answer.first_sequence == first
        assert not any(hasattr(request, "model_values") for request in fake.requests)

    async def test_a_lead_off_of_another_channel_does_not_matter(self, tmp_path: Path) -> None:
        """As on the device, only the channels that the model takes spoil its window."""
        run = LeadOffRun(0, 500, (1,))
        with FakeDevice([500], channels=("A0", "A1"), lead_off=[run]) as fake:
            taken = await take(fake)
            async with connect(fake.address) as device:
                for channel, label in (("A0", True), ("A1", False)):
                    await device.deploy(make_model(tmp_path / channel, channels=(channel,)))
                    assert bool((await device.classify(taken)).label) is label

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"rate_hz": 250.0}, "360 Hz and the model rhythm takes 250 Hz"),
            ({"window": 100, "hop": 100}, "360 frames and the model rhythm takes 100"),
            ({"channels": ("A9",)}, "no channel 'A9'; the channels are A0, A1"),
        ],
    )
    async def test_a_capture_that_does_not_fit(
        self, fake: FakeDevice, tmp_path: Path, changes: dict[str, Any], said: str
    ) -> None:
        """Another rate, length or channel is a BadInputError that says both sides."""
        taken = await take(fake)
        async with connect(fake.address) as device:
            await device.deploy(make_model(tmp_path / "m", **changes))
            with pytest.raises(BadInputError, match=said):
                await device.classify(taken)

    async def test_a_break_while_capturing(self, fake: FakeDevice) -> None:
        """A stream that breaks in the middle is resumed, or an error; never a short capture."""
        broken = Failure(grpc.StatusCode.UNAVAILABLE, after=4)
        fake.fail("StreamSamples", broken, broken, broken)
        taken = await take(fake)
        assert len(taken) == 360
        assert (taken.counts[taken.valid] == fake_counts(0, 360, 2)[taken.valid]).all()
        fake.fail("StreamSamples", broken)
        async with connect(fake.address) as device:
            with pytest.raises(holter_host.DeviceUnreachableError):
                await device.capture(1, "earliest", reconnect=0)


def _plain(frames: int, kind: Any = np.uint8) -> Capture:
    channel = holter_host.Channel("A0", 0.01, 0.0, 1100.0, 1.65)
    narrow = kind == np.uint8
    session = holter_host.Session(
        7,
        "log",
        360.0,
        1,
        (channel,),
        holter_host.SampleFormat.U8 if narrow else holter_host.SampleFormat.S16LE,
        "boot",
        holter_host.UtcEstimate(2, 3),
    )
    counts = (np.arange(frames)[:, None] * (7 if narrow else -301)).astype(kind)
    return Capture(session, 40, counts, np.ones(frames, np.bool_))


def _flip(content: bytes) -> bytes:
    """The archive with a byte of its first array changed; its checksum no longer fits."""
    middle = content.index(b"counts.npy") + 60
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
