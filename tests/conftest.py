"""What tests of all rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# The machine is shared: how long an example takes is no law.
settings.register_profile("holter", deadline=None)
settings.load_profile("holter")

# What a test records under one of these is told at the end of the run, captured output or not.
COUNTED = {"power_cuts": "power cuts"}

ROOT = Path(__file__).parents[1]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the counts that tests recorded."""
    for report in terminalreporter.getreports("passed"):
        for name, count in report.user_properties:
            if name in COUNTED:
                terminalreporter.write_line(f"{count} {COUNTED[name]}: {report.nodeid}")


@pytest.fixture(scope="session")
def mitdb() -> Path:
    """The directory of MIT-BIH records: HOLTER_MITDB, else ../shared/data/mitdb."""
    path = Path(os.environ.get("HOLTER_MITDB") or ROOT.parent / "shared" / "data" / "mitdb")
    if not path.joinpath("208.dat").exists():
        pytest.skip(f"no MIT-BIH records in {path}; set HOLTER_MITDB to where they are")
    return path


@pytest.fixture
def short_record(tmp_path: Path) -> Path:
    """A WFDB record of 10 s at 360 Hz with one lead, made here: its path without an extension."""
    seconds = np.arange(3600) / 360
    counts = np.rint(200 * np.sin(2 * np.pi * 1.2 * seconds)).astype("<i2")
    folder = tmp_path / "record"
    folder.mkdir()
    folder.joinpath("short.dat").write_bytes(counts.tobytes())
    checksum = int(counts.sum(dtype=np.int64)) & 0xFFFF
    folder.joinpath("short.hea").write_text(
        f"short 1 360 3600\nshort.dat 16 200 16 0 {counts[0]} {checksum} 0 MLII\n"
    )
    return folder / "short"
