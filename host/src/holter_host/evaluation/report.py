"""All figures of an evaluation, as JSON values. The same evaluation always gives the same report.

Each figure is {"value", "low", "high"}: its value over all windows, and its 95 % interval over
patients (see `metrics.bootstrap`); null where it is of nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from holter_host.evaluation import metrics
from holter_host.evaluation.run import Evaluation, RecordResult
from holter_host.evaluation.truth import CLASSES

REPORT_VERSION: Final = 1
_LEVEL: Final = 0.95
_SEED: Final = 0

Intervals = Mapping[str, tuple[float, float] | None]


def full_report(evaluation: Evaluation, *, resamples: int = metrics.RESAMPLES) -> dict[str, Any]:
    """Every figure of an evaluation.

    Args:
        evaluation: what was said.
        resamples: of the bootstrap.
    """
    results = evaluation.results
    truth = np.concatenate([result.judgement.truth for result in results])
    called = np.concatenate([result.called for result in results])
    n_scores = np.concatenate([result.n_scores for result in results])
    confidence = np.concatenate([result.confidence for result in results])
    tables = {result.name: _table(result) for result in results}
    total = metrics.confusion(truth, called)
    intervals = _intervals(results, tables, truth, n_scores, resamples)
    error, bins = metrics.reliability(confidence, truth == called)
    return {
        "report_version": REPORT_VERSION,
        **_about(evaluation),
        "windows": {
            "judged": len(truth),
            "without_truth": sum(result.judgement.without_truth for result in results),
            "unclassifiable": sum(result.judgement.unclassifiable for result in results),
        },
        "classes": _classes(total, intervals),
        "overall": {
            name: _figure(value, intervals[name]) for name, value in metrics.overall(total).items()
        },
        "n_at_specificity": _operating(truth, n_scores, intervals),
        "confusion": {
            "rows": list(CLASSES),
            "columns": [*CLASSES, "none"],
            "table": total.tolist(),
        },
        "calibration": {"ece": error, "bins": bins},
        "bootstrap": {"over": "patients", "resamples": resamples, "seed": _SEED, "level": _LEVEL},
        "per_record": [_row(result, tables[result.name]) for result in results],
        "left_out": dict(evaluation.left_out),
    }


def _about(evaluation: Evaluation) -> dict[str, Any]:
    bundle, reading = evaluation.bundle, evaluation.reading
    return {
        "model": {
            "path": str(bundle.path),
            "sha256": bundle.sha256,
            "name": bundle.spec.name,
            "version": bundle.spec.version,
            "labels": list(bundle.spec.labels),
        },
        "records": {
            "directory": str(evaluation.directory),
            "count": len(evaluation.results),
            "patients": len({result.patient for result in evaluation.results}),
            "annotations": reading.annotations,
            "leads": list(reading.leads),
            "front_end": reading.front_end,
        },
        "map": {"beats": dict(reading.classes.beats), "labels": _meant(evaluation)},
    }


def _meant(evaluation: Evaluation) -> dict[str, str]:
    labels = evaluation.reading.classes.labels
    return {label: labels[label] for label in evaluation.bundle.spec.labels}


def _table(result: RecordResult) -> metrics.Table:
    return metrics.confusion(result.judgement.truth, result.called)


def _intervals(
    results: tuple[RecordResult, ...],
    tables: Mapping[str, metrics.Table],
    truth: Any,
    n_scores: Any,
    resamples: int,
) -> Intervals:
    patients = {name: k for k, name in enumerate(sorted({result.patient for result in results}))}
    of_patients = [np.zeros((len(CLASSES), len(CLASSES) + 1), np.int64) for _ in patients]
    for result in results:
        of_patients[patients[result.patient]] += tables[result.name]
    index = np.concatenate(
        [np.full(len(result.called), patients[result.patient]) for result in results]
    )
    return metrics.bootstrap(
        of_patients, truth, n_scores, index, resamples=resamples, seed=_SEED, level=_LEVEL
    )


def _figure(value: float | None, interval: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {"value": value, "low": low, "high": high}


def _classes(total: metrics.Table, intervals: Intervals) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, row in metrics.by_class(total).items():
        found[name] = {"windows": row.pop("windows"), "called": row.pop("called")}
        for key, value in row.items():
            found[name][key] = _figure(value, intervals[f"{name} {key}"])
    return found


def _operating(truth: Any, n_scores: Any, intervals: Intervals) -> dict[str, Any]:
    point = metrics.n_sensitivity_at(truth, n_scores)
    return {
        "wanted_specificity": metrics.SPECIFICITY,
        **dataclasses.asdict(point),
        "sensitivity": _figure(point.sensitivity, intervals[metrics.AT]),
    }


def _row(result: RecordResult, table: metrics.Table) -> dict[str, Any]:
    judgement = result.judgement
    overall = metrics.overall(table)
    return {
        "record": result.name,
        "patient": result.patient,
        "windows": int(table.sum()),
        "without_truth": judgement.without_truth,
        "unclassifiable": judgement.unclassifiable,
        "accuracy": overall["accuracy"],
        "macro_f1": overall["macro_f1"],
        "sensitivity": {name: row["sensitivity"] for name, row in metrics.by_class(table).items()},
        "confusion": table.tolist(),
        "notes": list(judgement.notes),
    }
