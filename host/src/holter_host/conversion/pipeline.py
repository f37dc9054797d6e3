"""The two jobs of the conversion child: a SavedModel to a proven .tflite, a .tflite to a bundle."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from holter_host.bundle import Golden, tflite_part, write_bundle
from holter_host.conversion import failures
from holter_host.conversion.evaluation import representative_set
from holter_host.conversion.fidelity import Loss, default_tolerance
from holter_host.conversion.job import Job
from holter_host.conversion.proof import Checked, Reference, audited, finite, missing, prove
from holter_host.conversion.report import REPORT_VERSION, installed_versions
from holter_host.conversion.resolve import (
    FLOAT_TOLERANCE,
    Ends,
    InputPlan,
    plan_input,
    resolve_spec,
)
from holter_host.errors import BadInputError, HolterError

if TYPE_CHECKING:
    from holter_host.conversion.audit import Audit
    from holter_host.conversion.lowering import Route
    from holter_host.conversion.saved_model import Source
    from holter_host.conversion.window_sets import WindowSet


def convert(job: Job) -> None:
    """Convert a SavedModel; the first route whose result agrees with it counts.

    Raises:
        BadInputError: the SavedModel cannot be loaded or fed, or the options, or the recordings
            that they name, do not fit it.
        ConversionError: no route gives a model that a light runtime runs faithfully.
    """
    if job.options.int8_edges and job.kind != "int8":
        raise BadInputError(
            "int8_edges is for quantize = int8 alone; say that too, or leave it out."
        )
    job.tell("Loading TensorFlow")
    source = _load(job)
    plan = plan_input(source.input_shape, job.options)
    representative = _representative(job, plan)
    reference = Reference.of(job, source, plan)
    facts = {**source.facts(), "quantization": _quantization(job, representative)}
    found: list[HolterError] = []
    for route, lower in _routes(job, source, plan, representative):
        try:
            job.tell("Converting")
            tflite = lower()
            made = {"route": route, **facts}
            if route == "select_tf_ops":
                _save_unproven(job, tflite, source, plan, reference.golden, made)
            else:
                checked, proof, tolerance = prove(job, tflite, source, plan, reference)
                ends, golden = checked.model.ends, reference.golden
                _save(job, tflite, checked.audit, ends, plan, golden, made | proof, tolerance)
        except failures.FinalError:
            raise
        except HolterError as error:
            traceback.print_exc()
            found.append(error)
        except Exception as error:
            traceback.print_exc()
            found.append(failures.conversion_failure(error, job.model))
        else:
            return
    raise next((e for e in found if not isinstance(e, failures.FreezeError)), found[0])


def bundle(job: Job) -> None:
    """Describe an existing .tflite; its golden scores come from itself and prove nothing.

    Raises:
        BadInputError: it is not a .tflite, cannot be fed, or the options do not fit it.
        ConversionError: LiteRT cannot run it.
    """
    if job.options.quantize not in (None, "none"):
        raise BadInputError(
            f"quantize is {job.options.quantize!r}, which cannot be done to a .tflite; convert the "
            "SavedModel with: holter convert."
        )
    if job.options.normalize not in (None, "none") or job.options.softmax:
        said = "softmax" if job.options.softmax else f"normalize = {job.options.normalize}"
        raise BadInputError(
            f"{said} cannot be added to a .tflite; convert the SavedModel with: holter convert."
        )
    job.tell("Reading the .tflite")
    tflite = tflite_part(job.model.read_bytes(), str(job.model))
    checked = Checked.load(tflite, str(job.model), job.options)
    plan = plan_input(checked.model.input_shape, job.options)
    windows = job.windows(plan)
    job.tell(f"Running {len(windows)} golden windows")
    golden = Golden(windows, finite(checked.model.scores(windows, plan), "The .tflite"))
    kept = {"route": "bundle", "quantization": None}
    loss: Loss = "int8" if checked.model.is_quantised else "none"
    tolerance = job.options.tolerance or default_tolerance(loss, golden.scores)
    _save(job, tflite, checked.audit, checked.model.ends, plan, golden, kept, tolerance)


def _load(job: Job) -> Source:
    try:
        from holter_host.conversion import saved_model
    except ImportError as error:
        raise missing(error) from error
    job.tell("Loading the SavedModel")
    try:
        return saved_model.load(job.model, job.options)
    except HolterError:
        raise
    except Exception as error:
        raise failures.loading_failure(error, job.model) from error


def _representative(job: Job, plan: InputPlan) -> WindowSet | None:
    """What int8 is calibrated on; None for the others, which are not calibrated."""
    if job.kind == "int8":
        return representative_set(job.options, plan, job.tell)
    if job.options.representative:
        job.tell(f"Warning: representative recordings are for int8; {job.kind} does without")
    return None


def _routes(
    job: Job, source: Source, plan: InputPlan, representative: WindowSet | None
) -> Iterator[Route]:
    from holter_host.conversion import lowering
    from holter_host.conversion.quantize import Quantizer

    windows = () if representative is None else representative.windows
    inputs = [plan.feed(window) for window in windows]
    quantizer = Quantizer(job.kind, inputs, job.tell, bool(job.options.int8_edges))
    normalize = job.options.normalize or "none"
    return lowering.routes(source, plan, normalize, quantizer, bool(job.options.select_tf_ops))


def _quantization(job: Job, representative: WindowSet | None) -> dict[str, Any]:
    return {
        "kind": job.kind,
        "int8_edges": bool(job.options.int8_edges),
        "representative": representative and representative.facts(),
    }


def _save_unproven(
    job: Job,
    tflite: bytes,
    source: Source,
    plan: InputPlan,
    golden: Golden,
    facts: dict[str, Any],
) -> None:
    """Save what only TensorFlow runs; its scores are the SavedModel's, and nothing shows them."""
    found = audited(tflite, "The converted model")
    found.check(select_tf_ops=True)
    job.tell(
        "Warning: the model uses ops of TensorFlow itself, which no light runtime runs; no Holter "
        "device takes it"
    )
    _save(job, tflite, found, source.ends, plan, golden, facts, FLOAT_TOLERANCE)


def _save(
    job: Job,
    tflite: bytes,
    audit: Audit,
    ends: Ends,
    plan: InputPlan,
    golden: Golden,
    facts: dict[str, Any],
    tolerance: float,
) -> None:
    spec = resolve_spec(job.options, plan, ends, golden.scores, job.default_name, tolerance)
    if any(op.is_custom for op in audit.ops):
        spec = dataclasses.replace(spec, ops="select_tf")
    report = {
        "report_version": REPORT_VERSION,
        "proven": "fidelity" in facts,
        "normalize": job.options.normalize or "none",
        **facts,
        "versions": installed_versions(),
        "ops": [dataclasses.asdict(op) for op in audit.ops],
        "min_runtime_version": audit.min_runtime_version,
        "fidelity": facts.get("fidelity"),
        "evaluation": facts.get("evaluation"),
        "source_bytes": job.source_bytes(),
        "tflite_bytes": len(tflite),
    }
    write_bundle(tflite, spec, golden, report, job.output)
