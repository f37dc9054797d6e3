"""What the graph of each normalisation makes of windows of a record, in millivolts and in counts,
and of flat ones: python -m support.normalized_graph RECORD FOLDER.

Writes FOLDER/windows.npy, float32 (count, 3600, 2), and KIND.LAYOUT.npy of the same shape. A
process of its own, so that pytest needs no TensorFlow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import wfdb

from holter_host.conversion.options import ConversionOptions
from holter_host.conversion.resolve import plan_input
from holter_host.conversion.saved_model import normalized_graph


def main() -> None:
    """Run each normalisation as a traced graph, window by window."""
    record, folder = sys.argv[1], Path(sys.argv[2])
    signal = wfdb.rdrecord(record, sampto=36_000).p_signal.reshape(10, 3600, 2)
    flat = [np.full((1, 3600, 2), value) for value in (0, 0.1, -123.456, 1e6)]
    windows = np.concatenate([signal, np.rint(signal * 85 + 128), *flat]).astype(np.float32)
    np.save(folder / "windows.npy", windows)
    _, frames, count = windows.shape
    channels = tuple(map(str, range(count)))
    for layout, axes in (("channels_last", (frames, count)), ("channels_first", (count, frames))):
        options = ConversionOptions.from_dict({"channels": channels, "layout": layout})
        plan = plan_input((1, *axes), options)
        for kind in ("none", "zscore", "minmax", "affine:0.3,-1.7"):
            graph = tf.function(lambda x, plan=plan, kind=kind: normalized_graph(x, plan, kind))
            made = np.stack([graph(tf.constant(plan.feed(window)))[0] for window in windows])
            if layout == "channels_first":
                made = made.swapaxes(1, 2)
            np.save(folder / f"{kind}.{layout}.npy", made)


if __name__ == "__main__":
    main()
