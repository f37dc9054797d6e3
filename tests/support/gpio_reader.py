"""Lead-off lines by gpiod in a process of its own, which a preloaded shim gives its chip.

Run as a program, it opens the lines that its arguments name, says so, and answers each time on its
stdin with the edges up to it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from holter_device.errors import DeviceError, LeadOffLinesError
from holter_device.leadoff import Edge, Line, open_lines, parse_lines

CHANNELS = ("A0", "A1")


class GpioReader:
    """LeadOffLines whose gpiod runs in another process.

    Raises:
        LeadOffLinesError: what that process raised.
    """

    def __init__(self, process: subprocess.Popen[str], lines: Sequence[Line]) -> None:
        self._process = process
        self._lines = {str(line): line for line in lines}
        if text := self._answer():
            raise LeadOffLinesError(text)

    def read(self, until_ns: int) -> list[Edge]:
        """What `read` gave there."""
        assert self._process.stdin is not None
        print(until_ns, file=self._process.stdin, flush=True)
        return [Edge(time_ns, self._lines[name], off) for time_ns, name, off in self._answer()]

    def close(self) -> None:
        """End the process; it let go of its lines."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait() == 0

    def _answer(self) -> list[tuple[int, str, bool]]:
        assert self._process.stdout is not None
        answer: list[tuple[int, str, bool]] = json.loads(self._process.stdout.readline())
        return answer


@contextlib.contextmanager
def gpio_process(
    environment: Mapping[str, str], chip: str, lines: Sequence[Line]
) -> Iterator[subprocess.Popen[str]]:
    """The process, for a GpioReader; killed at the end if it still runs."""
    command = [sys.executable, __file__, chip, *map(str, lines)]
    with subprocess.Popen(
        command,
        env={**environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def main(chip: str, *texts: str) -> None:
    """What the process does."""
    try:
        lines = open_lines(chip, parse_lines(texts), CHANNELS)
        assert lines is not None
    except DeviceError as error:
        print(json.dumps(str(error)), flush=True)
        return
    print(json.dumps([]), flush=True)
    for until in sys.stdin:
        edges = [(edge.time_ns, str(edge.line), edge.off) for edge in lines.read(int(until))]
        print(json.dumps(edges), flush=True)
    lines.close()
    lines.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
