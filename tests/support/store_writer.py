"""A process that does to a model store what deploys do: `python store_writer.py DIRECTORY`.

It prints `active NAME` after each record that was written, and `begin NAME` before it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

from holter.signature import ModelSignature
from holter_device.store import ActiveRecord, FileModelStore, Probation, ProbationState
from support.tflite_models import make_spec

MODELS = [bytes([number]) * (3000 + 500 * number) for number in range(4)]
SIGNATURES = [ModelSignature(bytes([number]) * 32, bytes(64)) for number in range(4)]
NAMES = [hashlib.sha256(model).hexdigest() for model in MODELS]


def main(directory: Path) -> None:
    """Deploy a model, one that passes, one that goes back and is deleted, and one more."""
    store = FileModelStore(directory)
    first, second, third, fourth = range(4)

    def record(record: ActiveRecord) -> None:
        print("begin", record.active, flush=True)
        store.set_record(record)
        print("active", record.active, flush=True)

    def put(number: int) -> None:
        store.put(NAMES[number], MODELS[number], make_spec(version=number), SIGNATURES[number])

    put(first)
    record(ActiveRecord(NAMES[first]))
    for new, old in ((second, first), (third, second)):
        put(new)
        probation = Probation(sha256=NAMES[new], previous=NAMES[old])
        record(ActiveRecord(NAMES[new], NAMES[old], probation))
        over = ProbationState.PASSED if new is second else ProbationState.RETURNED
        probation = dataclasses.replace(probation, state=over)
        if over is ProbationState.PASSED:
            record(ActiveRecord(NAMES[new], NAMES[old], probation))
        else:
            record(ActiveRecord(NAMES[old], "", probation))
    store.remove(NAMES[third])
    store.remove(NAMES[first])
    put(fourth)
    record(ActiveRecord(NAMES[fourth], NAMES[second]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
