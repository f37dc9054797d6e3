"""What `normalize` means, in NumPy: the definition that the converted graph is held against.

    zscore       (x - mean) / max(s, 1e-6), s the population standard deviation
    minmax       (x - min) / max(max - min, 1e-30), which maps to [0, 1]; a flat window becomes 0
    affine:a,b   x * a + b, in float32, rounded after each of the two
    none         x

for each window and channel by itself. The first two do not change when a constant is added to x,
and the first value is subtracted before all else: a flat window then is exactly 0 in any precision,
where float32 would have divided the rounding error of its mean by 1e-6.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from holter_host.conversion.options import Normalize, affine_factors

MIN_DEVIATION: Final = 1e-6
MIN_RANGE: Final = 1e-30
SCOPE: Final = "holter_normalize"  # what the ops of it are named by in the graph


def normalized(windows: npt.NDArray[np.float32], kind: Normalize) -> npt.NDArray[np.float32]:
    """Normalise windows of shape (…, window, channel_count), in any unit; float32, same shape."""
    if kind == "none":
        return windows
    factors = affine_factors(kind)
    if factors is not None:
        scale, offset = np.array(factors, np.float32)
        return np.asarray(windows * scale + offset, np.float32)
    x = windows.astype(np.float64)
    x -= x[..., :1, :]
    if kind == "zscore":
        x -= x.mean(axis=-2, keepdims=True)
        deviation = np.sqrt(np.square(x).mean(axis=-2, keepdims=True))
        x /= np.maximum(deviation, MIN_DEVIATION)
    else:
        x -= x.min(axis=-2, keepdims=True)
        x /= np.maximum(x.max(axis=-2, keepdims=True), MIN_RANGE)
    return x.astype(np.float32)
