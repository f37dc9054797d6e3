"""What was said of a record."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What was said of a record.

    Attributes:
        starts: first frame of each window with a truth that was classified, shape (windows,).
        truth: its class, 0 to 2.
        scores: float32, shape (windows, labels).
        without_truth: windows that were left out because they have no truth.
        unclassifiable: windows with a truth of which a device would say no class.
        notes: what must be said of the record.
    """

    starts: npt.NDArray[np.int64]
    truth: npt.NDArray[np.int8]
    scores: npt.NDArray[np.float32]
    without_truth: int
    unclassifiable: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON values; a float32 comes back as it was."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in plain.items()}

    @classmethod
    def from_json(cls, raw: dict[str, Any], label_count: int) -> Judgement:
        """Read what `to_json` made."""
        return cls(
            starts=np.array(raw["starts"], np.int64),
            truth=np.array(raw["truth"], np.int8),
            scores=np.array(raw["scores"], np.float32).reshape(-1, label_count),
            without_truth=raw["without_truth"],
            unclassifiable=raw["unclassifiable"],
            notes=tuple(raw["notes"]),
        )
