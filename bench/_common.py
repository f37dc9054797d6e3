"""What the benchmarks share: the reference model, holterd as a process, and what a process costs.

Nothing heavy is imported here, so that a benchmark may weigh who does import it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".build" / "bench"
MODEL = ROOT / "models" / "ecg-rhythm"
HOLTER = Path(sys.executable).parent / "holter"

sys.path.insert(0, str(ROOT / "tests"))  # for support.daemon, which runs holterd


def model_file(*, hop: int) -> Path:
    """The reference model with this hop; converted when it is not there, or too old."""
    path = BUILD / f"ecg-rhythm-hop-{hop}.tflite"
    converter = (ROOT / "host" / "src" / "holter_host", ROOT / "proto" / "src" / "holter")
    made_of = [MODEL / "model.toml", *MODEL.joinpath("saved_model").rglob("*")]
    made_of += [source for folder in converter for source in folder.rglob("*.py")]
    if path.exists() and path.stat().st_mtime > max(file.stat().st_mtime for file in made_of):
        return path
    BUILD.mkdir(parents=True, exist_ok=True)
    command = [HOLTER, "convert", MODEL / "saved_model", "-o", path, "--hop", str(hop)]
    run(*map(str, command))
    return path


def run(*command: str) -> str:
    """Run a command to its end; its stdout. Ends the benchmark with what it said if it failed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def python(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run Python with these arguments in a process; yields it and the first line that it prints."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, *arguments], stdin=pipe, stdout=pipe, text=True)
    with process:
        try:
            assert process.stdout is not None
            if not (line := process.stdout.readline().strip()):
                sys.exit(f"python {' '.join(arguments)} said nothing")
            yield process, line
        finally:
            process.kill()


def cpu_ns(*pids: int) -> int:
    """CPU time of processes, all their threads, added up."""
    # The clock id is what clock_getcpuclockid(3) gives: CPUCLOCK_SCHED of a process.
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids)


def memory_bytes(pid: int) -> dict[str, int]:
    """A process's PSS (shared pages divided by who shares them) and its private memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) * 1024 for name, rest in (x.split(":") for x in lines)}
    return {"pss": sizes["Pss"], "private": sizes["Private_Clean"] + sizes["Private_Dirty"]}


def report(bench: str, **figures: object) -> None:
    """Print the one line of a benchmark."""
    print(json.dumps({"bench": bench, **figures}))
