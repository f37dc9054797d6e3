"""Annotated WFDB records: which there are, and what a device would see of one.

Through the front end (the default) a record is what `holterd --replay` makes of it: band-limited,
brought to the model's rate, 8-bit counts, and those in the model's unit. Without, it is the
record's own millivolts in that unit, resampled where its rate is another.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from holter import records
from holter.frontend import FrontEnd, in_unit
from holter.leadoff import untrusted
from holter.spec import ModelSpec
from holter_host.errors import BadInputError, ConversionError
from holter_host.evaluation.truth import NO_TRUTH, ClassMap, window_truths

FrontEndName = Literal["pcf8591", "none"]
FRONT_ENDS: Final[tuple[FrontEndName, ...]] = ("pcf8591", "none")

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How records are read.

    Attributes:
        annotations: the extension of the beat annotations.
        leads: the leads that the model is fed, as many as it takes.
        front_end: "pcf8591" or "none".
        classes: which beats are of which class.
    """

    annotations: str = "atr"
    leads: tuple[str, ...] = (records.PREFERRED_LEAD,)
    front_end: FrontEndName = "pcf8591"
    classes: ClassMap = dataclasses.field(default_factory=ClassMap)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One record, as the model is fed it.

    Attributes:
        values: in the model's unit, shape (frames, channels).
        starts: first frame of each window, shape (windows,).
        truth: N, S, V or NO_TRUTH of each window, shape (windows,).
        spoilt: whether a device would not classify it: an electrode is off, or, without the front
            end, a sample is missing; shape (windows,).
        notes: what must be said of the record, sentences without their subject.
    """

    values: Floats
    starts: npt.NDArray[np.int64]
    truth: npt.NDArray[np.int8]
    spoilt: npt.NDArray[np.bool_]
    notes: tuple[str, ...]


def find_records(directory: Path) -> list[Path]:
    """The records in a directory and those below it, by path, without an extension.

    The segments of a record of several are no records of their own.

    Raises:
        BadInputError: it is no directory, or holds no record.
    """
    if not directory.is_dir():
        raise BadInputError(f"{directory} is not a directory; give one that holds WFDB records.")
    found = sorted(path.with_suffix("") for path in directory.rglob("*.hea"))
    segments = {segment for path in found for segment in _segments(path)}
    found = [path for path in found if path not in segments]
    if not found:
        raise BadInputError(
            f"{directory} and the directories in it hold no WFDB record (.hea); give the directory "
            "of the records."
        )
    return found


def check_record(path: Path, reading: Reading) -> None:
    """Look at the header of a record and for its annotations.

    Raises:
        BadInputError: it cannot be evaluated.
        ConversionError: wfdb is not installed.
    """
    notes = path.with_name(f"{path.name}.{reading.annotations}")
    if not notes.is_file():
        others = sorted(
            file.suffix[1:]
            for file in path.parent.glob(f"{path.name}.*")
            if file.suffix not in (".hea", ".dat", ".xws", ".mat") and file.stem == path.name
        )
        hint = f"its other files are .{', .'.join(others)}; " if others else ""
        raise BadInputError(
            f"record {path} has no annotations {notes.name}; {hint}name others with --annotations, "
            "or leave it out"
        )
    header = _read(path, header_only=True)
    if getattr(header, "n_seg", 1) == 1:
        for lead in reading.leads:
            _column(header, lead, path)


def prepare(path: Path, spec: ModelSpec, reading: Reading) -> Prepared:
    """Read a record and cut it as a device would for this model.

    Raises:
        BadInputError: it cannot be read, or lacks a lead or its annotations.
        ConversionError: wfdb is not installed.
    """
    record = _read(path)
    source_hz, notes = float(record.fs), []
    if source_hz != spec.rate_hz:
        notes.append(f"is resampled from {source_hz:g} Hz to {spec.rate_hz:g} Hz")
    leads = [records.lead_millivolts(record, _column(record, lead, path)) for lead in reading.leads]
    see = _through_converter if reading.front_end == "pcf8591" else _directly
    values, spoilt = see(leads, source_hz, spec)
    starts = np.arange(0, len(values) - spec.window + 1, spec.hop, dtype=np.int64)
    frames, classes, beyond = _beats(path, reading, record.sig_len)
    if beyond:
        notes.append(f"has {beyond} annotations past its end, which are left out")
    frames = np.floor(frames * (spec.rate_hz / source_hz)).astype(np.int64)
    bad = np.concatenate([[0], np.cumsum(spoilt)])
    return Prepared(
        values=values,
        starts=starts,
        truth=window_truths(frames, classes, starts, spec.window),
        spoilt=bad[starts + spec.window] > bad[starts],
        notes=tuple(notes),
    )


def _through_converter(
    leads: Sequence[npt.NDArray[np.float64]], source_hz: float, spec: ModelSpec
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    front_end = FrontEnd()
    counts = np.stack(
        [records.lead_counts(lead, source_hz, spec.rate_hz, front_end) for lead in leads], axis=1
    )
    spoilt = np.any([untrusted(column, spec.rate_hz) for column in counts.T], axis=0)
    if spec.unit == "counts":
        return counts.astype(np.float32), spoilt
    return in_unit(counts, *front_end.affine(spec.unit)), spoilt


def _directly(
    leads: Sequence[npt.NDArray[np.float64]], source_hz: float, spec: ModelSpec
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    columns = [records.resampled(records.filled(v), source_hz, spec.rate_hz) for v in leads]
    missing = np.any([np.isnan(lead) for lead in leads], axis=0)
    spoilt = records.held(missing, len(columns[0]), source_hz, spec.rate_hz)
    scale, offset = FrontEnd().affine("millivolts")
    counts = (np.stack(columns, axis=1) - offset) / scale
    if spec.unit == "millivolts":
        return np.stack(columns, axis=1).astype(np.float32), spoilt
    return in_unit(counts, *FrontEnd().affine(spec.unit)), spoilt


def _beats(
    path: Path, reading: Reading, length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8], int]:
    """Frame and class of each beat, ascending, and how many annotations lie past the end."""
    try:
        with warnings.catch_warnings(action="ignore"):
            notes = records.import_wfdb().rdann(str(path.absolute()), reading.annotations)
    except Exception as error:  # wfdb raises whatever its parsing stumbles on
        raise BadInputError(
            f"the annotations {path}.{reading.annotations} cannot be read: {error}"
        ) from error
    frames = np.asarray(notes.sample, np.int64)
    classes = reading.classes.beat_classes(notes.symbol)
    inside = (frames >= 0) & (frames < length)
    is_beat = inside & (classes != NO_TRUTH)
    order = np.argsort(frames[is_beat], kind="stable")
    return frames[is_beat][order], classes[is_beat][order], int((~inside).sum())


def _read(path: Path, *, header_only: bool = False) -> Any:
    try:
        return records.read_record(path, header_only=header_only)
    except ImportError as error:
        raise ConversionError(
            "Reading WFDB records needs wfdb; install it with: pip install 'holter-host[evaluate]'"
        ) from error
    except records.RecordError as error:
        raise BadInputError(str(error)) from error


def _column(record: Any, lead: str, path: Path) -> int:
    try:
        return records.lead_column(record, lead, path)
    except records.RecordError as error:
        raise BadInputError(f"{error}; choose one with --lead") from error


def _segments(path: Path) -> list[Path]:
    """The segments of a record of several: those that its header names after its first line."""
    try:
        lines = path.with_suffix(".hea").read_text(errors="replace").splitlines()
    except OSError:
        return []
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    if not lines or "/" not in lines[0].split()[0]:
        return []
    return [path.with_name(line.split()[0]) for line in lines[1:]]
