"""holter evaluate: a model file on annotated records."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from holter_host import BadInputError
from holter_host._files import replacing
from holter_host.bundle import read_bundle
from holter_host.cli._common import emit, emit_json, json_option, note
from holter_host.cli._output import amount, table
from holter_host.evaluation.records import FRONT_ENDS, FrontEndName, Reading
from holter_host.evaluation.report import full_report
from holter_host.evaluation.run import Progress
from holter_host.evaluation.run import evaluate as evaluate_model
from holter_host.evaluation.truth import PACED, SAME_PATIENT, ClassMap

_PACED: Final = ", ".join(sorted(PACED))


@click.command
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--records",
    "directory",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Annotated WFDB records; those in directories in it too.",
)
@click.option("--annotations", default="atr", show_default=True, help="Extension of the beats.")
@click.option(
    "--lead", "leads", multiple=True, metavar="NAME", help="What the model is fed (MLII)."
)
@click.option(
    "--front-end",
    type=click.Choice(FRONT_ENDS),
    default="pcf8591",
    show_default=True,
    help="What is before the model: AD8232 and 8-bit converter, or nothing.",
)
@click.option(
    "--map",
    "changes",
    multiple=True,
    metavar="CHANGE",
    help="beat:SYMBOLS=CLASS or label:NAME=CLASS, with N, S, V, F, Q or - (none).",
)
@click.option("--include-paced", is_flag=True, help=f"Records {_PACED} of MIT-BIH too.")
@click.option(
    "--same-patient", multiple=True, metavar="A,B,…", help="Records of one patient (201,202)."
)
@click.option("--skip-bad", is_flag=True, help="Leave out records that cannot be evaluated.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes (as many as cores).")
@click.option("-o", "out", type=click.Path(path_type=Path), help="Write the full report as JSON.")
@json_option("Print the full report as one JSON object.")
def evaluate(
    model: Path,
    directory: Path,
    annotations: str,
    leads: tuple[str, ...],
    front_end: FrontEndName,
    changes: tuple[str, ...],
    include_paced: bool,
    same_patient: tuple[str, ...],
    skip_bad: bool,
    jobs: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Say how good MODEL, a file made by convert or bundle, is on annotated records.

    The very file is run as a device would: records through the front end's model as 8-bit counts,
    cut by its window and hop. What a window is in truth follows from its beats by AAMI EC57; the
    intervals are over patients.

    \b
    Example:
      holter evaluate rhythm.tflite --records mitdb
      holter evaluate mine.tflite --records mitdb --map label:normal=N --map label:pvc=V --json
    """
    if out is not None and not out.absolute().parent.is_dir():
        raise BadInputError(f"Cannot write {out}: there is no directory {out.parent}.")
    reading = Reading(
        annotations=annotations,
        leads=leads or read_bundle(model).spec.channels or Reading().leads,
        front_end=front_end,
        classes=ClassMap.parse(changes),
    )
    groups = [tuple(name.strip() for name in text.split(",")) for text in same_patient]
    with _progress() as progress:
        evaluation = evaluate_model(
            model,
            directory,
            reading=reading,
            include_paced=include_paced,
            skip_bad=skip_bad,
            same_patient=(*SAME_PATIENT, *groups),
            jobs=jobs,
            progress=progress,
        )
    made = full_report(evaluation)
    _tell(made)
    if out is not None:
        with replacing(out) as file:
            file.write(json.dumps(made, indent=1, allow_nan=False).encode() + b"\n")
    if as_json:
        emit_json(made)
        return
    for line in _lines(made):
        emit(line)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar on stderr while the block runs, where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("records", total=None)

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=f"records ({name})")

        yield progress


def _tell(made: dict[str, Any]) -> None:
    """Say on stderr what was done with a record that its owner may not expect."""
    for name, reason in made["left_out"].items():
        note(f"record {name} is left out: {reason}")
    for row in made["per_record"]:
        for text in row["notes"]:
            note(f"record {row['record']} {text}")


def _lines(made: dict[str, Any]) -> Iterator[str]:
    yield from _about(made)
    yield ""
    yield from _class_lines(made)
    yield ""
    yield from _confusion_lines(made)
    yield ""
    yield from _overall_lines(made)
    yield ""
    yield from _reliability_lines(made)
    yield ""
    yield from _record_lines(made)


def _about(made: dict[str, Any]) -> Iterator[str]:
    model, records, windows = made["model"], made["records"], made["windows"]
    beats: dict[str, str] = {}
    for symbol, name in made["map"]["beats"].items():
        beats[name] = beats.get(name, "") + symbol
    labels = ", ".join(f"{label} is {name}" for label, name in made["map"]["labels"].items())
    yield f"model      {model['name']}, version {model['version']} ({model['sha256'][:12]})"
    yield (
        f"records    {records['count']} of {amount(records['patients'], 'patient')}, lead "
        f"{', '.join(records['leads'])}, annotations {records['annotations']}, front end "
        f"{records['front_end']}"
    )
    yield (
        f"windows    {windows['judged']}; left out: {windows['without_truth']} without a truth, "
        f"{windows['unclassifiable']} without a class on a device (electrode off)"
    )
    yield "beats      " + ", ".join(f"{name} = {symbols}" for name, symbols in beats.items())
    yield f"labels     {labels}"


def _class_lines(made: dict[str, Any]) -> list[str]:
    keys = ("sensitivity", "positive_predictivity", "f1")
    rows = [("class", "windows", "called", *(key.replace("_", " ") + " %" for key in keys))]
    for name, row in made["classes"].items():
        shown = (_interval(row[key]) for key in keys)
        rows.append((name, str(row["windows"]), str(row["called"]), *shown))
    return table(rows)


def _confusion_lines(made: dict[str, Any]) -> list[str]:
    columns, confusion = made["confusion"]["columns"], made["confusion"]["table"]
    rows = [["truth", *(f"called {name}" for name in columns)]]
    for name, counts in zip(made["confusion"]["rows"], confusion, strict=True):
        rows.append([name, *map(str, counts)])
    return table(rows if any(counts[-1] for counts in confusion) else [row[:-1] for row in rows])


def _overall_lines(made: dict[str, Any]) -> Iterator[str]:
    overall, point = made["overall"], made["n_at_specificity"]
    yield f"macro F1       {_interval(overall['macro_f1'])} %"
    yield f"accuracy       {_interval(overall['accuracy'])} %"
    yield f"N specificity  {_interval(overall['n_specificity'])} %"
    limit = "" if point["threshold"] is None else f" (score of N above {point['threshold']:.3f})"
    yield (
        f"N sensitivity  {_interval(point['sensitivity'])} % at N specificity "
        f"{100 * point['wanted_specificity']:g} %{limit}"
    )
    yield "In brackets: 95 % intervals over patients."


def _reliability_lines(made: dict[str, Any]) -> Iterator[str]:
    calibration = made["calibration"]
    error = calibration["ece"]
    yield f"ECE            {'–' if error is None else f'{error:.3f}'}"
    rows = [("score", "windows", "mean score", "share right")]
    rows += [
        (
            f"{row['from']:.2f}–{row['to']:.2f}",
            str(row["windows"]),
            f"{row['confidence']:.3f}",
            f"{row['accuracy']:.3f}",
        )
        for row in calibration["bins"]
    ]
    yield from table(rows)


def _record_lines(made: dict[str, Any]) -> list[str]:
    classes = list(made["classes"])
    rows = [("record", "windows", "accuracy %", *(f"{name} sensitivity %" for name in classes))]
    for row in made["per_record"]:
        shown = (_percent(row["sensitivity"][name]) for name in classes)
        rows.append((row["record"], str(row["windows"]), _percent(row["accuracy"]), *shown))
    return table(rows)


def _interval(figure: dict[str, float | None]) -> str:
    text = _percent(figure["value"])
    if figure["low"] is None:
        return text
    return f"{text} ({_percent(figure['low'])}–{_percent(figure['high'])})"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
