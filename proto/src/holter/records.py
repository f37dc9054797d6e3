"""WFDB records as the front end and an 8-bit converter would see them.

A device that replays a record and a host that judges a model on it read it here, so that both have
the same counts. wfdb (and scipy, which comes with it) is imported when a record is read; numpy and
wfdb are the extras' of who uses this module, not holter-proto's.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from holter.frontend import FULL_SCALE_COUNTS, FrontEnd

PREFERRED_LEAD: Final = "MLII"
_MILLIVOLTS: Final = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6, "v": 1e3}


class RecordError(ValueError):
    """Error raised when a record cannot be read or has not what is wanted; a sentence, no stop.

    Attributes:
        lead: the lead that is missing, or "".
    """

    def __init__(self, message: str, lead: str = "") -> None:
        super().__init__(message)
        self.lead = lead


def import_wfdb() -> Any:
    """The module wfdb, without its warnings of its own use of pandas.

    Raises:
        ImportError: it is not installed.
    """
    with warnings.catch_warnings(action="ignore"):
        import wfdb
    return wfdb


def without_suffix(path: Path) -> Path:
    """The name of a record whose header may have been named."""
    return path.with_suffix("") if path.suffix == ".hea" else path


def read_record(path: Path, *, header_only: bool = False) -> Any:
    """A record as wfdb reads it.

    Args:
        path: without an extension.
        header_only: read no samples.

    Raises:
        ImportError: wfdb is not installed.
        RecordError: there is none, or it cannot be read.
    """
    wfdb = import_wfdb()
    header = path.with_name(path.name + ".hea")
    if not header.is_file():
        raise RecordError(
            f"there is no record {path}: {header} is missing; give the path of a WFDB record"
            " without an extension"
        )
    read = wfdb.rdheader if header_only else wfdb.rdrecord
    try:
        with warnings.catch_warnings(action="ignore"):
            record = read(str(path.absolute()))
    except Exception as error:  # wfdb raises whatever its parsing stumbles on
        raise RecordError(f"record {path} cannot be read: {error}") from error
    if not record.n_sig or (not header_only and (record.p_signal is None or not record.sig_len)):
        raise RecordError(f"record {path} has no signals")
    return record


def default_lead(names: Sequence[str]) -> str:
    """MLII where there is one, else the first."""
    return PREFERRED_LEAD if PREFERRED_LEAD in names else names[0]


def lead_column(record: Any, lead: str, path: Path) -> int:
    """The column of a lead.

    Raises:
        RecordError: the record has no such lead, or it is no voltage.
    """
    names = list(record.sig_name)
    if lead not in names:
        raise RecordError(
            f"record {path} has no lead {lead!r}; its leads are {', '.join(map(str, names))}", lead
        )
    column = names.index(lead)
    unit = str(record.units[column])
    if unit.lower() not in _MILLIVOLTS:
        raise RecordError(f"lead {lead} of {path} is in {unit!r}, not in volts", lead)
    return column


def lead_millivolts(record: Any, column: int) -> npt.NDArray[np.float64]:
    """One lead in mV, shape (frames,), NaN where the record has no valid sample."""
    factor = _MILLIVOLTS[str(record.units[column]).lower()]
    return np.asarray(record.p_signal[:, column] * factor, dtype=np.float64)


def lead_counts(
    millivolts: npt.NDArray[np.float64], source_hz: float, rate_hz: float, front_end: FrontEnd
) -> npt.NDArray[np.uint8]:
    """What the converter reads of a lead.

    Args:
        millivolts: shape (frames,), NaN where there is no valid sample.
        source_hz: their rate.
        rate_hz: the converter's.
        front_end: what is before it.

    Returns:
        U8 counts: band-limited, brought to `rate_hz`, converted. Where there is no valid sample the
        input rails at 255, as with an electrode off.
    """
    invalid = np.isnan(millivolts)
    signal = front_end.band_limit(filled(millivolts), source_hz)
    counts = front_end.counts(resampled(signal, source_hz, rate_hz))
    counts[held(invalid, len(counts), source_hz, rate_hz)] = FULL_SCALE_COUNTS - 1
    return counts


def filled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values with straight lines where they are NaN; all 0 where none is valid."""
    invalid = np.isnan(values)
    if not invalid.any():
        return values
    if invalid.all():
        return np.zeros_like(values)
    places = np.arange(len(values))
    return np.interp(places, places[~invalid], values[~invalid])


def resampled(
    values: npt.NDArray[np.float64], source_hz: float, rate_hz: float
) -> npt.NDArray[np.float64]:
    """Values at another rate, by a polyphase filter."""
    if source_hz == rate_hz:
        return values
    from scipy.signal import resample_poly

    ratio = Fraction(rate_hz / source_hz).limit_denominator(10_000)
    return np.asarray(resample_poly(values, ratio.numerator, ratio.denominator), dtype=np.float64)


def held(
    flags: npt.NDArray[np.bool_], count: int, source_hz: float, rate_hz: float
) -> npt.NDArray[np.bool_]:
    """Flags of a signal's samples for `count` samples at another rate: each its latest one's."""
    times = np.arange(count) * (source_hz / rate_hz)
    return flags[np.minimum(times.astype(np.int64), len(flags) - 1)]
