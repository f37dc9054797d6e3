"""A model over a directory of records: what is looked at beforehand, judged, and left out."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from holter_host.bundle import Bundle, read_bundle
from holter_host.errors import BadInputError, HolterError
from holter_host.evaluation.judgement import Judgement
from holter_host.evaluation.metrics import as_probabilities
from holter_host.evaluation.records import FRONT_ENDS, Reading, check_record, find_records
from holter_host.evaluation.truth import PACED, SAME_PATIENT, N
from holter_host.evaluation.workers import Answer, judge_all

_SHOWN_PROBLEMS: Final = 5

Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RecordResult:
    """What was said of one record.

    Attributes:
        name: its path below the directory.
        patient: the name of whose it is.
        judgement: windows, their truth and scores.
        called: class of each window's label, 0 to 2, or NO_TRUTH, shape (windows,).
        confidence: probability of that label, shape (windows,).
        n_scores: probability of N, shape (windows,).
    """

    name: str
    patient: str
    judgement: Judgement
    called: npt.NDArray[np.int8]
    confidence: npt.NDArray[np.float64]
    n_scores: npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What a model said of records, and what was left out.

    Attributes:
        bundle: the model.
        directory: of the records.
        reading: how they were read.
        results: of each record, by name.
        left_out: why each other record was not evaluated, by name.
    """

    bundle: Bundle
    directory: Path
    reading: Reading
    results: tuple[RecordResult, ...]
    left_out: Mapping[str, str]


def evaluate(
    model: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    reading: Reading | None = None,
    include_paced: bool = False,
    skip_bad: bool = False,
    same_patient: Sequence[Sequence[str]] = SAME_PATIENT,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Run a model file over every annotated record of a directory, as a device would.

    All records are looked at first; nothing is run where one cannot be evaluated, unless `skip_bad`
    leaves it out.

    Args:
        model: a Holter model file.
        directory: WFDB records, also in directories in it.
        reading: how records are read; where None, lead MLII (for a model of named channels, those)
            and annotations "atr", through the front end.
        include_paced: take records 102, 104, 107 and 217 of MIT-BIH too.
        skip_bad: leave out records that cannot be evaluated.
        same_patient: groups of record names that are one patient's.
        jobs: how many processes; as many as there are cores where None.
        progress: is given (records done, records, the name of the last one), by another thread.

    Raises:
        BadInputError: the model, the directory, or a record cannot be used.
        ConversionError: the runtime does not run the model, or an extra is missing.
    """
    bundle = read_bundle(model)
    reading = reading or Reading(leads=bundle.spec.channels or Reading().leads)
    _check(bundle, reading)
    root = Path(directory)
    names = {path: path.relative_to(root).as_posix() for path in find_records(root)}
    left_out: dict[str, str] = {}
    if not include_paced:
        paced = [path for path in names if path.name in PACED]
        left_out = {names.pop(path): "paced" for path in paced}
    bad = _looked_at(names, reading, skip_bad)
    left_out.update({names.pop(path): text for path, text in bad.items()})
    if not names:
        reasons = "; ".join(sorted(set(left_out.values()))[:_SHOWN_PROBLEMS])
        raise BadInputError(f"No record in {root} is left to evaluate: {reasons}.")
    patients = {name: group[0] for group in same_patient for name in group}
    results: list[RecordResult] = []
    number = itertools.count(1)

    def done(path: Path, answer: Answer | HolterError) -> None:
        if isinstance(answer, HolterError):
            if not skip_bad:
                raise answer
            left_out[names[path]] = str(answer)
        else:
            patient = patients.get(path.name, names[path])
            results.append(_result(bundle, reading, names[path], patient, answer))
        if progress is not None:
            progress(next(number), len(names), names[path])

    judge_all(bundle, reading, list(names), jobs or len(os.sched_getaffinity(0)), done)
    return Evaluation(
        bundle=bundle,
        directory=root,
        reading=reading,
        results=tuple(sorted(results, key=lambda result: result.name)),
        left_out=dict(sorted(left_out.items())),
    )


def _check(bundle: Bundle, reading: Reading) -> None:
    """Whether the model can be judged at all.

    Raises:
        BadInputError: by its spec it cannot.
    """
    spec = bundle.spec
    if spec.ops == "select_tf":
        raise BadInputError(
            f"{bundle.path} uses TensorFlow's own ops, which no light runtime runs; convert it "
            "without --select-tf-ops."
        )
    if len(reading.leads) != spec.channel_count:
        raise BadInputError(
            f"{bundle.path} takes {spec.channel_count} lead(s), not {len(reading.leads)}; give "
            "--lead once for each, in the model's order."
        )
    if len(spec.labels) < 2:
        raise BadInputError(
            f"{bundle.path} gives one score, so it has one label for every window; convert a model "
            "with a score for each class."
        )
    if reading.front_end not in FRONT_ENDS:
        raise BadInputError(f"The front end is one of {', '.join(FRONT_ENDS)}.")
    reading.classes.label_classes(spec.labels)


def _looked_at(names: Mapping[Path, str], reading: Reading, skip_bad: bool) -> dict[Path, str]:
    """Why each record that cannot be evaluated cannot.

    Raises:
        BadInputError: there is one, and it must not be skipped.
    """
    bad: dict[Path, str] = {}
    for path in names:
        try:
            check_record(path, reading)
        except BadInputError as error:
            bad[path] = str(error)
    if bad and not skip_bad:
        shown = "; ".join(list(bad.values())[:_SHOWN_PROBLEMS])
        more = f"; and {len(bad) - _SHOWN_PROBLEMS} more" if len(bad) > _SHOWN_PROBLEMS else ""
        raise BadInputError(
            f"{len(bad)} of {len(names)} records cannot be evaluated, so nothing was: "
            f"{shown}{more}. Leave them out with --skip-bad."
        )
    return bad


def _result(
    bundle: Bundle, reading: Reading, name: str, patient: str, answer: Answer
) -> RecordResult:
    spec = bundle.spec
    judgement = Judgement.from_json(answer, len(spec.labels))
    classes = reading.classes.label_classes(spec.labels)
    scores = as_probabilities(judgement.scores, logits=spec.score_kind == "logits")
    label = judgement.scores.argmax(axis=1)
    return RecordResult(
        name=name,
        patient=patient,
        judgement=judgement,
        called=classes[label],
        confidence=np.take_along_axis(scores, label[:, np.newaxis], axis=1)[:, 0],
        n_scores=scores[:, classes == N].sum(axis=1),
    )
