"""Sets of windows on which a conversion is calibrated or judged: from files, or synthetic.

What a path may be:

    .npz       a capture of Holter's: its counts through the maps of the channels it was taken from
    .hea       a WFDB record, named with or without that ending: its signals in millivolts, for a
               model of counts or volts through the front end of `golden`. Needs the extra [wfdb]
    .npy       windows in the model's unit, shape (count, window) or (count, window, channels)
    directory  all of these in it, by name

Recordings are cut into windows without overlap, from the first frame on; windows with a gap, a
missing value or an electrode off are left out. Their rate must be the model's: resampling filters,
and the choice of a filter is not ours. Channels that the model names are taken by name; those of a
recording that has none of them, in its order. Nothing is drawn at random: of more windows than are
wanted, evenly spaced ones are taken, so the same files give the same set.
"""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from holter.spec import Unit
from holter_host.conversion.golden import front_end, synthetic_windows
from holter_host.errors import BadInputError, ConversionError

_ENDINGS: Final = (".npz", ".hea", ".npy")
_VOLTS: Final = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "µV": 1e-3, "nV": 1e-6}

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the windows of a set are like.

    Attributes:
        unit: of their values.
        rate_hz: sampling rate, in Hz.
        window: frames in each.
        channels: names of the model's channels; empty for one channel, whichever comes first.
        count: how many at most.
    """

    unit: Unit
    rate_hz: float
    window: int
    channels: tuple[str, ...]
    count: int

    @property
    def channel_count(self) -> int:
        """Channels in a frame."""
        return max(1, len(self.channels))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class WindowSet:
    """Windows, and where they come from.

    Attributes:
        source: "synthetic" or "recordings".
        windows: float32, shape (count, window, channel_count), in the model's unit.
        file_count: how many files were read; 0 for a synthetic set.
        found: how many windows there were in them.
    """

    source: str
    windows: Array
    file_count: int
    found: int

    def facts(self) -> dict[str, Any]:
        """What report.json says of the set; no name of a file, which may be a person's."""
        return {
            "source": self.source,
            "file_count": self.file_count,
            "windows_found": self.found,
            "window_count": len(self.windows),
            "sha256": hashlib.sha256(self.windows.astype("<f4").tobytes()).hexdigest(),
        }


def synthetic_set(wanted: Wanted, seed: int) -> WindowSet:
    """Synthetic ECG, `wanted.count` windows of it."""
    shape = (wanted.window, wanted.channel_count, wanted.count)
    windows = synthetic_windows(wanted.unit, wanted.rate_hz, *shape, seed)
    return WindowSet("synthetic", windows, 0, len(windows))


def read_set(
    paths: Sequence[str], wanted: Wanted, tell: Callable[[str], None] = lambda text: None
) -> WindowSet:
    """The windows of files.

    Args:
        paths: files and directories, as the module says.
        wanted: what they are to be like.
        tell: is given a sentence for each file that is read.

    Raises:
        BadInputError: a path cannot be read, does not fit the model, or there is no window.
        ConversionError: there is a WFDB record and nothing to read it with.
    """
    files = list(dict.fromkeys(file for path in paths for file in _files(Path(path))))
    parts = []
    for index, file in enumerate(files):
        tell(f"Reading recordings: file {index + 1} of {len(files)}")
        parts.append(_READERS[file.suffix](file, wanted))
    found = sum(map(len, parts))
    if not found:
        raise BadInputError(
            f"There is no whole window of {wanted.window} frames without a gap in "
            f"{', '.join(paths)}; give longer recordings."
        )
    chosen = np.linspace(0, found - 1, min(found, wanted.count)).round().astype(int)
    return WindowSet("recordings", np.concatenate(parts)[chosen], len(files), found)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.suffix in _ENDINGS)
        if not inside:
            raise BadInputError(
                f"{path} holds no capture (.npz), WFDB record (.hea) or windows (.npy)."
            )
        yield from inside
        return
    record = path if path.suffix == ".hea" else path.with_name(f"{path.name}.hea")
    if path.suffix not in _ENDINGS and record.is_file():
        path = record
    if not path.is_file():
        raise BadInputError(f"{path} does not exist.")
    if path.suffix not in _ENDINGS:
        raise BadInputError(
            f"{path} is neither a capture (.npz), a WFDB record (.hea) nor windows (.npy)."
        )
    yield path


def _from_capture(path: Path, wanted: Wanted) -> Array:
    from holter_host.capture import Capture

    capture = Capture.load(path)
    session = capture.session
    _check_rate(path, session.rate_hz, wanted)
    columns = _columns(path, [channel.name for channel in session.channels], wanted)
    values: npt.NDArray[Any] = capture.counts.astype(np.float64)
    if wanted.unit != "counts":
        values = capture.volts() if wanted.unit == "volts" else capture.millivolts()
    values[~capture.valid] = np.nan
    values = values[:, columns]
    values[capture.channel_lead_off()[:, columns].any(axis=1)] = np.nan
    return _cut(values, wanted)


def _from_record(path: Path, wanted: Wanted) -> Array:
    try:
        with warnings.catch_warnings():  # of its own use of pandas
            warnings.simplefilter("ignore")
            import wfdb

            record = wfdb.rdrecord(str(path.with_suffix("")))
    except ImportError as error:
        raise ConversionError(
            f"Reading {path} needs wfdb; install it with: pip install 'holter-host[wfdb]'"
        ) from error
    except Exception as error:  # wfdb raises whatever its parsing meets
        raise BadInputError(f"{path} cannot be read as a WFDB record: {error}.") from error
    if record.p_signal is None:
        raise BadInputError(f"{path} has no signal of one rate; convert it to one first.")
    _check_rate(path, float(record.fs), wanted)
    columns = _columns(path, list(record.sig_name), wanted)
    for column in columns:
        if record.units[column] not in _VOLTS:
            raise BadInputError(
                f"The signal {record.sig_name[column]} of {path} is in {record.units[column]}, "
                "not volts; name other channels with --channels."
            )
    scale = np.array([_VOLTS[record.units[column]] for column in columns])
    windows = _cut(record.p_signal[:, columns] * scale, wanted)
    if wanted.unit == "millivolts":
        return windows
    return front_end(windows.astype(np.float64), wanted.unit)


def _from_windows(path: Path, wanted: Wanted) -> Array:
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file raises several types, none documented
        raise BadInputError(f"{path} is not a .npy file of numbers.") from error
    shape = (wanted.window, wanted.channel_count)
    shapes = [shape, shape[:1]] if wanted.channel_count == 1 else [shape]
    if not isinstance(values, np.ndarray) or values.shape[1:] not in shapes:
        raise BadInputError(
            f"{path} has the shape {list(np.shape(values))}, not windows [count, {shape[0]}, "
            f"{shape[1]}] in {wanted.unit} as the model takes them."
        )
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise BadInputError(f"{path} holds values that are not finite numbers.")
    return values.astype(np.float32).reshape(-1, *shape)


_READERS: Final = {".npz": _from_capture, ".hea": _from_record, ".npy": _from_windows}


def _check_rate(path: Path, rate_hz: float, wanted: Wanted) -> None:
    if abs(rate_hz - wanted.rate_hz) > 1e-6 * wanted.rate_hz:
        raise BadInputError(
            f"{path} has {rate_hz:g} Hz and the model takes {wanted.rate_hz:g} Hz; resample it "
            "first, with a filter that suits the model."
        )


def _columns(path: Path, names: list[str], wanted: Wanted) -> list[int]:
    """Where the model's channels stand in a frame of a recording."""
    if wanted.channels and set(wanted.channels) <= set(names):
        return [names.index(channel) for channel in wanted.channels]
    if set(wanted.channels) & set(names) or len(names) < wanted.channel_count:
        raise BadInputError(
            f"{path} has {', '.join(names)}, and the model takes {', '.join(wanted.channels)}."
        )
    return list(range(wanted.channel_count))


def _cut(values: npt.NDArray[Any], wanted: Wanted) -> Array:
    """The whole windows without a missing value, of values of shape (frames, channels)."""
    count = len(values) // wanted.window
    shape = (count, wanted.window, wanted.channel_count)
    windows = values[: count * wanted.window].reshape(shape)
    whole: Array = windows[np.isfinite(windows).all(axis=(1, 2))].astype(np.float32)
    return whole
