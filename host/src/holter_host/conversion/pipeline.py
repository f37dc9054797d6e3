"""The two jobs of the conversion child: a SavedModel to a proven .tflite, a .tflite to a bundle."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from holter_host.bundle import Golden, tflite_part, write_bundle
from holter_host.conversion import failures
from holter_host.conversion.evaluation import (
    JudgedSet,
    judged_sets,
    representative_set,
    window_milliseconds,
)
from holter_host.conversion.fidelity import (
    Fidelity,
    Loss,
    default_tolerance,
    difference_limit,
    loss_of,
)
from holter_host.conversion.golden import golden_windows
from holter_host.conversion.options import (
    DEFAULT_RATE_HZ,
    DEFAULT_UNIT,
    OPTIONS_NAME,
    ConversionOptions,
    Quantize,
)
from holter_host.conversion.report import REPORT_VERSION, installed_versions
from holter_host.conversion.resolve import (
    FLOAT_TOLERANCE,
    Ends,
    InputPlan,
    plan_input,
    resolve_spec,
)
from holter_host.errors import BadInputError, ConversionError, HolterError

if TYPE_CHECKING:
    from holter_host.conversion.audit import Audit
    from holter_host.conversion.lowering import Route
    from holter_host.conversion.runtime import TfliteModel
    from holter_host.conversion.saved_model import Source
    from holter_host.conversion.window_sets import WindowSet

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done.

    Attributes:
        model: the SavedModel's directory, or the .tflite.
        default_name: the model's name where the options give none.
        options: what the user said.
        output: the model file to write.
        tell: is given a short sentence when a new stage begins.
        here: is filled with what is true of this machine only, and so not stored.
    """

    model: Path
    default_name: str
    options: ConversionOptions
    output: Path
    tell: Callable[[str], None]
    here: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def kind(self) -> Quantize:
        """How the model is to be quantised."""
        return self.options.quantize or "none"

    def source_bytes(self) -> int:
        """Size of what is converted; model.toml is not part of it."""
        if self.model.is_file():
            return self.model.stat().st_size
        files = (path for path in self.model.rglob("*") if path.name != OPTIONS_NAME)
        return sum(path.stat().st_size for path in files if path.is_file())

    def windows(self, plan: InputPlan) -> Array:
        """The golden windows for this model."""
        unit = self.options.unit or DEFAULT_UNIT
        rate_hz = self.options.rate_hz or DEFAULT_RATE_HZ
        return golden_windows(unit, rate_hz, plan.window, plan.channel_count)


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
    representative = None
    if job.kind == "int8":
        representative = representative_set(job.options, plan, job.tell)
    elif job.options.representative:
        job.tell(f"Warning: representative recordings are for int8; {job.kind} does without")
    reference = _Reference.of(job, source, plan)
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
                _prove(job, tflite, source, plan, reference, made)
        except failures.StateError:
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
    checked = _Checked.load(tflite, str(job.model), job.options)
    plan = plan_input(checked.model.input_shape, job.options)
    windows = job.windows(plan)
    job.tell(f"Running {len(windows)} golden windows")
    golden = Golden(windows, _finite(checked.model.scores(windows, plan), "The .tflite"))
    kept = {"route": "bundle", "quantization": None}
    loss: Loss = "int8" if checked.model.is_quantised else "none"
    tolerance = job.options.tolerance or default_tolerance(loss, golden.scores)
    _save(job, tflite, checked.audit, checked.model.ends, plan, golden, kept, tolerance)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    """What the SavedModel itself gives, and why a conversion may give something else."""

    golden: Golden
    sets: list[JudgedSet]
    loss: Loss

    @classmethod
    def of(cls, job: Job, source: Source, plan: InputPlan) -> _Reference:
        """Its golden scores first, with its labels counted, before the long part."""
        normalize = job.options.normalize or "none"

        def scores(windows: Array) -> Array:
            return source.scores(windows, plan, normalize)

        windows = job.windows(plan)
        loss = loss_of(job.kind, source.computes_in)
        try:
            golden = scores(windows)
            resolve_spec(job.options, plan, source.ends, golden, job.default_name)
            golden = _finite(golden, "The SavedModel")
            sets = judged_sets(job.options, plan, loss, scores, job.tell)
        except HolterError:
            raise
        except Exception as error:
            raise failures.running_failure(error, job.model, plan.shape) from error
        return cls(Golden(windows, golden), sets, loss)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Checked:
    """A .tflite that a light runtime could run."""

    tflite: bytes
    audit: Audit
    model: TfliteModel

    @classmethod
    def load(cls, tflite: bytes, name: str, options: ConversionOptions) -> _Checked:
        from holter_host.conversion.runtime import TfliteModel

        found = _audit(tflite, name)
        found.check()
        return cls(tflite, found, TfliteModel(tflite, options))


def _audit(tflite: bytes, name: str) -> Audit:
    try:
        from holter_host.conversion.audit import audit
    except ImportError as error:
        raise _missing(error) from error
    return audit(tflite, name)


def _load(job: Job) -> Source:
    try:
        from holter_host.conversion import saved_model
    except ImportError as error:
        raise _missing(error) from error
    job.tell("Loading the SavedModel")
    try:
        return saved_model.load(job.model, job.options)
    except HolterError:
        raise
    except Exception as error:
        raise failures.loading_failure(error, job.model) from error


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


def _prove(
    job: Job,
    tflite: bytes,
    source: Source,
    plan: InputPlan,
    reference: _Reference,
    facts: dict[str, Any],
) -> None:
    """Hold a .tflite against the SavedModel, and save it."""
    from holter_host.conversion.runtime import runtime_version

    golden, loss = reference.golden, reference.loss
    job.tell(f"Comparing {len(golden.windows)} golden windows with the SavedModel")
    names = ConversionOptions(output=source.ends.output)
    checked = _Checked.load(tflite, "The converted model", names)

    def scores(windows: Array) -> Array:
        return checked.model.scores(windows, plan)

    tolerance = job.options.tolerance or default_tolerance(loss, golden.scores)
    fidelity = Fidelity.measure(golden.scores, scores(golden.windows))
    limit = difference_limit(loss, golden.scores, tolerance)
    fidelity.check_difference(limit, loss)
    facts["fidelity"] = {**fidelity.facts(), "limit": limit}
    for judged in reference.sets:
        found = judged.judge(scores, loss, job.options.max_label_flips, job.tell)
        if judged.is_stored:
            facts["evaluation"] = found
        else:
            job.here["evaluation"] = {"over": judged.over, **found}
    job.here["window_milliseconds"] = window_milliseconds(scores, golden.windows[0])
    job.here["runtime"] = runtime_version()
    _save(job, tflite, checked.audit, checked.model.ends, plan, golden, facts, tolerance)


def _save_unproven(
    job: Job,
    tflite: bytes,
    source: Source,
    plan: InputPlan,
    golden: Golden,
    facts: dict[str, Any],
) -> None:
    """Save what only TensorFlow runs; its scores are the SavedModel's, and nothing shows them."""
    found = _audit(tflite, "The converted model")
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


def _finite(scores: Array, owner: str) -> Array:
    if not np.isfinite(scores).all():
        raise ConversionError(
            f"{owner} gives scores that are not numbers for an ECG or a flat line; look for NaN in "
            "its weights and for a division by zero in its graph."
        )
    return scores


def _missing(error: ImportError) -> ConversionError:
    return ConversionError(
        f"Conversion needs {error.name or 'TensorFlow'}; install it with: "
        "pip install 'holter-host[convert]'"
    )
