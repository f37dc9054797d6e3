"""Laws of the dataclasses and of their conversion from the wire."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import holter_host
from holter.v1 import classification_service_pb2 as classification_pb
from holter.v1 import device_service_pb2 as device_pb
from holter.v1 import model_service_pb2 as model_pb
from holter.v1 import sample_service_pb2 as sample_pb
from holter.v1 import stream_pb2 as stream_pb
from holter_host import (
    Channel,
    LeadOffReason,
    LeadOffRun,
    LogPosition,
    SampleBlock,
    Session,
    UtcEstimate,
    _convert,
    clock,
)

ENUMS = [
    (stream_pb.SampleFormat, holter_host.SampleFormat, _convert.sample_format),
    (stream_pb.GapCause, holter_host.GapCause, _convert.gap_cause),
    (sample_pb.LeadOffReason, holter_host.LeadOffReason, _convert.lead_off_reason),
    (stream_pb.RecordingState, holter_host.RecordingState, _convert.recording_state),
    (stream_pb.StreamEndReason, holter_host.StreamEndReason, _convert.stream_end_reason),
    (
        classification_pb.UnclassifiableReason,
        holter_host.UnclassifiableReason,
        _convert.unclassifiable_reason,
    ),
    (device_pb.SamplerState, holter_host.SamplerState, _convert.sampler_state),
    (device_pb.ClassifierState, holter_host.ClassifierState, _convert.classifier_state),
    (model_pb.ModelState, holter_host.ModelState, _convert.model_state),
    (model_pb.ModelUnit, holter_host.ModelUnit, _convert.model_unit),
    (model_pb.ScoreKind, holter_host.ScoreKind, _convert.score_kind),
]

CHANNELS = (
    Channel("A0", 3.3 / 256, 0.0, 1100.0, 1.65),
    Channel("A1", 3.3 / 256, -0.1, 500.0, 1.2),
)


def make_session(rate_hz: float = 360.0, channels: tuple[Channel, ...] = CHANNELS) -> Session:
    """Session 3 of 360 Hz, frame 0 at 5 us."""
    return Session(
        3, "log", rate_hz, 5_000, channels, holter_host.SampleFormat.U8, "boot", UtcEstimate(7, 1)
    )


def block_pb(**changes: Any) -> sample_pb.SampleBlock:
    """A good block of that session, but for the changes."""
    fields: dict[str, Any] = {
        "session_id": 3,
        "first_sequence": 10,
        "frame_count": 2,
        "channel_count": 2,
        "counts": bytes([1, 2, 3, 4]),
        "sample_format": stream_pb.SAMPLE_FORMAT_U8,
        **changes,
    }
    return sample_pb.SampleBlock(**fields)


@pytest.mark.parametrize(("wire", "kind", "convert"), ENUMS)
class TestEnums:
    def test_members_are_those_of_the_wire(
        self, wire: Any, kind: type[enum.StrEnum], convert: Any
    ) -> None:
        """Each name of the wire without its prefix is a member; the only other is UNRECOGNIZED."""
        assert {convert(number) for number in wire.values()} == set(kind) - {"UNRECOGNIZED"}

    def test_a_newer_number_is_no_error(
        self, wire: Any, kind: type[enum.StrEnum], convert: Any
    ) -> None:
        """A number that this version does not know becomes UNRECOGNIZED."""
        assert convert(max(wire.values()) + 1000) is kind["UNRECOGNIZED"]


class TestMessages:
    def test_an_empty_message_is_no_error(self) -> None:
        """Every field has a default: an empty answer converts, optional parts to None."""
        status = _convert.device_status(device_pb.GetDeviceResponse())
        assert (status.active_model, status.runtime, status.session.channels) == (None, None, ())

    @pytest.mark.parametrize(
        ("message", "kind"),
        [
            (device_pb.GetDeviceResponse, holter_host.DeviceStatus),
            (stream_pb.Session, holter_host.Session),
            (stream_pb.SessionStarted, holter_host.SessionStarted),
            (stream_pb.Channel, holter_host.Channel),
            (stream_pb.Gap, holter_host.Gap),
            (stream_pb.SamplingQuality, holter_host.SamplingQuality),
            (stream_pb.Heartbeat, holter_host.Heartbeat),
            (stream_pb.StreamEnd, holter_host.StreamEnd),
            (stream_pb.UtcEstimate, holter_host.UtcEstimate),
            (sample_pb.LeadOffRun, holter_host.LeadOffRun),
            (classification_pb.Classification, holter_host.Classification),
            (classification_pb.ModelChanged, holter_host.ModelChanged),
            (classification_pb.Score, holter_host.Score),
            (model_pb.Model, holter_host.StoredModel),
            (model_pb.ModelSpec, holter_host.SpecSummary),
            (model_pb.GateStep, holter_host.GateStep),
            (model_pb.DeployModelResponse, holter_host.DeployResult),
            (model_pb.ActivateModelResponse, holter_host.DeployResult),
            (device_pb.Limits, holter_host.Limits),
            (device_pb.Source, holter_host.Source),
            (device_pb.Recording, holter_host.Recording),
            (device_pb.GetClockResponse, clock.DeviceClock),
            (stream_pb.BusErrorCount, holter_host.BusErrorCount),
            (stream_pb.RecentQuality, holter_host.RecentQuality),
            (stream_pb.LogPosition, holter_host.LogPosition),
        ],
    )
    def test_fields_are_those_of_the_wire(self, message: Any, kind: type) -> None:
        """A dataclass has the fields of its message, by the same names."""
        names = {field.name for field in dataclasses.fields(kind)}
        assert names == {field.name for field in message.DESCRIPTOR.fields}

    def test_a_time_beyond_the_calendar_is_none(self) -> None:
        """A store_time that no datetime can hold does not break the list of models."""
        model = model_pb.Model()
        model.store_time.seconds = 2**60
        assert _convert.stored_model(model).store_time is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"counts": b"123"},
            {"frame_count": -2, "counts": b""},
            {"channel_count": 1, "counts": b"12"},
            {"session_id": 4},
            {"sample_format": 99},
        ],
    )
    def test_a_block_that_does_not_fit_itself_is_refused(self, changes: dict[str, Any]) -> None:
        """A block whose size, channels, session or format is off is a ProtocolError."""
        with pytest.raises(holter_host.ProtocolError, match="sequence 10 of session"):
            _convert.sample_block(block_pb(**changes), make_session())

    @given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=2, max_size=40))
    def test_wide_counts_keep_their_values(self, values: list[int]) -> None:
        """S16LE counts come out as they went in, frame by frame."""
        pairs = np.array(values[: len(values) // 2 * 2], dtype="<i2").reshape(-1, 2)
        block = block_pb(
            frame_count=len(pairs),
            counts=pairs.tobytes(),
            sample_format=stream_pb.SAMPLE_FORMAT_S16LE,
        )
        assert (_convert.sample_block(block, make_session()).counts == pairs).all()


class TestStart:
    def test_positions_and_times_reach_the_wire(self) -> None:
        """A position keeps its three parts, and a time its instant whatever its zone."""
        position = _convert.stream_start(LogPosition(2, 30, "log")).position
        assert (position.log_id, position.session_id, position.sequence) == ("log", 2, 30)
        zone = datetime.timezone(datetime.timedelta(hours=2))
        moment = datetime.datetime(2026, 1, 1, 2, tzinfo=zone)
        assert _convert.stream_start(moment).time.seconds == 1_767_225_600

    @pytest.mark.parametrize(
        "start",
        [
            "now",
            3,
            None,
            datetime.datetime(2026, 1, 1),  # noqa: DTZ001
            LogPosition(1, -1),
            LogPosition(2**63, 0),
            LogPosition(1, 0.5),  # type: ignore[arg-type]
        ],
    )
    def test_anything_else_is_refused(self, start: Any) -> None:
        """A start that means nothing is a BadInputError.

        So is a time without a zone, and a position that no log has a place for.
        """
        with pytest.raises(holter_host.BadInputError, match="A stream cannot start at"):
            _convert.stream_start(start)

    @pytest.mark.parametrize("seconds", [-1, 11, float("nan")])
    def test_a_latency_out_of_range_is_refused(self, seconds: float) -> None:
        """max_latency is 0 to 10 s."""
        with pytest.raises(holter_host.BadInputError, match="max_latency"):
            _convert.max_latency(seconds)


class TestSampleBlock:
    @given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=50))
    def test_volts_and_millivolts_are_the_linear_maps(self, frames: list[tuple[int, int]]) -> None:
        """Each value is its channel's own map of its count."""
        counts = np.array(frames, dtype=np.uint8).reshape(-1, 2)
        block = SampleBlock(make_session(), 0, 0, counts)
        for i, frame in enumerate(frames):
            for channel, count, volts, millivolts in zip(
                CHANNELS, frame, block.volts()[i], block.millivolts()[i], strict=True
            ):
                expected = count * channel.volts_per_count + channel.offset_volts
                assert volts == pytest.approx(expected, abs=1e-12)
                ecg = (expected - channel.baseline_volts) / channel.gain * 1000
                assert millivolts == pytest.approx(ecg, abs=1e-9)

    @given(st.integers(0, 30), st.integers(0, 30), st.sampled_from([(), (0,), (1,), (0, 1), (7,)]))
    def test_the_lead_off_mask_is_its_runs(
        self, first: int, count: int, channels: tuple[int, ...]
    ) -> None:
        """A count is masked when, and only when, a run holds its sequence and its channel."""
        run = LeadOffRun(first, count, channels)
        block = SampleBlock(make_session(), 10, 0, np.zeros((8, 2), np.uint8), (run,))
        expected = [
            [first <= 10 + i < first + count and c in (channels or (0, 1)) for c in range(2)]
            for i in range(8)
        ]
        assert block.channel_lead_off().tolist() == expected
        assert block.lead_off().tolist() == [any(row) for row in expected]

    def test_lead_off_runs_come_whole(self) -> None:
        """A run keeps its channels and its reasons, one of a newer device among them."""
        runs = [
            sample_pb.LeadOffRun(
                first_sequence=11, frame_count=1, channel_indexes=[0, 1], reasons=[2, 3, 77]
            )
        ]
        (run,) = _convert.sample_block(block_pb(lead_off_runs=runs), make_session()).lead_off_runs
        reasons = (LeadOffReason.LO_MINUS, LeadOffReason.RAILED, LeadOffReason.UNRECOGNIZED)
        assert run == LeadOffRun(11, 1, (0, 1), reasons)

    def test_counts_from_the_wire_cannot_be_changed(self) -> None:
        """A block is immutable down to its counts."""
        block = _convert.sample_block(block_pb(), make_session())
        with pytest.raises(ValueError, match="read-only"):
            block.counts[0, 0] = 9


class TestSession:
    @given(st.integers(0, 2**33), st.sampled_from([250.0, 360.0, 128.0, 333.3]))
    def test_frame_times_follow_the_grid(self, sequence: int, rate_hz: float) -> None:
        """Frame k is at t0 + k / rate, to the nanosecond, however large k is."""
        nanos = make_session(rate_hz).monotonic_nanos(sequence) - 5_000
        numerator, denominator = rate_hz.as_integer_ratio()
        error = abs(nanos * numerator - sequence * 10**9 * denominator)
        assert 2 * error <= numerator

    def test_wall_clock_is_the_offset_away(self) -> None:
        """UTC is monotonic time plus the offset."""
        estimate = UtcEstimate(1_767_225_600_000_000_000, 0)
        expected = datetime.datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=datetime.UTC)
        assert estimate.time(1_500_000_000) == expected

    def test_channels_are_found_by_name(self) -> None:
        """Named channels are found in the order asked; without names it is the first."""
        session = make_session()
        assert (session.index(["A1", "A0"]), session.index([])) == ([1, 0], [0])
        with pytest.raises(LookupError, match="no channel 'A7'; the channels are A0, A1"):
            session.index(["A7"])


def test_a_block_is_shown_in_one_line() -> None:
    """The repr of a block of any length is one line that says which frames it holds."""
    block = SampleBlock(make_session(), 10, 5_000, np.zeros((5000, 2), np.uint8))
    assert repr(block) == (
        "<SampleBlock: frames 10 to 5009 of A0, A1 in session 3, 0 with an electrode off, 0 late>"
    )
