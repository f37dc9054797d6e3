"""What TensorFlow says of windows: python -m support.saved_model_scores SAVED_MODEL IN OUT.

IN and OUT are .npy files: windows float32 (count, frames) as the SavedModel takes them, scores
float32 (count, labels). A process of its own, as TensorFlow and tflite-runtime do not share one.
"""

from __future__ import annotations

import sys

import numpy as np


def main() -> None:
    """Run the SavedModel's serving signature on each window alone."""
    import tensorflow as tf

    folder, windows_path, scores_path = sys.argv[1:]
    loaded = tf.saved_model.load(folder)
    signature = loaded.signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    scores = []
    for window in np.load(windows_path):
        (output,) = signature(**{name: tf.constant(window[None, :, None])}).values()
        scores.append(output.numpy()[0])
    np.save(scores_path, np.array(scores, dtype=np.float32))


if __name__ == "__main__":
    main()
