"""The report that goes into a model's file, and how old ones are read.

report.json, version 2:

    report_version        2
    proven                whether the golden scores are the SavedModel's, and this file gives them
    route                 "frozen", "from_saved_model", "select_tf_ops", or "bundle" for a .tflite
    normalize             what the graph does with a window first
    saved_model, softmax  signature, input, output, TensorFlow that wrote it (not for "bundle")
    computes_in           the types besides float32 that the SavedModel computes in, "float16" or
                          others; the .tflite computes in float32 (not for "bundle")
    quantization          kind, and for int8 what it was calibrated on (`representative`) and
                          whether input and output are int8 too (`int8_edges`); null for "bundle"
    versions              of what took part in the conversion, by distribution
    ops                   name, version, count and is_custom of every op
    min_runtime_version   the converter's own note, a hint only; "" where it made none
    fidelity              `Fidelity` over the golden windows, with the greatest difference that was
                          allowed (limit); null where nothing was proven
    evaluation            the same over the set that was named, else over synthetic ECG, with what
                          the set was (`windows`) and the share of labels that was allowed to change
    source_bytes          size of the SavedModel, or of the file that was given
    tflite_bytes          size without the archive

It holds nothing that differs from run to run, such as a time, nor from machine to machine, such as
what recordings happen to be there: the same SavedModel and the same words give the same file, and
so the same name. What is measured on top of that is shown and not stored.

Version 1 had no quantization, evaluation, softmax and source_bytes; in it `fidelity` is the same.
`computes_in` and `int8_edges` came later than version 2.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any, Final

REPORT_VERSION: Final = 2
_DISTRIBUTIONS: Final = (
    "ai-edge-litert",
    "holter-host",
    "keras",
    "numpy",
    "tensorflow",
    "tensorflow-cpu",
)


def installed_versions() -> dict[str, str]:
    """Versions of the distributions that take part in a conversion, of those that are installed."""
    versions = {}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def current(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report of any version with the keys of this one; None for what an old one does not say."""
    added = ("quantization", "evaluation", "softmax", "source_bytes", "computes_in")
    return {**dict.fromkeys(added), **report}
