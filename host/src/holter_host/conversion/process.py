"""Runs the conversion child and turns its answers, or its death, into results and errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from holter_host import _child
from holter_host._files import cannot_write
from holter_host.errors import BadInputError, ConversionError, HolterError

Progress = Callable[[str], None]

_ENVIRONMENT: Final = {"CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
_COMMAND: Final = (sys.executable, "-P", "-m", "holter_host.conversion.child")


class Converter:
    """A process of its own for TensorFlow, started at the first request and usable for many.

    TensorFlow takes seconds to import, writes to the terminal as it likes, and can die by a signal:
    here that costs one request and one sentence. Use as a context manager; not from two threads.

    Args:
        log_file: where TensorFlow's own words go; a temporary file where it is None.
        command: the child's command line, `holter_host.conversion.child` unless a test says else.

    Attributes:
        here: of the last conversion that succeeded, what is true of this machine only, and so is
            not in the file: window_milliseconds, runtime, and evaluation where recordings were
            found (see `evaluation`).
    """

    def __init__(
        self,
        *,
        log_file: str | os.PathLike[str] | None = None,
        command: tuple[str, ...] = _COMMAND,
    ) -> None:
        self.here: dict[str, Any] = {}
        self._command = command
        self._log_path = log_file
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child, whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            _child.end(process)
        log, self._log = self._log, None
        if log is not None:
            log.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def run(self, request: Mapping[str, Any], progress: Progress | None = None) -> dict[str, Any]:
        """Have one request done; `progress` is given each stage's sentence as it begins.

        Returns:
            What was seen of this machine meanwhile, and so is not in the result.

        Raises:
            BadInputError: what was given cannot be used.
            ConversionError: the conversion failed, or the child died; its log is attached.
        """
        process = self._started()
        log_start = os.fstat(self._log_file().fileno()).st_size
        stage = "starting"
        try:
            _child.send(process, request)
            for line in process.stdout or ():
                answer = json.loads(line)
                if "progress" not in answer:
                    return self._finished(answer, log_start)
                stage = answer["progress"]
                if progress is not None:
                    progress(stage)
        except BaseException as error:
            if not isinstance(error, HolterError):
                self.close()
            raise
        how, log = _child.death(process), self._log_since(log_start)
        self.close()
        raise ConversionError(
            f"The conversion process {how} while it was at {stage!r}: a fault inside TensorFlow or "
            "LiteRT, or no memory left for it; nothing was written. Its words: --log-file FILE.",
            log,
        )

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._log = _open_log(self._log_path)
            # Ours, so that what a child that was killed had there does not stay.
            self._folder = tempfile.TemporaryDirectory(prefix="holter-convert-")
            self._process = _child.start(
                self._command,
                stderr=self._log,
                env={**os.environ, **_ENVIRONMENT, "TMPDIR": self._folder.name},
            )
        return self._process

    def _finished(self, answer: dict[str, Any], log_start: int) -> dict[str, Any]:
        log = self._log_since(log_start)
        error = answer.get("error")
        if error is None:
            self.here = answer.get("here", {})
            return self.here
        if error["kind"] == "bad_input":
            raise BadInputError(error["message"])
        raise ConversionError(error["message"], log)

    def _log_file(self) -> IO[bytes]:
        assert self._log is not None
        return self._log

    def _log_since(self, start: int) -> str:
        file = self._log_file().fileno()
        return os.pread(file, os.fstat(file).st_size - start, start).decode(errors="replace")


def _open_log(path: str | os.PathLike[str] | None) -> IO[bytes]:
    if path is None:
        return tempfile.TemporaryFile()
    try:
        return Path(path).open("w+b")
    except OSError as error:
        raise cannot_write(Path(path), error) from error
