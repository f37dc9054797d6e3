"""Model files that a FakeDevice takes: a true archive behind a flatbuffer that nobody runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from holter.spec import ModelSpec
from holter_host.bundle import Bundle, Golden, write_bundle

FLATBUFFER = b"\x1c\0\0\0TFL3" + bytes(300)


def make_model(path: Path, **changes: Any) -> Bundle:
    """Write a model of 360 frames every 180, millivolts, labels N S V, but for the changes."""
    keys: dict[str, Any] = {
        "name": "rhythm",
        "rate_hz": 360.0,
        "window": 360,
        "hop": 180,
        "unit": "millivolts",
        "labels": ("N", "S", "V"),
        "input": "x",
        "output": "y",
        **changes,
    }
    channels = max(1, len(keys.get("channels", ())))
    spec = ModelSpec(**{"input_shape": (1, keys["window"], channels), **keys})
    golden = Golden(
        np.zeros((2, spec.window, channels), np.float32),
        np.full((2, len(spec.labels)), 0.5, np.float32),
    )
    return write_bundle(FLATBUFFER, spec, golden, {}, path)
