"""Ten-second windows of MIT-BIH records, as a device sees them.

What a window is in truth, and which windows a device would not classify, is what `holter evaluate`
says (holter_host.evaluation); here the beats keep more classes, because a network learns from each
beat.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path

import numpy as np

from holter import records
from holter.frontend import FrontEnd
from holter.spec import ModelSpec
from holter_host.evaluation.records import Reading, prepare
from holter_host.evaluation.truth import NO_TRUTH, N, Q, S, V, window_truth

LEAD = records.PREFERRED_LEAD
RATE_HZ, WINDOW = 360, 3600
LABELS = ("N", "S", "V")
STEP = 8  # frames in one place of the class map: 45 places a second
PLACES = WINDOW // STEP
WIDTH = 5  # places that one beat covers in the class map
# Classes of a beat, and the annotation symbols in them. Bundle branch block (L, R) is AAMI N, but
# looks like V, so it has a class of its own. NORMAL_SHAPED: N, L or R, but it is not known which.
NONE, NORMAL, SUPRA, VENTRICULAR, LEFT, RIGHT, UNKNOWN, NORMAL_SHAPED = range(8)
SYMBOLS = {
    **dict.fromkeys("Nej", NORMAL), **dict.fromkeys("AaJS", SUPRA),
    **dict.fromkeys("VEF", VENTRICULAR), "L": LEFT, "R": RIGHT, **dict.fromkeys("/fQ", UNKNOWN),
}  # fmt: skip
TRUTH_OF = np.array([NO_TRUTH, N, S, V, N, N, Q, N])  # AAMI class of each
SPEC = ModelSpec(  # what a device must know to cut the windows that are judged
    name="reference", rate_hz=RATE_HZ, window=WINDOW, hop=WINDOW, unit="millivolts", labels=LABELS,
    input="ecg", output="scores", input_shape=(1, WINDOW, 1),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One patient.

    Attributes:
        name: of the record.
        millivolts: the lead after the analogue front end, before the converter, (frames,) float32.
        other: the same for the second lead, used only to vary the training windows.
        frames: frame of each beat, (beats,).
        classes: class of each beat, (beats,).
        starts: first frame of each window that a device classifies and that has a truth, (n,).
        truth: N, S or V of these windows, (n,).
    """

    name: str
    millivolts: np.ndarray
    other: np.ndarray
    frames: np.ndarray
    classes: np.ndarray
    starts: np.ndarray
    truth: np.ndarray

    def windows(self) -> np.ndarray:
        """The windows at `starts`, in mV, (n, WINDOW)."""
        return self.millivolts[self.starts[:, None] + np.arange(WINDOW)]


def directory() -> Path:
    """Where the records are if nobody says it: HOLTER_MITDB, else beside the project."""
    beside = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "mitdb"
    return Path(os.environ.get("HOLTER_MITDB", beside))


def load(path: Path) -> Record:
    """One record of MIT-BIH, which has two leads at 360 Hz; its path is without an extension.

    Raises:
        BadInputError: it or its annotations cannot be read, or it has no MLII.
    """
    seen = prepare(path, SPEC, Reading())
    raw = records.read_record(path)
    lead = records.lead_column(raw, LEAD, path)
    leads = [
        FrontEnd().band_limit(raw.p_signal[:, i], RATE_HZ).astype(np.float32)
        for i in (lead, 1 - lead)
    ]
    with warnings.catch_warnings(action="ignore"):  # wfdb's own, of pandas
        notes = records.import_wfdb().rdann(str(path), "atr")
    beats = [(f, SYMBOLS[s]) for f, s in zip(notes.sample, notes.symbol, strict=True)
             if s in SYMBOLS]  # fmt: skip
    used = (seen.truth != NO_TRUTH) & ~seen.spoilt
    return Record(path.name, *leads, *np.array(beats).T, seen.starts[used], seen.truth[used])


def window_label(classes: np.ndarray) -> int | None:
    """N, S or V of a window for the classes of its beats; None: it has no truth."""
    truth = window_truth(TRUTH_OF[classes])
    return None if truth == NO_TRUTH else truth


def as_input(millivolts: np.ndarray) -> np.ndarray:
    """What the network is fed: through the 8-bit converter, then z-scored (model.toml)."""
    front_end = FrontEnd()
    x = front_end.millivolts(front_end.counts(millivolts))
    x = (x - x.mean(-1, keepdims=True)) / np.maximum(x.std(-1, keepdims=True), 1e-6)
    return x.astype(np.float32)[..., None]
