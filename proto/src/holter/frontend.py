"""The analogue front end: an AD8232 in its cardiac-monitor circuit, before an 8-bit converter.

The chain and its numbers (AD8232 data sheet, "Cardiac Monitor" circuit; PCF8591 data sheet):

    electrodes -> x 100 -> 2-pole high pass 0.5 Hz -> x 11, 2-pole low pass 40 Hz -> + mid supply
               -> volts -> floor(volts * 256 / Vref), clipped to 0..255

With the defaults 1 mV of ECG is 1.1 V, about 85 counts, and one count is 11.7 uV.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

FULL_SCALE_COUNTS = 256

_Factor = float | npt.NDArray[np.float64]  # of one channel, or of each


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FrontEnd:
    """Linear model of the front end and the converter behind it.

    Attributes:
        reference_volts: Vref of the converter, in volts.
        gain: volts at the converter for a volt at the electrodes.
        baseline_volts: volts at the converter for an ECG of 0 mV (mid supply).
        low_hz: corner of the 2-pole Butterworth high pass, in Hz.
        high_hz: corner of the 2-pole Butterworth low pass, in Hz.
    """

    reference_volts: float = 3.3
    gain: float = 1100.0
    baseline_volts: float = 1.65
    low_hz: float = 0.5
    high_hz: float = 40.0

    def band_limit(
        self, millivolts: npt.NDArray[np.floating], rate_hz: float
    ) -> npt.NDArray[np.float64]:
        """Filter a whole recording as the circuit would.

        Args:
            millivolts: ECG at the electrodes, shape (frames,), in mV; no NaN.
            rate_hz: its sampling rate, in Hz.

        Returns:
            Shape (frames,), in mV: the analogue transfer functions
            s^2 / (s^2 + sqrt(2) w s + w^2) at `low_hz` and w^2 / (s^2 + sqrt(2) w s + w^2) at
            `high_hz`, applied in the frequency domain with both ends padded by their own value.
        """
        values = np.asarray(millivolts, dtype=np.float64)
        pad = math.ceil(4 * rate_hz / self.low_hz)
        # Of a length with no large prime factor a transform takes a tenth of the time.
        longer = _fast_length(len(values) + 2 * pad) - len(values) - pad
        padded = np.pad(values, (pad, longer), mode="edge")
        s = 2j * np.pi * np.fft.rfftfreq(len(padded), 1 / rate_hz)
        high_pass = s**2 / _second_order(s, self.low_hz)
        low_pass = (2 * np.pi * self.high_hz) ** 2 / _second_order(s, self.high_hz)
        spectrum = np.fft.rfft(padded) * high_pass * low_pass
        return np.fft.irfft(spectrum, len(padded))[pad : pad + len(values)]

    def affine(self, unit: str) -> tuple[float, float]:
        """The map of a count to "counts", "volts" or "millivolts", as `linear_map`."""
        volts_per_count = self.reference_volts / FULL_SCALE_COUNTS
        return linear_map(unit, volts_per_count, 0.0, self.gain, self.baseline_volts)

    def counts(self, millivolts: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """What the converter reads for an ECG in mV, any shape: U8 counts of the same shape."""
        volts = np.asarray(millivolts) / 1000 * self.gain + self.baseline_volts
        counts = np.floor(volts * (FULL_SCALE_COUNTS / self.reference_volts))
        return np.clip(counts, 0, FULL_SCALE_COUNTS - 1).astype(np.uint8)

    def millivolts(self, counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """The ECG in mV for counts, any shape: (counts * Vref / 256 - baseline) / gain * 1000."""
        volts = np.asarray(counts) * (self.reference_volts / FULL_SCALE_COUNTS)
        return (volts - self.baseline_volts) / self.gain * 1000


def _fast_length(least: int) -> int:
    """The smallest 2^a * 3^b * 5^c that is not below `least`."""
    best = 1 << (least - 1).bit_length()
    fives = 1
    while fives < best:
        odd = fives
        while odd < best:
            best = min(best, odd << (-(-least // odd) - 1).bit_length())
            odd *= 3
        fives *= 5
    return best


def linear_map(
    unit: str, volts_per_count: float, offset_volts: float, gain: float, baseline_volts: float
) -> tuple[float, float]:
    """The map of a count to "counts", "volts" or "millivolts" as (scale, offset).

    volts = count * volts_per_count + offset_volts; millivolts = (volts - baseline) / gain * 1000.
    """
    if unit == "counts":
        return 1.0, 0.0
    if unit == "volts":
        return volts_per_count, offset_volts
    to_millivolts = 1000 / gain
    return volts_per_count * to_millivolts, (offset_volts - baseline_volts) * to_millivolts


def in_unit(
    counts: npt.NDArray[np.generic], scale: _Factor, offset: _Factor
) -> npt.NDArray[np.float32]:
    """scale * counts + offset, for each channel, of counts of shape (frames, channels).

    In double precision and then rounded once, so that host and device agree to the bit.
    """
    values = counts.astype(np.float64)
    values *= scale
    values += offset
    return values.astype(np.float32)


def _second_order(
    s: npt.NDArray[np.complexfloating], corner_hz: float
) -> npt.NDArray[np.complex128]:
    omega = 2 * np.pi * corner_hz
    return np.asarray(s**2 + math.sqrt(2) * omega * s + omega**2, dtype=np.complex128)
