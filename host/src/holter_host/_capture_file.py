"""What a capture is in a .npz file: these arrays and no pickles, so that `np.load` alone reads it.

format                   "holter capture 2"
counts                   uint8 or int16 (frames, channels); 0 where there is no count
valid                    bool (frames,): whether there is a count
lead_off                 bool (frames, channels): whether an electrode was off
first_sequence           sequence of the first frame
session_id, log_id, boot_id, rate_hz, start_monotonic_nanos
utc_offset_nanos, utc_uncertainty_nanos, utc_synchronized
channel_name, volts_per_count, offset_volts, gain, baseline_volts, capture_offset_nanos
                         one for each channel
gap_first_sequence, gap_frame_count, gap_cause
                         one for each gap
lead_off_first_sequence, lead_off_frame_count, lead_off_channel_indexes, lead_off_reasons
                         one for each run; the last two as texts, "0,2" and "LO_PLUS,RAILED";
                         no index means all channels
clock_monotonic_time_nanos, clock_offset_nanos, clock_uncertainty_nanos,
clock_round_trip_nanos, clock_probe_count, clock_utc_offset_nanos,
clock_utc_uncertainty_nanos, clock_utc_synchronized
                         one for each measurement of the two clocks
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holter_host import types
from holter_host.clock import ClockOffset
from holter_host.enums import GapCause, LeadOffReason, SampleFormat

if TYPE_CHECKING:
    from holter_host.capture import Capture

FORMAT: Final = "holter capture 2"

_CHANNEL_KEYS: Final = (
    "volts_per_count",
    "offset_volts",
    "gain",
    "baseline_volts",
    "capture_offset_nanos",
)
_CLOCK_KEYS: Final = (
    "offset_nanos",
    "uncertainty_nanos",
    "round_trip_nanos",
    "monotonic_time_nanos",
    "probe_count",
)
_UTC_KEYS: Final = ("offset_nanos", "uncertainty_nanos", "synchronized")


class PartError(ValueError):
    """Error raised when a part of a file is not what a capture has; its words are for people."""


def arrays(capture: Capture) -> dict[str, Any]:
    """The arrays of a capture, by their names in the file."""
    session, runs, clocks = capture.session, capture.lead_off_runs, capture.clock_offsets
    return {
        "format": np.array(FORMAT),
        "counts": capture.counts,
        "valid": capture.valid,
        "lead_off": capture.channel_lead_off(),
        "first_sequence": np.array(capture.first_sequence),
        "session_id": np.array(session.session_id),
        "log_id": np.array(session.log_id),
        "boot_id": np.array(session.boot_id),
        "rate_hz": np.array(session.rate_hz),
        "start_monotonic_nanos": np.array(session.start_monotonic_nanos),
        **{f"utc_{key}": np.array(getattr(session.utc, key)) for key in _UTC_KEYS},
        "channel_name": np.array([channel.name for channel in session.channels]),
        **{
            key: np.array([getattr(channel, key) for channel in session.channels])
            for key in _CHANNEL_KEYS
        },
        "gap_first_sequence": _integers(gap.first_sequence for gap in capture.gaps),
        "gap_frame_count": _integers(gap.frame_count for gap in capture.gaps),
        "gap_cause": _texts(gap.cause.value for gap in capture.gaps),
        "lead_off_first_sequence": _integers(run.first_sequence for run in runs),
        "lead_off_frame_count": _integers(run.frame_count for run in runs),
        "lead_off_channel_indexes": _texts(",".join(map(str, r.channel_indexes)) for r in runs),
        "lead_off_reasons": _texts(",".join(run.reasons) for run in runs),
        **{f"clock_{key}": _integers(getattr(c, key) for c in clocks) for key in _CLOCK_KEYS},
        **{f"clock_utc_{key}": _integers(getattr(c.utc, key) for c in clocks) for key in _UTC_KEYS},
    }


def parts(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of the capture that a file holds.

    Raises:
        PartError: it holds none; any error of NumPy's where it is damaged.
    """
    if "format" not in stored:
        raise PartError("it has no format")
    if str(stored["format"]) != FORMAT:
        raise PartError(f"its format is {str(stored['format'])!r}, not {FORMAT!r}")
    counts, valid = stored["counts"], stored["valid"]
    channels = tuple(
        types.Channel(str(name), *values)
        for name, *values in _rows(stored, "channel_name", *_CHANNEL_KEYS)
    )
    if counts.dtype not in (np.uint8, np.int16) or counts.shape[1:] != (len(channels),):
        raise PartError(f"its counts are {counts.dtype} of shape {list(counts.shape)}")
    if valid.dtype != np.bool_ or valid.shape != counts.shape[:1]:
        raise PartError("a mask does not fit its counts")
    first, session = int(stored["first_sequence"]), _session(stored, channels)
    runs = _lead_off_runs(stored)
    if not np.array_equal(stored["lead_off"], types.lead_off_mask(runs, first, *counts.shape)):
        raise PartError("a mask does not fit its counts")
    return {
        "session": session,
        "first_sequence": first,
        "counts": counts,
        "valid": valid,
        "lead_off_runs": runs,
        "gaps": tuple(
            types.Gap(session.session_id, sequence, count, GapCause(cause))
            for sequence, count, cause in _rows(
                stored, "gap_first_sequence", "gap_frame_count", "gap_cause"
            )
        ),
        "clock_offsets": _clock_offsets(stored, session.boot_id),
    }


def _session(stored: Mapping[str, Any], channels: tuple[types.Channel, ...]) -> types.Session:
    narrow = stored["counts"].dtype == np.uint8
    return types.Session(
        session_id=int(stored["session_id"]),
        log_id=str(stored["log_id"]),
        rate_hz=float(stored["rate_hz"]),
        start_monotonic_nanos=int(stored["start_monotonic_nanos"]),
        channels=channels,
        sample_format=SampleFormat.U8 if narrow else SampleFormat.S16LE,
        boot_id=str(stored["boot_id"]),
        utc=types.UtcEstimate(
            int(stored["utc_offset_nanos"]),
            int(stored["utc_uncertainty_nanos"]),
            bool(stored["utc_synchronized"]),
        ),
    )


def _lead_off_runs(stored: Mapping[str, Any]) -> tuple[types.LeadOffRun, ...]:
    keys = ("first_sequence", "frame_count", "channel_indexes", "reasons")
    return tuple(
        types.LeadOffRun(
            first,
            count,
            tuple(int(index) for index in indexes.split(",") if index),
            tuple(LeadOffReason(reason) for reason in reasons.split(",") if reason),
        )
        for first, count, indexes, reasons in _rows(stored, *(f"lead_off_{key}" for key in keys))
    )


def _clock_offsets(stored: Mapping[str, Any], boot_id: str) -> tuple[ClockOffset, ...]:
    names = [f"clock_{key}" for key in _CLOCK_KEYS] + [f"clock_utc_{key}" for key in _UTC_KEYS]
    found = []
    for row in _rows(stored, *names):
        offset, uncertainty, round_trip, monotonic, probes, utc, utc_uncertainty, synchronized = row
        estimate = types.UtcEstimate(utc, utc_uncertainty, bool(synchronized))
        found.append(
            ClockOffset(offset, uncertainty, round_trip, monotonic, boot_id, estimate, probes)
        )
    return tuple(found)


def _rows(stored: Mapping[str, Any], *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(stored[name].tolist() for name in names), strict=True))


def _integers(values: Any) -> Any:
    return np.array(list(values), dtype=np.int64)


def _texts(values: Any) -> Any:
    found = list(values)
    return np.array(found) if found else np.array([], dtype="U1")
