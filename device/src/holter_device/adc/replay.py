"""A WFDB record, played through the front end to an 8-bit converter.

How a record is read and seen is `holter.records`; what it needs comes with the extra
holter-device[replay].
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from holter import records

from ..errors import RecordError
from . import AdcInfo
from .table import CountsTable, TableAdc


class ReplayAdc(TableAdc):
    """A record as a converter; a BlockAdc. Frame 0 is the record's first sample.

    The leads are band-limited as the front end does, brought to the config's rate, and converted.
    Where the record has no valid sample the input rails at 255, as with an electrode off.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._path = records.without_suffix(Path(settings["replay"]))
        self._leads = tuple(settings["replay_leads"])
        self._loop = bool(settings["loop"])

    def open(self) -> AdcInfo:
        """Read the whole record.

        Raises:
            RecordError: it cannot be read, or has not these leads.
        """
        try:
            return self._open()
        except ImportError as error:
            raise RecordError(
                "replaying a record needs wfdb; install it with: pip install"
                " 'holter-device[replay]'"
            ) from error
        except records.RecordError as error:
            lead = {"lead": error.lead} if error.lead else {}
            raise RecordError(str(error), record=self._path, **lead) from error

    def _open(self) -> AdcInfo:
        record = records.read_record(self._path)
        leads = self._leads or (records.default_lead(record.sig_name),)
        columns = [records.lead_column(record, lead, self._path) for lead in leads]
        source_hz = float(record.fs)
        counts = [
            records.lead_counts(
                records.lead_millivolts(record, column), source_hz, self._rate_hz, self._front_end
            )
            for column in columns
        ]
        self._table = CountsTable(np.stack(counts, axis=1), loop=self._loop)
        resampled = f", resampled to {self._rate_hz:g} Hz" if source_hz != self._rate_hz else ""
        return self._info(
            "replay",
            f"record {self._path.name}, {', '.join(leads)}, {record.sig_len / source_hz:.0f} s"
            f" at {source_hz:g} Hz{resampled}, through an AD8232 model",
            leads,
        )
