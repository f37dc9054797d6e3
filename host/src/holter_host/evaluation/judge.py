"""The model file over one record: what a device would say of each window, beside the truth.

Imports ai-edge-litert, so only the evaluation child imports this module.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from holter_host.bundle import Bundle
from holter_host.conversion.options import ConversionOptions
from holter_host.conversion.resolve import InputPlan
from holter_host.conversion.runtime import TfliteModel
from holter_host.errors import ConversionError
from holter_host.evaluation.judgement import Judgement
from holter_host.evaluation.records import Reading, prepare
from holter_host.evaluation.truth import NO_TRUTH


class Judge:
    """A model that is loaded and has passed its golden windows, as a device's gate asks.

    Raises:
        ConversionError: the runtime does not run it, or it gives other scores here.
        BadInputError: its graph is not that of its spec.
    """

    def __init__(self, bundle: Bundle) -> None:
        spec = self._spec = bundle.spec
        ends = ConversionOptions(
            signature=spec.signature or None, input=spec.input, output=spec.output
        )
        self._model = TfliteModel(bundle.data, ends)
        self._plan = InputPlan(
            shape=spec.input_shape,
            window=spec.window,
            channel_count=spec.channel_count,
            layout=spec.layout,
        )
        golden = bundle.golden
        difference = np.max(np.abs(self._model.run(golden.windows, self._plan) - golden.scores))
        if not difference <= spec.tolerance:
            raise ConversionError(
                f"The model's scores of its golden windows differ by {difference:.3g} here, more "
                f"than its tolerance of {spec.tolerance:g}: the file may be damaged; convert it "
                "again."
            )

    def judge(self, path: Path, reading: Reading) -> Judgement:
        """Run a record's windows that have a truth.

        Raises:
            BadInputError: the record cannot be evaluated.
            ConversionError: the runtime fails.
        """
        spec = self._spec
        record = prepare(path, spec, reading)
        has_truth = record.truth != NO_TRUTH
        chosen = has_truth & ~record.spoilt
        starts = record.starts[chosen]
        scores = np.zeros((len(starts), len(spec.labels)), np.float32)
        for row, start in enumerate(starts):
            window = record.values[start : start + spec.window]
            scores[row] = self._model.run(window[np.newaxis], self._plan)[0]
        finite = np.isfinite(scores).all(axis=1)
        return Judgement(
            starts=starts[finite],
            truth=record.truth[chosen][finite],
            scores=scores[finite],
            without_truth=int((~has_truth).sum()),
            unclassifiable=int((has_truth & record.spoilt).sum() + (~finite).sum()),
            notes=record.notes,
        )
