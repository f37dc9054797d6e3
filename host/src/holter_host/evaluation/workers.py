"""Child processes that judge records, one record at a time each."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from holter_host import _child
from holter_host.bundle import Bundle
from holter_host.errors import BadInputError, ConversionError, HolterError
from holter_host.evaluation.records import Reading

_COMMAND: Final = (sys.executable, "-P", "-m", "holter_host.evaluation.child")

Answer = dict[str, Any]


class Worker:
    """One child with the model loaded; a context manager. A model that crashes ends this alone.

    Raises:
        BadInputError: the model cannot be used.
        ConversionError: the runtime does not run it, or an extra is missing.
    """

    def __init__(self, bundle: Bundle, reading: Reading) -> None:
        self._process = _child.start(_COMMAND)
        request = {"model": str(bundle.path), "sha256": bundle.sha256}
        try:
            self._ask({**request, "reading": _plain(reading)}, "it loaded the model")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def kill(self) -> None:
        """End the child; another thread's `judge` then raises."""
        self._process.kill()

    def close(self) -> None:
        """End the child, whatever it does. Safe to repeat."""
        _child.end(self._process)

    def judge(self, record: Path) -> Answer:
        """The child's judgement of a record, as JSON values.

        Raises:
            BadInputError: the record cannot be evaluated.
            ConversionError: the runtime fails, or the child died.
        """
        answer = self._ask({"record": str(record)}, f"it judged {record}")
        judgement: Answer = answer["judgement"]
        return judgement

    def _ask(self, request: Answer, doing: str) -> Answer:
        _child.send(self._process, request)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ConversionError(
                f"The evaluation process {_child.death(self._process)} while {doing}: the model "
                "crashes its runtime, or there is no memory left."
            )
        answer: Answer = json.loads(line)
        error = answer.get("error")
        if error is not None:
            kind = BadInputError if error["kind"] == "bad_input" else ConversionError
            raise kind(error["message"])
        return answer


def judge_all(
    bundle: Bundle,
    reading: Reading,
    records: Sequence[Path],
    jobs: int,
    done: Callable[[Path, Answer | HolterError], None],
) -> None:
    """Judge records by `jobs` children.

    Args:
        bundle: the model.
        reading: how records are read.
        records: which.
        jobs: how many children.
        done: is given each record with its judgement, or why there is none, in any order, by one
            thread at a time. What it raises ends all.

    Raises:
        BadInputError: the model cannot be used.
        ConversionError: the runtime does not run it.
    """
    waiting, lock = iter(records), threading.Lock()
    stopping = threading.Event()
    workers: list[Worker] = []

    def drain() -> None:
        with Worker(bundle, reading) as worker:
            workers.append(worker)
            for record in _taken(waiting, lock, stopping):
                answer: Answer | HolterError
                try:
                    answer = worker.judge(record)
                except BadInputError as error:
                    answer = error
                with lock:
                    done(record, answer)

    with ThreadPoolExecutor(max(1, min(jobs, len(records)))) as pool:
        futures = [pool.submit(drain) for _ in range(max(1, min(jobs, len(records))))]
        try:
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:  # Ctrl-C or a bad record: nobody waits for the others' records
            stopping.set()
            for worker in workers:
                worker.kill()
        for future in finished:
            future.result()


def _taken(
    waiting: Iterator[Path], lock: threading.Lock, stopping: threading.Event
) -> Iterator[Path]:
    while not stopping.is_set():
        with lock:
            record = next(waiting, None)
        if record is None:
            return
        yield record


def _plain(reading: Reading) -> Answer:
    classes = {"beats": dict(reading.classes.beats), "labels": dict(reading.classes.labels)}
    plain = {field.name: getattr(reading, field.name) for field in dataclasses.fields(reading)}
    return {**plain, "classes": classes}
