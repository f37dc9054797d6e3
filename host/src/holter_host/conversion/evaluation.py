"""What a conversion is judged on besides its golden windows: sets of windows.

The set that the user names with `evaluate`, else a synthetic one, is judged and stands in the
report. Recordings that merely are on this machine (the directory in the environment variable
HOLTER_MITDB) are judged as well where none is named, and shown; they do not go into the report, for
then the same SavedModel would have another name on a machine without them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from holter_host.conversion.fidelity import Fidelity, Loss, difference_limit
from holter_host.conversion.options import (
    DEFAULT_MAX_LABEL_FLIPS,
    DEFAULT_RATE_HZ,
    DEFAULT_UNIT,
    ConversionOptions,
)
from holter_host.conversion.resolve import InputPlan
from holter_host.conversion.window_sets import Wanted, WindowSet, read_set, synthetic_set
from holter_host.errors import HolterError

RECORDS_VARIABLE: Final = "HOLTER_MITDB"
NAMED_COUNT: Final = 1000
FOUND_COUNT: Final = 200
# Held to 1e-4 a few windows show it; of labels 1 % is to be seen.
EXACT_COUNT: Final = 32
LOSSY_COUNT: Final = 200
REPRESENTATIVE_COUNT: Final = 200
_EVALUATION_SEED: Final = 20240301
_REPRESENTATIVE_SEED: Final = 20240302
_CHUNK: Final = 50

Array = npt.NDArray[np.float32]
Scores = Callable[[Array], Array]
Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class JudgedSet:
    """A set of windows with the SavedModel's scores.

    Attributes:
        over: what the windows are, for sentences.
        is_stored: whether the report tells of it.
        windows: the set.
        expected: float32, shape (count, label_count).
    """

    over: str
    is_stored: bool
    windows: WindowSet
    expected: Array

    def judge(
        self, scores: Scores, loss: Loss, allowed: float | None, tell: Tell
    ) -> dict[str, Any]:
        """Hold a .tflite against the SavedModel; the facts for the report.

        Args:
            scores: of the .tflite, for windows.
            loss: why they may differ.
            allowed: greatest share of the labels that may change; None for the default.
            tell: is given a sentence now and then.

        Raises:
            ConversionError: more labels change than may, or a float model's scores differ.
        """
        allowed = DEFAULT_MAX_LABEL_FLIPS if allowed is None else allowed
        actual = _in_chunks(scores, self.windows.windows, f"Comparing with {self.over}", tell)
        fidelity = Fidelity.measure(self.expected, actual)
        if loss == "none":
            fidelity.check_difference(difference_limit(loss, self.expected, math.inf), loss)
        fidelity.check_labels(allowed, loss, self.over)
        return {
            "windows": self.windows.facts(),
            **fidelity.facts(),
            "max_label_flip_share": allowed,
        }


def judged_sets(
    options: ConversionOptions, plan: InputPlan, loss: Loss, scores: Scores, tell: Tell
) -> list[JudgedSet]:
    """The sets that a conversion is judged on, the stored one first.

    Args:
        options: what the user said.
        plan: how a window goes in.
        loss: why a conversion may differ.
        scores: of the SavedModel, for windows.
        tell: is given a sentence now and then.

    Raises:
        BadInputError: what `evaluate` names cannot be used.
        ConversionError: it has WFDB records, and wfdb is not installed.
    """
    named = options.evaluate
    if named:
        windows = read_set(named, _wanted(options, plan, NAMED_COUNT), tell)
        return [_scored("the evaluation set", True, windows, scores, tell)]
    count = EXACT_COUNT if loss == "none" else LOSSY_COUNT
    synthetic = synthetic_set(_wanted(options, plan, count), _EVALUATION_SEED)
    sets = [_scored("synthetic ECG", True, synthetic, scores, tell)]
    found = os.environ.get(RECORDS_VARIABLE, "")
    if found and Path(found).is_dir():
        try:
            windows = _found(found, _wanted(options, plan, FOUND_COUNT))
        except HolterError as error:
            tell(f"Not compared with the records in {RECORDS_VARIABLE}: {error}")
        else:
            over = f"the records in {RECORDS_VARIABLE}"
            sets.append(_scored(over, False, windows, scores, tell))
    return sets


def representative_set(options: ConversionOptions, plan: InputPlan, tell: Tell) -> WindowSet:
    """What int8 is calibrated on: the files that the user names, else synthetic ECG.

    Raises:
        BadInputError: what `representative` names cannot be used.
        ConversionError: it has WFDB records, and wfdb is not installed.
    """
    wanted = _wanted(options, plan, REPRESENTATIVE_COUNT)
    if options.representative:
        return read_set(options.representative, wanted, tell)
    tell(
        "Warning: int8 is calibrated on synthetic ECG; name recordings of yours with "
        "--representative"
    )
    return synthetic_set(wanted, _REPRESENTATIVE_SEED)


def window_milliseconds(scores: Scores, window: Array) -> float:
    """Median time of a window here, one thread; `scores` runs each window twice."""
    times = []
    for _ in range(15):
        begin = time.perf_counter()
        scores(window[None])
        times.append((time.perf_counter() - begin) / 2)
    return round(1e3 * statistics.median(times), 3)


@functools.lru_cache(maxsize=1)
def _found(directory: str, wanted: Wanted) -> WindowSet:
    return read_set([directory], wanted)


def _wanted(options: ConversionOptions, plan: InputPlan, count: int) -> Wanted:
    return Wanted(
        unit=options.unit or DEFAULT_UNIT,
        rate_hz=options.rate_hz or DEFAULT_RATE_HZ,
        window=plan.window,
        channels=options.channels or (),
        count=count,
    )


def _scored(
    over: str, is_stored: bool, windows: WindowSet, scores: Scores, tell: Tell
) -> JudgedSet:
    expected = _in_chunks(scores, windows.windows, f"Running the SavedModel on {over}", tell)
    return JudgedSet(over, is_stored, windows, expected)


def _in_chunks(scores: Scores, windows: Array, doing: str, tell: Tell) -> Array:
    rows = []
    for start in range(0, len(windows), _CHUNK):
        tell(f"{doing}: window {start + 1} of {len(windows)}")
        rows.append(scores(windows[start : start + _CHUNK]))
    return np.concatenate(rows)
