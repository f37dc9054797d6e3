"""A capture: one stretch of one session as arrays, in memory or in a .npz file.

How captures of several devices align, on this computer's wall clock:

    frame k is at    start_monotonic_nanos + round(k * 1e9 / rate_hz)           (device, monotonic)
    its count of a channel was true at    frame + capture_offset_nanos          (device, monotonic)
    which is    count + clock offset                                           (this computer, UTC)

where the clock offset is that of `clock_offsets`, in between on a straight line.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from holter_host import _capture_file, _files, types
from holter_host.clock import ClockOffset
from holter_host.errors import BadInputError

_Run = TypeVar("_Run", types.Gap, types.LeadOffRun)


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class Capture:
    """Consecutive frames of one session.

    Attributes:
        session: the session; its grid gives the time of each frame.
        first_sequence: sequence of the first frame.
        counts: raw counts, uint8 or int16, shape (frames, channels); 0 where there is none.
        valid: whether a frame has counts, shape (frames,).
        lead_off_runs: frames with an electrode off, of which channels, and why.
        gaps: the frames that are missing, and why.
        clock_offsets: how this computer's clock and the device's differed, in order of time; empty
            where that is unknown.
    """

    session: types.Session
    first_sequence: int
    counts: types.Counts
    valid: npt.NDArray[np.bool_]
    lead_off_runs: tuple[types.LeadOffRun, ...] = ()
    gaps: tuple[types.Gap, ...] = ()
    clock_offsets: tuple[ClockOffset, ...] = ()

    def __len__(self) -> int:
        return len(self.valid)

    def __repr__(self) -> str:
        names = ", ".join(channel.name for channel in self.session.channels)
        return (
            f"<Capture of {self.seconds:g} s: {len(self)} frames of {names} at "
            f"{self.session.rate_hz:g} Hz from sequence {self.first_sequence} of session "
            f"{self.session.session_id}, {(~self.valid).sum()} missing, "
            f"{self.lead_off().sum()} with an electrode off>"
        )

    @property
    def seconds(self) -> float:
        """How long the capture is."""
        return len(self) / self.session.rate_hz

    def lead_off(self) -> npt.NDArray[np.bool_]:
        """Whether an electrode of any channel was off, shape (frames,)."""
        return np.asarray(self.channel_lead_off().any(axis=1))

    def channel_lead_off(self) -> npt.NDArray[np.bool_]:
        """Whether an electrode of a channel was off, shape (frames, channels)."""
        return types.lead_off_mask(self.lead_off_runs, self.first_sequence, *self.counts.shape)

    def host_time_nanos(self) -> npt.NDArray[np.int64]:
        """When each count was true, by this computer's UTC, shape (frames, channels).

        Nanoseconds since 1970, as wrong as the `uncertainty_nanos` of `clock_offsets` says; far
        from their times, as in a capture of the past, the drift of the two clocks comes to it.

        Raises:
            BadInputError: there is no clock offset.
        """
        if not self.clock_offsets:
            raise BadInputError(
                "The capture does not know how this computer's clock and the device's differed; "
                "the device's own estimate is session.time(sequence)."
            )
        start = self.session.monotonic_nanos(self.first_sequence)
        # Relative to the first frame, so that a float64 is good to a fraction of a nanosecond.
        frames = np.arange(len(self)) * (1e9 / self.session.rate_hz)
        times = [offset.monotonic_time_nanos - start for offset in self.clock_offsets]
        base = self.clock_offsets[0].offset_nanos
        drift = [offset.offset_nanos - base for offset in self.clock_offsets]
        aligned = np.rint(frames + np.interp(frames, times, drift)).astype(np.int64)
        delays = [channel.capture_offset_nanos for channel in self.session.channels]
        return np.asarray(aligned[:, None] + np.array(delays, dtype=np.int64) + (start + base))

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
        first = self.first_sequence + start
        last = first + len(self.valid[part])
        return Capture(
            self.session,
            first,
            self.counts[part],
            self.valid[part],
            _cut(self.lead_off_runs, first, last),
            _cut(self.gaps, first, last),
            self.clock_offsets,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .npz file, all of it or nothing.

        Raises:
            BadInputError: the file cannot be written there.
            HolterError: the disk is full, or fails.
        """
        with _files.replacing(Path(path)) as file:
            np.savez_compressed(file, **_capture_file.arrays(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Capture:
        """Read a .npz file that `save` wrote.

        Raises:
            BadInputError: there is no such file, or it is no capture.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return Capture(**_capture_file.parts(arrays))
        except OSError as error:
            raise BadInputError(f"Cannot read {path}: {error.strerror or error}.") from error
        except Exception as error:  # a damaged archive raises a dozen types, none documented
            # Only our own ValueErrors are words for people; NumPy's speak of pickles.
            reason = f" ({error})" if isinstance(error, _capture_file.PartError) else ""
            raise BadInputError(
                f"{path} is not a capture of Holter's{reason}; make one with: "
                "holter capture -o ecg.npz"
            ) from error

    def _masked(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        values[~self.valid] = np.nan
        return values


def _cut(runs: Iterable[_Run], first: int, last: int) -> tuple[_Run, ...]:
    """What of some runs of frames lies in the frames from `first` to before `last`."""
    return tuple(
        dataclasses.replace(
            run,
            first_sequence=max(run.first_sequence, first),
            frame_count=min(run.next_sequence, last) - max(run.first_sequence, first),
        )
        for run in runs
        if run.first_sequence < last and first < run.next_sequence
    )
