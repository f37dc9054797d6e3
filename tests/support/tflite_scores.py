"""What a TFLite runtime says of windows: python tflite_scores.py < JOBS, in either environment.

JOBS is JSON, a list of {"model", "windows", "scores"}: a Holter model, an .npy of float32 windows
(count, frames, 1) in its unit, and the .npy to write, float32 (count, labels). Prints a JSON list
with null, or what the runtime said against it, for each. It needs numpy and one runtime alone:
tflite-runtime 2.14 cannot be in one process with TensorFlow.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter


def main() -> None:
    """Do all jobs."""
    print(json.dumps([_tried(**job) for job in json.load(sys.stdin)]))


def _tried(model: str, windows: str, scores: str) -> str | None:
    try:
        np.save(scores, score(Path(model).read_bytes(), np.load(windows)))
    except Exception as error:  # the runtimes raise several kinds
        return str(error).splitlines()[0]
    return None


def score(model: bytes, windows: Any) -> Any:
    """Scores of windows, addressed by the names in the model's spec as a device does."""
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        spec = json.loads(archive.read("holter/spec.json"))
    runner = Interpreter(model_content=model, num_threads=1).get_signature_runner(spec["signature"])
    source, target = runner.get_input_details(), runner.get_output_details()
    rows = [
        runner(
            **{spec["input"]: _whole(window.reshape(spec["input_shape"]), source[spec["input"]])}
        )
        for window in (windows if spec["layout"] == "channels_last" else windows.swapaxes(1, 2))
    ]
    outputs = np.concatenate([row[spec["output"]].reshape(1, -1) for row in rows])
    scale, zero_point = target[spec["output"]]["quantization"]
    return (outputs - np.float32(zero_point)) * np.float32(scale) if scale else outputs


def _whole(value: Any, details: Any) -> Any:
    """What a model with an int8 input takes for a value."""
    scale, zero_point = details["quantization"]
    if not scale:
        return value
    return np.clip(np.rint(value / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)


if __name__ == "__main__":
    main()
