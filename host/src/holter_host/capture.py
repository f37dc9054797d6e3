"""A capture: one stretch of one session as arrays, in memory or in a .npz file.

A .npz file holds these arrays and no pickles; `np.load` alone reads it:

    format                   "holter capture 1"
    counts                   uint8 or int16 (frames, channels); 0 where there is no count
    valid, lead_off          bool (frames,): whether there is a count; whether an electrode was off
    first_sequence           sequence of the first frame
    session_id, log_id, boot_id, rate_hz, start_monotonic_nanos
    utc_offset_nanos, utc_uncertainty_nanos
    channel_name, volts_per_count, offset_volts, gain, baseline_volts   one for each channel
    gap_first_sequence, gap_frame_count, gap_cause                      one for each gap
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from holter_host import _files, types
from holter_host.enums import GapCause, SampleFormat
from holter_host.errors import BadInputError, DeviceError
from holter_host.streams import SampleStream

FORMAT: Final = "holter capture 1"
MAX_FRAMES: Final = 2**28

_CHANNEL_KEYS: Final = ("volts_per_count", "offset_volts", "gain", "baseline_volts")

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class Capture:
    """Consecutive frames of one session.

    Attributes:
        session: the session; its grid gives the time of each frame.
        first_sequence: sequence of the first frame.
        counts: raw counts, uint8 or int16, shape (frames, channels); 0 where there is none.
        valid: whether a frame has counts, shape (frames,).
        lead_off: whether an electrode was off, shape (frames,).
        gaps: the frames that are missing, and why.
    """

    session: types.Session
    first_sequence: int
    counts: types.Counts
    valid: npt.NDArray[np.bool_]
    lead_off: npt.NDArray[np.bool_]
    gaps: tuple[types.Gap, ...] = ()

    def __len__(self) -> int:
        return len(self.valid)

    def __repr__(self) -> str:
        names = ", ".join(channel.name for channel in self.session.channels)
        return (
            f"<Capture of {self.seconds:g} s: {len(self)} frames of {names} at "
            f"{self.session.rate_hz:g} Hz from sequence {self.first_sequence} of session "
            f"{self.session.session_id}, {(~self.valid).sum()} missing, "
            f"{self.lead_off.sum()} with an electrode off>"
        )

    @property
    def seconds(self) -> float:
        """How long the capture is."""
        return len(self) / self.session.rate_hz

    def volts(self) -> npt.NDArray[np.float64]:
        """Volts at the converter, shape (frames, channels); NaN in gaps."""
        return self._masked(types.volts(self.counts, self.session.channels))

    def millivolts(self) -> npt.NDArray[np.float64]:
        """ECG in millivolts at the electrodes, shape (frames, channels); NaN in gaps."""
        return self._masked(types.millivolts(self.counts, self.session.channels))

    def windows(self, frame_count: int, hop: int) -> Iterator[Capture]:
        """Each whole window of `frame_count` frames, one every `hop` frames."""
        for start in range(0, len(self) - frame_count + 1, hop):
            yield self.window(start, frame_count)

    def window(self, start: int, frame_count: int) -> Capture:
        """The `frame_count` frames from index `start` on, cut at the end of the capture."""
        part = slice(start, start + frame_count)
        first, last = self.first_sequence + start, self.first_sequence + start + frame_count
        return Capture(
            self.session,
            first,
            self.counts[part],
            self.valid[part],
            self.lead_off[part],
            tuple(
                gap for gap in self.gaps if gap.first_sequence < last and first < gap.next_sequence
            ),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .npz file, all of it or nothing.

        Raises:
            BadInputError: the file cannot be written.
        """
        with _files.replacing(Path(path)) as file:
            np.savez_compressed(file, **self._arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Capture:
        """Read a .npz file that `save` wrote.

        Raises:
            BadInputError: there is no such file, or it is no capture.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return _from_arrays(arrays)
        except OSError as error:
            raise BadInputError(f"Cannot read {path}: {error.strerror or error}.") from error
        except Exception as error:  # a damaged archive raises a dozen types, none documented
            # Only our own ValueErrors are words for people; NumPy's speak of pickles.
            reason = f" ({error})" if isinstance(error, _PartError) else ""
            raise BadInputError(
                f"{path} is not a capture of Holter's{reason}; make one with: "
                "holter capture -o ecg.npz"
            ) from error

    def _masked(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        values[~self.valid] = np.nan
        return values

    def _arrays(self) -> dict[str, Any]:
        session = self.session
        return {
            "format": np.array(FORMAT),
            "counts": self.counts,
            "valid": self.valid,
            "lead_off": self.lead_off,
            "first_sequence": np.array(self.first_sequence),
            "session_id": np.array(session.session_id),
            "log_id": np.array(session.log_id),
            "boot_id": np.array(session.boot_id),
            "rate_hz": np.array(session.rate_hz),
            "start_monotonic_nanos": np.array(session.start_monotonic_nanos),
            "utc_offset_nanos": np.array(session.utc.offset_nanos),
            "utc_uncertainty_nanos": np.array(session.utc.uncertainty_nanos),
            "channel_name": np.array([channel.name for channel in session.channels]),
            **{
                key: np.array([getattr(channel, key) for channel in session.channels])
                for key in _CHANNEL_KEYS
            },
            "gap_first_sequence": np.array([g.first_sequence for g in self.gaps], dtype=np.int64),
            "gap_frame_count": np.array([g.frame_count for g in self.gaps], dtype=np.int64),
            "gap_cause": np.array([g.cause.value for g in self.gaps], dtype="U32"),
        }


async def read_capture(
    stream: SampleStream, seconds: float, progress: Progress | None = None
) -> Capture:
    """Read the next `seconds` of a stream; fewer where the session ends before.

    Raises:
        DeviceError: the stream gave no frame at all, or as SampleStream.
    """
    assembly: _Assembly | None = None
    async for event in stream:
        match event:
            case types.SessionStarted(session=session):
                if assembly is not None and assembly.filled:
                    break
                assembly = _Assembly(session, seconds)
            case types.SampleBlock() | types.Gap() if assembly is not None:
                assembly.add(event)
                if progress is not None:
                    progress(assembly.filled, assembly.wanted)
                if assembly.filled == assembly.wanted:
                    break
    if assembly is None or not assembly.filled:
        raise DeviceError("The stream ended before it gave a frame; there is nothing to capture.")
    return assembly.capture()


class _Assembly:
    """The arrays of a capture while they fill."""

    def __init__(self, session: types.Session, seconds: float) -> None:
        self.wanted = frame_count(seconds, session.rate_hz)
        self.filled = 0
        self._session = session
        self._first = -1
        wide = session.sample_format == SampleFormat.S16LE
        shape = (self.wanted, len(session.channels))
        self._counts: Any = np.zeros(shape, dtype=np.int16 if wide else np.uint8)
        self._valid = np.zeros(self.wanted, dtype=np.bool_)
        self._lead_off = np.zeros(self.wanted, dtype=np.bool_)
        self._gaps: list[types.Gap] = []

    def add(self, event: types.SampleBlock | types.Gap) -> None:
        """Put the frames of the event in their places; what is past the end is left out."""
        if self._first < 0:
            self._first = event.first_sequence
        start = event.first_sequence - self._first
        stop = min(event.next_sequence - self._first, self.wanted)
        if isinstance(event, types.Gap):
            part = dataclasses.replace(event, frame_count=stop - start)
            self._gaps.append(part)
        else:
            self._counts[start:stop] = event.counts[: stop - start]
            self._valid[start:stop] = True
            self._lead_off[start:stop] = event.lead_off()[: stop - start]
        self.filled = stop

    def capture(self) -> Capture:
        """What came so far."""
        return Capture(
            self._session,
            self._first,
            self._counts[: self.filled],
            self._valid[: self.filled],
            self._lead_off[: self.filled],
            tuple(self._gaps),
        )


def frame_count(seconds: float, rate_hz: float) -> int:
    """How many frames a capture of `seconds` has.

    Raises:
        BadInputError: that is none, or more than 2**28.
    """
    frames = seconds * rate_hz
    if not 0.5 <= frames <= MAX_FRAMES:
        raise BadInputError(
            f"A capture of {seconds:g} s at {rate_hz:g} Hz is not 1 to {MAX_FRAMES} frames."
        )
    return round(frames)


class _PartError(ValueError):
    """Error raised when a part of a file is not what a capture has; its words are for people."""


def _from_arrays(arrays: Mapping[str, Any]) -> Capture:
    if "format" not in arrays:
        raise _PartError("it has no format")
    if str(arrays["format"]) != FORMAT:
        raise _PartError(f"its format is {str(arrays['format'])!r}, not {FORMAT!r}")
    counts = arrays["counts"]
    names = [str(name) for name in arrays["channel_name"]]
    maps = zip(*(arrays[key].tolist() for key in _CHANNEL_KEYS), strict=True)
    channels = tuple(types.Channel(n, *values) for n, values in zip(names, maps, strict=True))
    if counts.dtype not in (np.uint8, np.int16) or counts.shape[1:] != (len(channels),):
        raise _PartError(f"its counts are {counts.dtype} of shape {list(counts.shape)}")
    masks = [arrays[key] for key in ("valid", "lead_off")]
    if any(mask.dtype != np.bool_ or mask.shape != counts.shape[:1] for mask in masks):
        raise _PartError("a mask does not fit its counts")
    session = types.Session(
        session_id=int(arrays["session_id"]),
        log_id=str(arrays["log_id"]),
        rate_hz=float(arrays["rate_hz"]),
        start_monotonic_nanos=int(arrays["start_monotonic_nanos"]),
        channels=channels,
        sample_format=SampleFormat.U8 if counts.dtype == np.uint8 else SampleFormat.S16LE,
        boot_id=str(arrays["boot_id"]),
        utc=types.UtcEstimate(
            int(arrays["utc_offset_nanos"]), int(arrays["utc_uncertainty_nanos"])
        ),
    )
    gaps = zip(
        arrays["gap_first_sequence"].tolist(),
        arrays["gap_frame_count"].tolist(),
        arrays["gap_cause"].tolist(),
        strict=True,
    )
    return Capture(
        session,
        int(arrays["first_sequence"]),
        counts,
        masks[0],
        masks[1],
        tuple(types.Gap(session.session_id, first, n, GapCause(c)) for first, n, c in gaps),
    )
