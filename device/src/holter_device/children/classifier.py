"""The classifier process: holds at most one model, takes windows, gives scores.

    python -m holter_device.children.classifier PARENT_PID SETTINGS

SETTINGS is JSON: {"runtime": "auto", "memory_bytes": 268435456}. All parsing of hostile bytes is
in this process, under limits of memory; time is limited by the parent, which kills. The frames:

    to the child                              from the child
    -                                         HELLO   JSON {name, version}, once, at the start
    FIT     JSON of DeviceFit                 -
    LOAD    the whole model file              LOADED  JSON of holter_device.classifier.LoadReport
    PROVE   -                                 PROVED  JSON of holter_device.classifier.GoldenReport
    COUNTS  raw counts, frame by frame        RESULT  inference_ns (uint64), scores (float32)
    VALUES  float32 in the model's unit       RESULT

LOAD and PROVE may be answered by REFUSED (JSON {error, message, facts}; `error` names a class of
holter_device.errors), and so may the start; a window by FAILED, or NOT_FINITE where its scores are
no numbers (a sentence each). Numbers are little-endian. This module imports nothing heavy: limits
and the libraries' threads are set first.
"""

from __future__ import annotations

import enum
import json
import os
import resource
import struct
import sys

from . import FRAME, begin, write_frame

INFERENCE_NS = struct.Struct("<Q")


class Kind(enum.IntEnum):
    """Kinds of frames."""

    FIT = 1
    LOAD = 2
    PROVE = 3
    COUNTS = 4
    VALUES = 5
    HELLO = 16
    LOADED = 17
    PROVED = 18
    RESULT = 19
    REFUSED = 20
    FAILED = 21
    NOT_FINITE = 22


def limit(memory_bytes: int) -> None:
    """Limit this process: memory, no core file, no file written, one thread a library.

    RLIMIT_AS would refuse good models, whose runtimes map far more than they use; RLIMIT_CPU would
    end a good one hours later.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.dont_write_bytecode = True
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"


def main() -> None:
    """Serve the parent until it closes our stdin."""
    begin(int(sys.argv[1]))
    settings = json.loads(sys.argv[2])
    limit(int(settings["memory_bytes"]))
    # What a library prints must not get between the frames.
    out = os.dup(1)
    os.dup2(2, 1)
    from ..runtime.server import Server, hello

    kind, payload, runtime = hello(settings["runtime"])
    write_frame(out, kind, payload)
    if runtime is None:
        return
    server = Server(runtime)
    # Buffered, so that a window and its header are one read; a model is read in place.
    with open(0, "rb", buffering=2**16, closefd=False) as stdin:
        while len(header := stdin.read(FRAME.size)) == FRAME.size:
            length, kind = FRAME.unpack(header)
            answer = server.answer(kind, stdin.read(length))
            if answer is not None:
                write_frame(out, *answer)


if __name__ == "__main__":
    main()
