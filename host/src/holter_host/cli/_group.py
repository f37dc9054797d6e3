"""The verbs as one command, and how it reports an error."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Mapping, Sequence
from typing import Final

import click

import holter_host
from holter_host.cli import VERBS
from holter_host.cli._common import StdoutClosedError
from holter_host.cli._verbs import Verbs

INTERRUPTED: Final = 130


@click.group(
    cls=Verbs,
    package="holter_host.cli",
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(holter_host.__version__, prog_name="holter")
@click.option("--debug", is_flag=True, help="Print the whole story of an error.")
def holter(debug: bool) -> None:
    """Convert ECG models, deploy them to Holter devices, and watch what the devices say.

    \b
    Example:
      holter convert saved_model -o rhythm.tflite --labels N,S,V
      holter deploy rhythm.tflite --device raspberrypi.local:50051
      holter watch
    """


def run(arguments: Sequence[str]) -> int:
    """Run `holter` and return its exit code. No error leaves here as a traceback."""
    debug = "--debug" in arguments
    if not debug:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        result = holter.main(list(arguments), prog_name="holter", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except StdoutClosedError:  # `| head -1` has what it wants
        return 0
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error, as_json="--json" in arguments)


def _report(error: Exception, as_json: bool) -> int:
    """Print an error as one sentence or one JSON object on stderr, and return the exit code."""
    reason, message, metadata, code = _facts(error)
    if as_json:
        facts = {"reason": reason, "message": message, "metadata": metadata}
        click.echo(json.dumps({"error": facts}), err=True)
        return code
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    click.echo(f"holter: {message}", err=True)
    return code


def _facts(error: Exception) -> tuple[str, str, Mapping[str, str], int]:
    """The reason, the sentence, the metadata and the exit code of an error."""
    match error:
        case holter_host.DeviceError():
            return error.reason or error.code, str(error), error.metadata, error.exit_code
        case holter_host.HolterError():
            reason = "BAD_INPUT" if error.exit_code == 2 else "FAILED"
            return reason, str(error), {}, error.exit_code
        case click.UsageError():
            return "BAD_USAGE", error.format_message(), {}, error.exit_code
        case click.ClickException():
            return "FAILED", error.format_message(), {}, error.exit_code
        case ModuleNotFoundError() if error.name:
            message = (
                f"the Python module {error.name} is missing, so this installation is not whole; "
                "install holter-host again with pip, without --no-deps"
            )
            return "NOT_INSTALLED", message, {"module": error.name}, 1
    message = (
        f"something unexpected went wrong ({type(error).__name__}); "
        "for the whole story run: holter --debug …"
    )
    return "UNEXPECTED", message, {}, 1
