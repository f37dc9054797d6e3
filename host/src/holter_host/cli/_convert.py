"""The commands that make and read model files: convert, bundle, inspect."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from holter.spec import LAYOUTS, SCORE_KINDS, UNITS
from holter_host.bundle import Bundle, read_bundle
from holter_host.cli._common import emit, emit_json, json_option
from holter_host.cli._output import amount
from holter_host.conversion import (
    NORMALIZATIONS,
    ConversionOptions,
    Converter,
    bundle_tflite,
)
from holter_host.conversion import convert as convert_saved_model

_Command = Callable[..., None]


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Names with commas between them as a tuple, without the blanks around them."""
    if value is None:
        return None
    names = tuple(part.strip() for part in value.split(","))
    if not all(names):
        raise click.BadParameter(f"{value!r} has an empty name", ctx, param)
    return names


_OPTIONS: Final = (
    click.option("--name", help="The model's name."),
    click.option("--version", type=int, help="The model's version, a whole number."),
    click.option(
        "--labels", callback=_names, metavar="A,B,…", help="Names of the scores, in order."
    ),
    click.option("--rate", "rate_hz", type=float, metavar="HZ", help="Sampling rate (360)."),
    click.option("--window", type=int, metavar="FRAMES", help="Frames in a window."),
    click.option("--hop", type=int, metavar="FRAMES", help="Frames between windows (the window)."),
    click.option(
        "--channels", callback=_names, metavar="A,B,…", help="The device's channels to feed."
    ),
    click.option("--unit", type=click.Choice(UNITS), help="What the model takes (millivolts)."),
    click.option("--signature", metavar="NAME", help="Which signature, if there are several."),
    click.option("--output", metavar="NAME", help="Which output gives the scores."),
    click.option("--score-kind", type=click.Choice(SCORE_KINDS), help="What the scores are."),
    click.option("--layout", type=click.Choice(LAYOUTS), help="Order of several channels."),
    click.option("--tolerance", type=float, help="Greatest error on a device (0.001)."),
)
_OUT: Final = click.option(
    "-o", "out", required=True, type=click.Path(path_type=Path), help="The model file to write."
)
_JSON: Final = json_option("Print one JSON object: the spec, the report and the digest.")
_LOG: Final = click.option(
    "--log-file", type=click.Path(path_type=Path), help="Keep TensorFlow's messages here."
)


def _model_options(command: _Command) -> _Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command
@click.argument("saved_model", type=click.Path(path_type=Path))
@_OUT
@_model_options
@click.option("--normalize", metavar="|".join(NORMALIZATIONS), help="Put into the graph (none).")
@click.option(
    "--softmax", is_flag=True, default=None, help="Put into the graph: logits to probabilities."
)
@click.option(
    "--select-tf-ops",
    is_flag=True,
    default=None,
    help="Leave in ops that only TensorFlow has; no light runtime, so no device, runs the result.",
)
@_LOG
@_JSON
def convert(
    saved_model: Path, out: Path, log_file: Path | None, as_json: bool, **said: Any
) -> None:
    """Convert SAVED_MODEL, a directory, to one .tflite that a device can run, and prove it.

    The result takes a window in the unit that is named, and holds the normalisation. It is run
    beside the SavedModel on eight synthetic windows and refused where they disagree. What is not
    said is taken from model.toml in SAVED_MODEL or beside it, then from the model.

    \b
    Example:
      holter convert saved_model -o rhythm.tflite --labels N,S,V --unit millivolts \\
        --normalize zscore
    """
    options = ConversionOptions.from_dict({k: v for k, v in said.items() if v is not None})
    with Converter(log_file=log_file) as converter:
        made = convert_saved_model(
            saved_model, out, options=options, progress=_progress, converter=converter
        )
    _show(made, as_json)


@click.command
@click.argument("tflite", type=click.Path(path_type=Path))
@_OUT
@_model_options
@_LOG
@_JSON
def bundle(tflite: Path, out: Path, log_file: Path | None, as_json: bool, **said: Any) -> None:
    """Make an existing TFLITE deployable: describe it and add golden windows.

    The golden scores come from the file itself, so they show that a device runs it as this machine
    does, not that it is faithful to what it was converted from; it is marked as unproven. What is
    not said is taken from model.toml beside TFLITE, then from the model.

    \b
    Example:
      holter bundle plain.tflite -o rhythm.tflite --labels N,S,V --rate 360 --unit millivolts
    """
    options = ConversionOptions.from_dict({k: v for k, v in said.items() if v is not None})
    with Converter(log_file=log_file) as converter:
        made = bundle_tflite(tflite, out, options=options, progress=_progress, converter=converter)
    _show(made, as_json)


@click.command
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--ops", is_flag=True, help="List every op with its version.")
@_JSON
def inspect(model: Path, ops: bool, as_json: bool) -> None:
    """Show what MODEL, a file made by convert or bundle, takes and gives, and how it was proven.

    \b
    Example:
      holter inspect rhythm.tflite --ops
    """
    _show(read_bundle(model), as_json, ops)


def _progress(sentence: str) -> None:
    click.echo(f"{sentence} …", err=True)


def _show(bundle: Bundle, as_json: bool, ops: bool = False) -> None:
    if as_json:
        emit_json(_described(bundle))
        return
    emit(str(bundle.path))
    for key, text in _lines(bundle):
        emit(f"  {key:<9} {text}")
    for op in bundle.report.get("ops", []) if ops else []:
        emit(f"    {op['name']:<32} version {op['version']:<3} {amount(op['count'], 'time')}")


def _described(bundle: Bundle) -> dict[str, Any]:
    return {
        "path": str(bundle.path),
        "sha256": bundle.sha256,
        "size_bytes": len(bundle.data),
        "tflite_bytes": bundle.tflite_size,
        "golden_windows": len(bundle.golden.windows),
        "spec": dataclasses.asdict(bundle.spec),
        "report": dict(bundle.report),
    }


def _lines(bundle: Bundle) -> list[tuple[str, str]]:
    spec, report = bundle.spec, bundle.report
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
        ("scores", f"{', '.join(spec.labels)} ({spec.score_kind})"),
        ("size", f"{len(bundle.data):,} bytes, {bundle.tflite_size:,} without the archive"),
        ("ops", _ops_line(report)),
        ("proven", _proven_line(bundle)),
    ]


def _normalized(report: Any) -> str:
    if report.get("route") == "bundle":  # what a .tflite of someone else's does inside is not known
        return ""
    return f"; normalised in the graph: {report.get('normalize', 'none')}"


def _ops_line(report: Any) -> str:
    ops = report.get("ops", [])
    wanted = report.get("min_runtime_version")
    hint = f"; TensorFlow Lite {wanted} or newer by the converter's own note" if wanted else ""
    return f"{len(ops)} kinds, {sum(op['count'] for op in ops)} in all, builtin only{hint}"


def _proven_line(bundle: Bundle) -> str:
    fidelity = bundle.report.get("fidelity")
    count = len(bundle.golden.windows)
    if not bundle.report.get("proven") or not fidelity:
        return f"no: the scores of its {count} golden windows are its own"
    return (
        f"against the SavedModel on {count} golden windows: scores differ by at most "
        f"{fidelity['max_abs_difference']:.1e}, {fidelity['label_flips']} labels change"
    )
