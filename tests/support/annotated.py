"""Small annotated WFDB records, written by wfdb, and a model that tells their rhythms apart.

A record's lead has a positive spike at every N beat, a negative one at every V beat, and next to
nothing at an S beat, so that the mean of a window of one kind of beat says which.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from holter.records import import_wfdb
from support.tflite_models import holter_model, linear, make_spec

RATE_HZ = 360
WINDOW = 720
SPIKES = {"N": 1.0, "V": -1.0, "S": 0.05}

Beats = Sequence[tuple[float, str]]


def beats_of(rhythm: str, seconds_each: int = 2) -> list[tuple[float, str]]:
    """A beat at 0.5 and 1.5 s of every two seconds, both of the symbol that `rhythm` has there."""
    return [
        (seconds_each * place + offset, symbol)
        for place, symbol in enumerate(rhythm)
        for offset in (0.5, 1.5)
    ]


def write_record(
    folder: Path,
    name: str,
    rhythm: str = "NVSN",
    *,
    rate_hz: int = RATE_HZ,
    leads: Mapping[str, float] | Sequence[str] = ("MLII",),
    unit: str = "mV",
    extra: Beats = (),
    annotations: str | None = "atr",
    missing: Sequence[tuple[float, float]] = (),
) -> Path:
    """Write a record of two seconds for each symbol of `rhythm`; its path without an extension.

    Args:
        folder: where; made if it is not there.
        name: of the record.
        rhythm: symbols of beats; " " is two seconds without a beat.
        rate_hz: frames a second.
        leads: names; the signal is the same on all.
        unit: of the signal; the numbers are those of mV.
        extra: further annotations as (second, symbol).
        annotations: extension of the beats; None for none.
        missing: stretches without a valid sample, in seconds.
    """
    wfdb = import_wfdb()
    folder.mkdir(parents=True, exist_ok=True)
    beats = [beat for beat in beats_of(rhythm) if beat[1] != " "]
    signal = _signal(beats, 2 * len(rhythm), rate_hz)
    times = np.arange(len(signal)) / rate_hz
    for begin, end in missing:
        signal[(times >= begin) & (times < end)] = np.nan
    names = list(leads)
    with warnings.catch_warnings(action="ignore"):
        wfdb.wrsamp(
            name,
            rate_hz,
            [unit] * len(names),
            names,
            p_signal=np.stack([signal] * len(names), axis=1),
            fmt=["16"] * len(names),
            adc_gain=[200.0] * len(names),
            baseline=[0] * len(names),
            write_dir=str(folder),
        )
        notes = sorted([*beats, *extra])
        if annotations:
            samples = np.array([round(second * rate_hz) for second, _ in notes])
            symbols = [symbol for _, symbol in notes]
            wfdb.wrann(name, annotations, samples, symbols, write_dir=str(folder))
    return folder / name


def _signal(beats: Beats, seconds: float, rate_hz: int) -> npt.NDArray[np.float64]:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    total = 0.01 * np.sin(2 * np.pi * 9 * times)
    for second, symbol in beats:
        total += SPIKES.get(symbol, 0.5) * np.exp(-0.5 * ((times - second) / 0.03) ** 2)
    return total


def spike_model(labels: Sequence[str] = ("N", "S", "V"), hop: int = WINDOW) -> bytes:
    """A model of millivolts, windows of 2 s: N by spikes up, V by spikes down, S by neither.

    Its scores are logits: 12 times what is seen at the beats' places, its opposite, and 3.
    """
    spec = make_spec(
        name="spikes",
        window=WINDOW,
        hop=hop,
        input_shape=(1, WINDOW, 1),
        unit="millivolts",
        labels=tuple(labels),
    )
    up = np.zeros(WINDOW)
    places = np.array([round(0.5 * RATE_HZ), round(1.5 * RATE_HZ)])
    for place in places:
        up[place - 10 : place + 10] = 0.6
    weights = np.stack([up, 0 * up, -up]).astype("f4")
    bias = np.array([0, 3, 0], "f4")
    golden = np.random.default_rng(5).normal(0, 1, (8, WINDOW, 1)).astype("f4")
    scores = golden.reshape(8, -1) @ weights.T + bias
    tflite = linear(weights, bias, input_shape=spec.input_shape)
    return holter_model(tflite, spec, golden, scores)
