"""Holds what was converted against what the SavedModel itself gives."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from holter_host.bundle import Golden
from holter_host.conversion import failures
from holter_host.conversion.evaluation import JudgedSet, judged_sets, window_milliseconds
from holter_host.conversion.fidelity import (
    Fidelity,
    Loss,
    default_tolerance,
    difference_limit,
    loss_of,
)
from holter_host.conversion.job import Array, Job
from holter_host.conversion.options import ConversionOptions
from holter_host.conversion.resolve import InputPlan, resolve_spec
from holter_host.errors import ConversionError, HolterError

if TYPE_CHECKING:
    from holter_host.conversion.audit import Audit
    from holter_host.conversion.runtime import TfliteModel
    from holter_host.conversion.saved_model import Source


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What the SavedModel itself gives, and why a conversion may give something else."""

    golden: Golden
    sets: list[JudgedSet]
    loss: Loss

    @classmethod
    def of(cls, job: Job, source: Source, plan: InputPlan) -> Reference:
        """Its golden scores first, with its labels counted, before the long part."""
        normalize = job.options.normalize or "none"

        def scores(windows: Array) -> Array:
            return source.scores(windows, plan, normalize)

        windows = job.windows(plan)
        loss = loss_of(job.kind, source.computes_in)
        try:
            golden = scores(windows)
            resolve_spec(job.options, plan, source.ends, golden, job.default_name)
            golden = finite(golden, "The SavedModel")
            sets = judged_sets(job.options, plan, loss, scores, job.tell)
        except HolterError:
            raise
        except Exception as error:
            raise failures.running_failure(error, job.model, plan.shape) from error
        return cls(Golden(windows, golden), sets, loss)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """A .tflite that a light runtime could run."""

    tflite: bytes
    audit: Audit
    model: TfliteModel

    @classmethod
    def load(cls, tflite: bytes, name: str, options: ConversionOptions) -> Checked:
        """Audit a .tflite, then load it; `name` is what errors call it.

        Raises:
            BadInputError: it is damaged, or the options do not fit it.
            ConversionError: no light runtime runs it.
        """
        from holter_host.conversion.runtime import TfliteModel

        found = audited(tflite, name)
        found.check()
        return cls(tflite, found, TfliteModel(tflite, options))


def audited(tflite: bytes, name: str) -> Audit:
    """What stands in a .tflite.

    Raises:
        BadInputError: it is damaged.
        ConversionError: what reads it is not installed.
    """
    try:
        from holter_host.conversion.audit import audit
    except ImportError as error:
        raise missing(error) from error
    return audit(tflite, name)


def prove(
    job: Job, tflite: bytes, source: Source, plan: InputPlan, reference: Reference
) -> tuple[Checked, dict[str, Any], float]:
    """Hold a .tflite against the SavedModel.

    Returns:
        (what a light runtime runs, "fidelity" and "evaluation" for the report, the tolerance).

    Raises:
        ConversionError: no light runtime runs it, or it is not faithful.
    """
    from holter_host.conversion.runtime import runtime_version

    golden, loss = reference.golden, reference.loss
    job.tell(f"Comparing {len(golden.windows)} golden windows with the SavedModel")
    names = ConversionOptions(output=source.ends.output)
    checked = Checked.load(tflite, "The converted model", names)

    def scores(windows: Array) -> Array:
        return checked.model.scores(windows, plan)

    tolerance = job.options.tolerance or default_tolerance(loss, golden.scores)
    fidelity = Fidelity.measure(golden.scores, scores(golden.windows))
    limit = difference_limit(loss, golden.scores, tolerance)
    fidelity.check_difference(limit, loss)
    facts: dict[str, Any] = {"fidelity": {**fidelity.facts(), "limit": limit}}
    for judged in reference.sets:
        found = judged.judge(scores, loss, job.options.max_label_flips, job.tell)
        if judged.is_stored:
            facts["evaluation"] = found
        else:
            job.here["evaluation"] = {"over": judged.over, **found}
    job.here["window_milliseconds"] = window_milliseconds(scores, golden.windows[0])
    job.here["runtime"] = runtime_version()
    return checked, facts, tolerance


def finite(scores: Array, owner: str) -> Array:
    """The scores.

    Raises:
        ConversionError: one is not a number.
    """
    if not np.isfinite(scores).all():
        raise ConversionError(
            f"{owner} gives scores that are not numbers for an ECG or a flat line; look for NaN in "
            "its weights and for a division by zero in its graph."
        )
    return scores


def missing(error: ImportError) -> ConversionError:
    """The error where TensorFlow or LiteRT is not installed."""
    return ConversionError(
        f"Conversion needs {error.name or 'TensorFlow'}; install it with: "
        "pip install 'holter-host[convert]'"
    )
