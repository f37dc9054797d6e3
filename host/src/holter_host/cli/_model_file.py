"""How a model file is shown: as JSON, and as lines for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from holter_host.bundle import Bundle
from holter_host.cli._output import amount
from holter_host.conversion.report import current
from holter_host.errors import BadInputError
from holter_host.op_versions import HIGHEST, lacking

_SHOWN_MISSING = 3


def described(bundle: Bundle) -> dict[str, Any]:
    """A model file as JSON values."""
    return {
        "path": str(bundle.path),
        "sha256": bundle.sha256,
        "size_bytes": len(bundle.data),
        "tflite_bytes": bundle.tflite_size,
        "golden_windows": len(bundle.golden.windows),
        "signer": signer(bundle),
        "spec": dataclasses.asdict(bundle.spec),
        "report": bundle.report,
        "lacking": {
            _called(name, start): lacking(bundle.report.get("ops", []), name, start)
            for name, start in HIGHEST
        },
    }


def lines(bundle: Bundle) -> list[tuple[str, str]]:
    """A model file as (what, text) for people, whatever version its report has."""
    spec, report = bundle.spec, current(bundle.report)
    names = f" ({', '.join(spec.channels)})" if spec.channels else ""
    return [
        ("model", f"{spec.name}, version {spec.version}"),
        ("sha256", bundle.sha256),
        (
            "window",
            f"{spec.window} frames ({spec.window / spec.rate_hz:g} s at {spec.rate_hz:g} Hz), "
            f"a new one every {spec.hop}",
        ),
        (
            "input",
            f"{amount(spec.channel_count, 'channel')}{names} in {spec.unit}, "
            f"{list(spec.input_shape)}{_normalized(report)}",
        ),
        ("scores", _scores_line(bundle, report)),
        ("size", _size_line(bundle, report)),
        *_quantized(report["quantization"]),
        ("ops", _ops_line(report)),
        ("runs on", "; ".join(_runtimes(report.get("ops", [])))),
        ("proven", _proven_line(bundle, report)),
        *_evaluated(report["evaluation"]),
        *_signed(bundle),
    ]


def signer(bundle: Bundle) -> str | None:
    """The key that has signed a model file; None where it has no signature.

    Raises:
        BadInputError: the signature beside it is not of this model.
    """
    if bundle.signature is None:
        return None
    if not bundle.signature.is_true(bundle.sha256):
        raise BadInputError(
            f"The signature beside {bundle.path} is not of this model: one of the two was altered; "
            f"sign it again: holter sign {bundle.path} --key KEY"
        )
    return bundle.signature.signer


def here_lines(here: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a conversion saw of this machine, which is not in the file."""
    evaluation = here.get("evaluation")
    if evaluation:
        yield (
            "here",
            f"{evaluation['over']} (not stored; --evaluate would): {_compared(evaluation)}",
        )
    if "window_milliseconds" in here:
        yield (
            "here",
            f"{here['window_milliseconds']:.2f} ms a window in {here['runtime']}, one thread "
            "(not stored)",
        )


def _normalized(report: Mapping[str, Any]) -> str:
    if report.get("route") == "bundle":  # what a .tflite of someone else's does inside is not known
        return ""
    return f"; normalised in the graph: {report.get('normalize', 'none')}"


def _scores_line(bundle: Bundle, report: Mapping[str, Any]) -> str:
    made = ", by a softmax that Holter added" if report["softmax"] else ""
    return f"{', '.join(bundle.spec.labels)} ({bundle.spec.score_kind}{made})"


def _size_line(bundle: Bundle, report: Mapping[str, Any]) -> str:
    source = report["source_bytes"]
    of_source = f"; the SavedModel has {source:,}" if source and report["quantization"] else ""
    return f"{len(bundle.data):,} bytes, {bundle.tflite_size:,} without the archive{of_source}"


def _quantized(quantization: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if not quantization or quantization["kind"] == "none":
        return
    text = quantization["kind"]
    if quantization.get("int8_edges"):  # which came after version 2 of the report
        text += ", input and output too"
    if quantization["representative"]:
        text += f", calibrated on {_windows(quantization['representative'])}"
    yield ("quantised", text)


def _signed(bundle: Bundle) -> Iterator[tuple[str, str]]:
    key = signer(bundle)
    if key is not None:
        yield ("signed by", key)


def _ops_line(report: Mapping[str, Any]) -> str:
    ops = report.get("ops", [])
    custom = sorted(op["name"] for op in ops if op["is_custom"])
    kinds = f"not builtin: {', '.join(custom)}" if custom else "builtin only"
    wanted = report.get("min_runtime_version")
    hint = f"; TensorFlow Lite {wanted} or newer by the converter's own note" if wanted else ""
    return f"{len(ops)} kinds, {sum(op['count'] for op in ops)} in all, {kinds}{hint}"


def _runtimes(ops: list[Mapping[str, Any]]) -> Iterator[str]:
    for name, start in HIGHEST:
        missing = lacking(ops, name, start) or []
        called = _called(name, start)
        more = f" and {len(missing) - _SHOWN_MISSING} more" if missing[_SHOWN_MISSING:] else ""
        shown = ", ".join(missing[:_SHOWN_MISSING]) + more
        yield f"not {called}, which lacks {shown}" if missing else called


def _called(runtime: str, start: str) -> str:
    return f"{runtime} {start.rstrip('.')}"


def _proven_line(bundle: Bundle, report: Mapping[str, Any]) -> str:
    fidelity = report.get("fidelity")
    count = len(bundle.golden.windows)
    if report.get("route") == "select_tf_ops":
        return "no: no light runtime runs it"
    if not report.get("proven") or not fidelity:
        return f"no: the scores of its {count} golden windows are its own"
    computes_in = report["computes_in"]
    other = f", which computes in {', '.join(computes_in)}," if computes_in else ""
    return f"against the SavedModel{other} on {count} golden windows: {_compared(fidelity)}"


def _evaluated(evaluation: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if evaluation:
        allowed = f"{100 * evaluation['max_label_flip_share']:g} %"
        yield (
            "evaluated",
            f"on {_windows(evaluation['windows'])}: {_compared(evaluation)} (allowed {allowed})",
        )


def _compared(figures: Mapping[str, Any]) -> str:
    count, flips = figures["window_count"], figures["label_flips"]
    return (
        f"scores differ by at most {figures['max_abs_difference']:.1e}, "
        f"{figures['mean_abs_difference']:.1e} on average; {flips} of {amount(count, 'label')} "
        f"{'changes' if flips == 1 else 'change'} ({100 * flips / count:.2g} %)"
    )


def _windows(facts: Mapping[str, Any]) -> str:
    """A set of windows: how many, of what, and the digest of their values."""
    count = amount(facts["window_count"], "window")
    found = facts["windows_found"]
    of_found = f" of {found}" if found != facts["window_count"] else ""
    files = f"{amount(facts['file_count'], 'file')} of recordings"
    source = "synthetic ECG" if facts["source"] == "synthetic" else files
    return f"{count}{of_found} of {source} ({facts['sha256'][:12]})"
