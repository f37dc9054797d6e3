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
from holter_host.conversion.golden import golden_windows
from holter_host.conversion.options import (
    DEFAULT_RATE_HZ,
    DEFAULT_UNIT,
    ConversionOptions,
    Normalize,
)
from holter_host.conversion.report import REPORT_VERSION, Fidelity, installed_versions
from holter_host.conversion.resolve import InputPlan, plan_input, resolve_spec
from holter_host.errors import BadInputError, ConversionError, HolterError

if TYPE_CHECKING:
    from holter_host.conversion.audit import Audit
    from holter_host.conversion.lowering import Route
    from holter_host.conversion.runtime import TfliteModel
    from holter_host.conversion.saved_model import Source


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done.

    Attributes:
        model: the SavedModel's directory, or the .tflite.
        default_name: the model's name where the options give none.
        options: what the user said.
        output: the model file to write.
        tell: is given a short sentence when a new stage begins.
    """

    model: Path
    default_name: str
    options: ConversionOptions
    output: Path
    tell: Callable[[str], None]

    def windows(self, plan: InputPlan) -> npt.NDArray[np.float32]:
        """The golden windows for this model."""
        unit = self.options.unit or DEFAULT_UNIT
        rate_hz = self.options.rate_hz or DEFAULT_RATE_HZ
        return golden_windows(unit, rate_hz, plan.window, plan.channel_count)


def convert(job: Job) -> None:
    """Convert a SavedModel; the first route whose result agrees with it counts.

    Raises:
        BadInputError: the SavedModel cannot be loaded or fed, or the options do not fit it.
        ConversionError: no route gives a model that a light runtime runs faithfully.
    """
    job.tell("Loading TensorFlow")
    source = _load(job)
    plan = plan_input(source.input_shape, job.options)
    normalize = job.options.normalize or "none"
    golden = _reference(job, source, plan, normalize)
    refused: HolterError | None = None
    failed: HolterError | None = None
    for route, lower in _routes(source, plan, normalize):
        try:
            job.tell("Converting")
            tflite = lower()
            job.tell(f"Comparing {len(golden.windows)} golden windows with the SavedModel")
            names = ConversionOptions(output=source.ends.output)
            checked = _Checked.load(tflite, "The converted model", names)
            fidelity = Fidelity.measure(golden.scores, checked.model.scores(golden.windows, plan))
            fidelity.check()
            _save(job, checked, plan, golden, {"route": route, **source.facts()}, fidelity)
        except HolterError as error:
            traceback.print_exc()
            refused = refused or error
        except Exception as error:
            traceback.print_exc()
            failed = failed or failures.conversion_failure(error, job.model)
        else:
            return
    raise refused or failed or ConversionError(f"No route converts {job.model}.")


def bundle(job: Job) -> None:
    """Describe an existing .tflite; its golden scores come from itself and prove nothing.

    Raises:
        BadInputError: it is not a .tflite, cannot be fed, or the options do not fit it.
        ConversionError: LiteRT cannot run it.
    """
    if job.options.normalize not in (None, "none"):
        raise BadInputError(
            f"normalize is {job.options.normalize!r}, which cannot be added to a .tflite; convert "
            "the SavedModel with: holter convert."
        )
    job.tell("Reading the .tflite")
    tflite = tflite_part(job.model.read_bytes(), str(job.model))
    checked = _Checked.load(tflite, str(job.model), job.options)
    plan = plan_input(checked.model.input_shape, job.options)
    windows = job.windows(plan)
    job.tell(f"Running {len(windows)} golden windows")
    golden = Golden(windows, _finite(checked.model.scores(windows, plan), "The .tflite"))
    _save(job, checked, plan, golden, {"route": "bundle"}, None)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Checked:
    """A .tflite that a light runtime could run."""

    tflite: bytes
    audit: Audit
    model: TfliteModel

    @classmethod
    def load(cls, tflite: bytes, name: str, options: ConversionOptions) -> _Checked:
        try:
            from holter_host.conversion.audit import audit
            from holter_host.conversion.runtime import TfliteModel
        except ImportError as error:
            raise _missing(error) from error
        found = audit(tflite, name)
        found.check()
        return cls(tflite, found, TfliteModel(tflite, options))


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


def _reference(job: Job, source: Source, plan: InputPlan, normalize: Normalize) -> Golden:
    """The golden windows with the SavedModel's scores, its labels counted before the long part."""
    windows = job.windows(plan)
    try:
        scores = source.scores(windows, plan, normalize)
    except HolterError:
        raise
    except Exception as error:
        raise failures.running_failure(error, job.model, plan.shape) from error
    resolve_spec(job.options, plan, source.ends, scores, job.default_name)
    return Golden(windows, _finite(scores, "The SavedModel"))


def _routes(source: Source, plan: InputPlan, normalize: Normalize) -> Iterator[Route]:
    from holter_host.conversion import lowering
    from holter_host.conversion.quantize import Quantizer

    return lowering.routes(source, plan, normalize, Quantizer("none"))


def _save(
    job: Job,
    checked: _Checked,
    plan: InputPlan,
    golden: Golden,
    facts: dict[str, Any],
    fidelity: Fidelity | None,
) -> None:
    model = checked.model
    spec = resolve_spec(job.options, plan, model.ends, golden.scores, job.default_name)
    report = {
        "report_version": REPORT_VERSION,
        "proven": fidelity is not None,
        "normalize": job.options.normalize or "none",
        **facts,
        "versions": installed_versions(),
        "ops": [dataclasses.asdict(op) for op in checked.audit.ops],
        "min_runtime_version": checked.audit.min_runtime_version,
        "fidelity": fidelity and dataclasses.asdict(fidelity),
        "tflite_bytes": len(checked.tflite),
    }
    write_bundle(checked.tflite, spec, golden, report, job.output)


def _finite(scores: npt.NDArray[np.float32], owner: str) -> npt.NDArray[np.float32]:
    if not np.isfinite(scores).all():
        raise ConversionError(
            f"{owner} gives scores that are not numbers for an ordinary ECG; look for NaN in its "
            "weights and for a division by zero in its graph."
        )
    return scores


def _missing(error: ImportError) -> ConversionError:
    return ConversionError(
        f"Conversion needs {error.name or 'TensorFlow'}; install it with: "
        "pip install 'holter-host[convert]'"
    )
