"""Which patients are held out together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# Dealt by hand before any model was judged: records rich in S (118 209 220 201 223), in V, and
# with bundle branch block (109 and 207 left, 118 and 124 right) are spread over the folds.
FOLDS = (
    ("101", "114", "118", "208", "215", "230"),
    ("108", "112", "119", "205", "207", "209"),
    ("106", "122", "124", "203", "220"),
    ("109", "115", "116", "201", "223"),
)


def deal(paths: Sequence[Path]) -> list[list[Path]]:
    """The paths of the records in their folds; others are left out.

    Raises:
        SystemExit: some are missing.
    """
    by_name = {path.name: path for path in paths}
    missing = [name for fold in FOLDS for name in fold if name not in by_name]
    if missing:
        raise SystemExit(
            f"these models are made of {sum(map(len, FOLDS))} records of MIT-BIH, of which "
            f"{' '.join(sorted(missing))} are not there: name their folder with --records or "
            "HOLTER_MITDB"
        )
    return [[by_name[name] for name in fold] for fold in FOLDS]
