"""The process that imports TensorFlow: `python -m holter_host.conversion.child`.

Reads one JSON request a line from stdin, does it, and answers with JSON lines on what was stdout
when it started (file descriptor 1 then goes to stderr, so that no library can write between them):

    {"progress": SENTENCE}                            any number of times, then one of
    {"done": true, "here": {…}}                       the model file is written; `here` has what
                                                      was seen of this machine and is not in it
    {"error": {"kind": "bad_input" | "conversion", "message": SENTENCE}}

A request has `do` ("convert" or "bundle") and the fields of `job.Job`: `model`,
`default_name`, `options` and `output`. The process ends when stdin does, so it does not outlive
its parent.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

from holter_host.conversion import pipeline
from holter_host.conversion.job import Job
from holter_host.conversion.options import ConversionOptions
from holter_host.errors import BadInputError, HolterError


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        _answer(json.loads(line), answers)


def _answer(request: dict[str, Any], answers: TextIO) -> None:
    def say(**answer: object) -> None:
        print(json.dumps(answer), file=answers)

    try:
        job = Job(
            model=Path(request["model"]),
            default_name=request["default_name"],
            options=ConversionOptions.from_dict(request["options"]),
            output=Path(request["output"]),
            tell=lambda text: say(progress=text),
        )
        {"convert": pipeline.convert, "bundle": pipeline.bundle}[request["do"]](job)
    except Exception as error:
        traceback.print_exc()
        kind = "bad_input" if isinstance(error, BadInputError) else "conversion"
        text = str(error) if isinstance(error, HolterError) else f"The conversion failed: {error!r}"
        say(error={"kind": kind, "message": text})
    else:
        say(done=True, here=job.here)


if __name__ == "__main__":
    main()
