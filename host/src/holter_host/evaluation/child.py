"""A process that judges records: `python -m holter_host.evaluation.child`.

Reads JSON lines from stdin and answers each with one on what was stdout when it started:

    {"model", "sha256", "reading": {…}}   first: load this file, of this digest   {"ready": true}
    {"record": PATH}                      then any number of times           {"judgement": {…}}

or {"error": {"kind": "bad_input" | "failed", "message": SENTENCE}}. It ends when stdin does, so it
does not outlive its parent.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from holter_host.bundle import read_bundle
from holter_host.errors import BadInputError, ConversionError, HolterError
from holter_host.evaluation.records import Reading
from holter_host.evaluation.truth import ClassMap


class _Child:
    def __init__(self, request: dict[str, Any]) -> None:
        try:
            from holter_host.evaluation.judge import Judge
        except ImportError as error:
            raise ConversionError(
                "Running a model here needs ai-edge-litert; install it with: pip install "
                "'holter-host[evaluate]'"
            ) from error
        bundle = read_bundle(Path(request["model"]))
        if bundle.sha256 != request["sha256"]:
            raise BadInputError(f"{bundle.path} was changed while it was evaluated.")
        raw = request["reading"]
        self._reading = Reading(
            annotations=raw["annotations"],
            leads=tuple(raw["leads"]),
            front_end=raw["front_end"],
            classes=ClassMap(**raw["classes"]),
        )
        self._judge = Judge(bundle)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        judgement = self._judge.judge(Path(request["record"]), self._reading)
        return {"judgement": judgement.to_json()}


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    child: _Child | None = None
    for line in sys.stdin:
        answer: dict[str, Any] = {"ready": True}
        try:
            request = json.loads(line)
            if child is None:
                child = _Child(request)
            else:
                answer = child.answer(request)
        except Exception as error:
            kind = "bad_input" if isinstance(error, BadInputError) else "failed"
            text = str(error) if isinstance(error, HolterError) else f"unexpected: {error!r}"
            answer = {"error": {"kind": kind, "message": text}}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
