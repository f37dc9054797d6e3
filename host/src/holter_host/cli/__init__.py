"""The command `holter`: its verbs, and how it starts.

Exit codes: 0 done, 1 refused or failed, 2 bad usage or input, 3 done on a part of a fleet only, 5
nothing found, 130 interrupted.
Results go to stdout, everything else to stderr. What is slow to load is loaded when it is needed:
`holter --help` and `holter watch` load nothing of TensorFlow.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Final

# Verb: module, what it does. In the order in which they are used.
VERBS: Final = {
    "convert": ("_convert", "Convert a SavedModel to a model file, and prove it."),
    "bundle": ("_convert", "Make an existing .tflite deployable."),
    "inspect": ("_convert", "Show what a model file takes, gives and was proven by."),
    "evaluate": ("_evaluate", "Say how good a model file is, on annotated records."),
    "sign": ("_keys", "Vouch for a model file with a key."),
    "keys": ("_keys", "Make a key to sign models with, or show its public key."),
    "deploy": ("_models", "Send a model to a device, which judges it and swaps it in."),
    "models": ("_models", "List the models that a device holds."),
    "activate": ("_models", "Make a stored model the active one."),
    "rollback": ("_models", "Go back to the model before the active one."),
    "delete": ("_models", "Delete a stored model, to make room."),
    "status": ("_status", "Show what a device is and how it does."),
    "watch": ("_watch", "Print samples and classifications as they come."),
    "capture": ("_capture", "Record some seconds into a .npz file."),
    "classify": ("_capture", "Ask the active model for the windows of a capture."),
    "fleet": ("fleet", "Do it on every device of a fleet."),
}


def main() -> None:
    """Run `holter` with this process's arguments, and exit."""
    # Ctrl-C while modules load ends the process without a traceback; nothing is half done then.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = run(sys.argv[1:])
    # All is done but to end. A SIGINT that comes just as it is ignored is none to tell of.
    sys.unraisablehook = lambda _: None
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run `holter` and return its exit code. No error leaves here as a traceback."""
    from holter_host.cli._group import run as run_group

    return run_group(arguments)
