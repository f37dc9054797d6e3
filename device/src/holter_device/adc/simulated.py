"""A simulated ECG, seen through the front end by an 8-bit converter.

The counts are a function of (kind, seed, rate, sequence) alone. They repeat after
ecg.PERIOD_SECONDS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from holter.frontend import FULL_SCALE_COUNTS, FrontEnd

from . import AdcInfo
from .ecg import synthesize
from .table import CountsTable, TableAdc

LEADS_OFF_EVERY_SECONDS = 20.0
LEADS_OFF_FIRST_SECOND = 8.0
LEADS_OFF_SECONDS = 3.0

# How large the heart is in the second, third and fourth channel, against the first.
_PROJECTIONS = (1.0, 0.7, 0.5, -0.6)


class SimulatedAdc(TableAdc):
    """The converter of a simulated patient; a BlockAdc.

    Each channel sees the same heart from another side, with noise of its own. "leads-off" is a
    sinus rhythm that rails at 255 for LEADS_OFF_SECONDS in every LEADS_OFF_EVERY_SECONDS.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._kind = settings["simulate"]
        self._seed = settings["seed"]
        self._names = tuple(settings["inputs"])

    def open(self) -> AdcInfo:
        """Compute one period. Nothing can fail."""
        self._table = CountsTable(
            simulated_counts(
                self._kind, self._seed, self._rate_hz, self._front_end, len(self._names)
            ),
            loop=True,
        )
        return self._info(
            "simulate",
            f"simulated ECG {self._kind}, seed {self._seed}, through an AD8232 model",
            self._names,
        )


def simulated_counts(
    kind: str, seed: int, rate_hz: float, front_end: FrontEnd, channel_count: int = 1
) -> npt.NDArray[np.uint8]:
    """One period of what the converter reads.

    Returns:
        U8 counts, shape (round(ecg.PERIOD_SECONDS * rate_hz), channel_count).
    """
    rhythm = "sinus" if kind == "leads-off" else kind
    heart = synthesize(rhythm, seed, rate_hz)
    noise = np.random.default_rng((seed, 1))
    counts = np.empty((len(heart), channel_count), np.uint8)
    for channel, projection in enumerate(_PROJECTIONS[:channel_count]):
        electrode = projection * heart
        if channel:
            electrode = electrode + noise.normal(0, 0.008, len(heart))
        counts[:, channel] = front_end.counts(_band_limit_ring(front_end, electrode, rate_hz))
    if kind == "leads-off":
        phase = np.arange(len(heart)) / rate_hz % LEADS_OFF_EVERY_SECONDS - LEADS_OFF_FIRST_SECOND
        counts[(phase >= 0) & (phase < LEADS_OFF_SECONDS)] = FULL_SCALE_COUNTS - 1
    return counts


def _band_limit_ring(
    front_end: FrontEnd, millivolts: npt.NDArray[np.float64], rate_hz: float
) -> npt.NDArray[np.float64]:
    """Filter a recording that joins onto itself: before its first sample comes its last one."""
    run_up = min(len(millivolts), math.ceil(4 * rate_hz / front_end.low_hz))
    unrolled = np.concatenate([millivolts[-run_up:], millivolts, millivolts[:run_up]])
    return front_end.band_limit(unrolled, rate_hz)[run_up : run_up + len(millivolts)]
