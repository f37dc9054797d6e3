"""A WFDB record, played through the front end to an 8-bit converter.

wfdb is imported here and nowhere else; what it and pandas warn of is not our user's to mend. It
comes with the extra holter-device[replay].
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RecordError
from ..frontend import FULL_SCALE_COUNTS
from . import AdcInfo
from .table import CountsTable, TableAdc

_PREFERRED_LEAD = "MLII"
_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3}


class ReplayAdc(TableAdc):
    """A record as a converter; a BlockAdc. Frame 0 is the record's first sample.

    The leads are band-limited as the front end does, brought to the config's rate, and converted.
    Where the record has no valid sample the input rails at 255, as with an electrode off.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._path = Path(settings["replay"])
        if self._path.suffix == ".hea":
            self._path = self._path.with_suffix("")
        self._leads = tuple(settings["replay_leads"])
        self._loop = bool(settings["loop"])

    def open(self) -> AdcInfo:
        """Read the whole record.

        Raises:
            RecordError: it cannot be read, or has not these leads.
        """
        record = _read(self._path)
        leads = self._leads or (_default_lead(record.sig_name),)
        columns = [_column(record, lead, self._path) for lead in leads]
        counts = [self._counts(record, column) for column in columns]
        self._table = CountsTable(np.stack(counts, axis=1), loop=self._loop)
        source_hz = float(record.fs)
        resampled = f", resampled to {self._rate_hz:g} Hz" if source_hz != self._rate_hz else ""
        return self._info(
            "replay",
            f"record {self._path.name}, {', '.join(leads)}, {record.sig_len / source_hz:.0f} s"
            f" at {source_hz:g} Hz{resampled}, through an AD8232 model",
            leads,
        )

    def _counts(self, record: Any, column: int) -> npt.NDArray[np.uint8]:
        """One lead as U8 counts at the config's rate."""
        unit = str(record.units[column])
        if unit.lower() not in _MILLIVOLTS:
            raise RecordError(
                f"lead {record.sig_name[column]} of {self._path} is in {unit!r}, not in volts"
            )
        millivolts = record.p_signal[:, column] * _MILLIVOLTS[unit.lower()]
        invalid = np.isnan(millivolts)
        if invalid.any():
            millivolts = _filled(millivolts, invalid)
        source_hz = float(record.fs)
        signal = self._front_end.band_limit(millivolts, source_hz)
        counts = self._front_end.counts(_resample(signal, source_hz, self._rate_hz))
        times = np.arange(len(counts)) * (source_hz / self._rate_hz)
        counts[invalid[np.minimum(times.astype(np.int64), len(invalid) - 1)]] = (
            FULL_SCALE_COUNTS - 1
        )
        return counts


def _read(path: Path) -> Any:
    """The record, as wfdb reads it."""
    try:
        with warnings.catch_warnings(action="ignore"):
            import wfdb
    except ImportError as error:
        raise RecordError(
            "replaying a record needs wfdb; install it with: pip install 'holter-device[replay]'"
        ) from error
    header = path.with_name(path.name + ".hea")
    if not header.is_file():
        raise RecordError(
            f"there is no record {path}: {header} is missing; give the path of a WFDB record"
            " without an extension",
            record=path,
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            record = wfdb.rdrecord(str(path.absolute()))
    except Exception as error:  # wfdb raises whatever its parsing stumbles on
        raise RecordError(f"record {path} cannot be read: {error}", record=path) from error
    if record.p_signal is None or not len(record.p_signal):
        raise RecordError(f"record {path} has no signals", record=path)
    return record


def _default_lead(names: Sequence[str]) -> str:
    return _PREFERRED_LEAD if _PREFERRED_LEAD in names else names[0]


def _column(record: Any, lead: str, path: Path) -> int:
    names = list(record.sig_name)
    if lead not in names:
        raise RecordError(
            f"record {path} has no lead {lead!r}; its leads are {', '.join(names)}",
            record=path,
            lead=lead,
        )
    return names.index(lead)


def _filled(
    values: npt.NDArray[np.float64], invalid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Values with straight lines where they are invalid; all 0 where none is valid."""
    if invalid.all():
        return np.zeros_like(values)
    places = np.arange(len(values))
    return np.interp(places, places[~invalid], values[~invalid])


def _resample(
    values: npt.NDArray[np.float64], source_hz: float, rate_hz: float
) -> npt.NDArray[np.float64]:
    if source_hz == rate_hz:
        return values
    from scipy.signal import resample_poly  # comes with wfdb

    ratio = Fraction(rate_hz / source_hz).limit_denominator(10_000)
    resampled = resample_poly(values, ratio.numerator, ratio.denominator)
    return np.asarray(resampled, dtype=np.float64)
