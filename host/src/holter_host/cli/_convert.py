"""The commands that make and read model files: convert, bundle, inspect."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from holter.spec import LAYOUTS, SCORE_KINDS, UNITS
from holter_host.bundle import Bundle, read_bundle
from holter_host.cli._common import emit, emit_json, json_option
from holter_host.cli._keys import Signer
from holter_host.cli._model_file import described, here_lines, lines
from holter_host.cli._output import amount
from holter_host.conversion import (
    NORMALIZATIONS,
    QUANTIZATIONS,
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
    click.option("--tolerance", type=float, help="Greatest error on a device (0.001, or 0.05)."),
)
_QUANTIZE_OPTIONS: Final = (
    click.option("--quantize", type=click.Choice(QUANTIZATIONS), help="Make it smaller (none)."),
    click.option(
        "--int8-edges", is_flag=True, default=None, help="Of int8: its input and output too."
    ),
    click.option(
        "--representative",
        "representative",
        multiple=True,
        metavar="PATH",
        help="Recordings to calibrate int8 on; may be repeated (synthetic ECG).",
    ),
    click.option(
        "--evaluate",
        "evaluate",
        multiple=True,
        metavar="PATH",
        help="Recordings to judge the result on; may be repeated (synthetic ECG).",
    ),
    click.option(
        "--max-label-flips",
        type=float,
        metavar="SHARE",
        help="Share of windows whose label may change (0.01).",
    ),
)
_COUNTED: Final = re.compile(r"(?P<stage>.*): (?:window|file) (?P<number>\d+) of \d+")
_OUT: Final = click.option(
    "-o", "out", required=True, type=click.Path(path_type=Path), help="The model file to write."
)
_JSON: Final = json_option("Print one JSON object: the spec, the report and the digest.")
_SIGN: Final = click.option(
    "--sign", "key", type=click.Path(path_type=Path), metavar="KEY", help="Sign it with this key."
)
_LOG: Final = click.option(
    "--log-file", type=click.Path(path_type=Path), help="Keep TensorFlow's messages here."
)


def _model_options(command: _Command) -> _Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _quantize_options(command: _Command) -> _Command:
    for option in reversed(_QUANTIZE_OPTIONS):
        command = option(command)
    return command


def _said(said: dict[str, Any]) -> ConversionOptions:
    """What the flags say; a flag that may be repeated and was not given says nothing."""
    return ConversionOptions.from_dict({k: v for k, v in said.items() if v not in (None, ())})


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
@_quantize_options
@_SIGN
@_LOG
@_JSON
def convert(
    saved_model: Path,
    out: Path,
    key: Path | None,
    log_file: Path | None,
    as_json: bool,
    **said: Any,
) -> None:
    """Convert SAVED_MODEL, a directory, to one .tflite that a device can run, and prove it.

    The result takes a window in the unit that is named, and holds the normalisation. It is run
    beside the SavedModel on synthetic windows, and on recordings (--evaluate, else those in
    $HOLTER_MITDB), and refused where they disagree or a quantisation changes too many labels. What
    is not said is taken from model.toml in SAVED_MODEL or beside it, then from the model.

    A PATH of recordings is a capture (.npz), a WFDB record (.hea), windows in the model's unit
    (.npy), or a directory of them.

    \b
    Example:
      holter convert saved_model -o rhythm.tflite --labels N,S,V --unit millivolts \\
        --normalize zscore
      holter convert saved_model -o small.tflite --quantize int8 --representative captures/
    """
    options, signer = _said(said), Signer(key)
    with Converter(log_file=log_file) as converter:
        made = convert_saved_model(
            saved_model, out, options=options, progress=_progress, converter=converter
        )
    made = signer.sign(made)
    _show(made, as_json, here=converter.here)


@click.command
@click.argument("tflite", type=click.Path(path_type=Path))
@_OUT
@_model_options
@_SIGN
@_LOG
@_JSON
def bundle(
    tflite: Path, out: Path, key: Path | None, log_file: Path | None, as_json: bool, **said: Any
) -> None:
    """Make an existing TFLITE deployable: describe it and add golden windows.

    The golden scores come from the file itself, so they show that a device runs it as this machine
    does, not that it is faithful to what it was converted from; it is marked as unproven. What is
    not said is taken from model.toml beside TFLITE, then from the model.

    \b
    Example:
      holter bundle plain.tflite -o rhythm.tflite --labels N,S,V --rate 360 --unit millivolts
    """
    options, signer = _said(said), Signer(key)
    with Converter(log_file=log_file) as converter:
        made = bundle_tflite(tflite, out, options=options, progress=_progress, converter=converter)
    made = signer.sign(made)
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
    """A line for each stage; its counts replace each other on a terminal, and stand only there."""
    counted = _COUNTED.fullmatch(sentence)
    if counted is None:
        click.echo(f"{sentence} …", err=True)
    elif counted["number"] == "1":
        shown = sentence if sys.stderr.isatty() else counted["stage"]
        click.echo(f"{shown} …", err=True)
    elif sys.stderr.isatty():
        click.echo(f"\x1b[1A\x1b[2K{sentence} …", err=True)


def _show(bundle: Bundle, as_json: bool, ops: bool = False, here: Any = None) -> None:
    if as_json:
        emit_json({**described(bundle), **({"here": here} if here else {})})
        return
    emit(str(bundle.path))
    for key, text in [*lines(bundle), *(here_lines(here) if here else [])]:
        emit(f"  {key:<9} {text}")
    for op in bundle.report.get("ops", []) if ops else []:
        emit(f"    {op['name']:<32} version {op['version']:<3} {amount(op['count'], 'time')}")
