"""What a wheel says of itself."""

from __future__ import annotations

import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

from packaging.requirements import Requirement


def metadata(wheel: Path) -> PathDistribution:
    """The metadata of a wheel."""
    stem = "-".join(wheel.name.split("-")[:2])
    return PathDistribution(zipfile.Path(wheel, f"{stem}.dist-info/"))


def requirements(wheel: Path) -> list[Requirement]:
    """What a wheel asks for, extras included."""
    return [Requirement(text) for text in metadata(wheel).requires or ()]
