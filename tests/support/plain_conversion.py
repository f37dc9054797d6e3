"""What TensorFlow's own converter makes of SavedModels: python plain_conversion.py PATH…

Prints a JSON list with a short text for each, in their order.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path


def main() -> None:
    """Convert all, with builtin ops only."""
    print(json.dumps([_converted(Path(path)) for path in sys.argv[1:]]))


def _converted(path: Path) -> str:
    import tensorflow as tf

    from holter_host.conversion.audit import audit

    if path.is_file():
        return "takes no .keras"
    converter = tf.lite.TFLiteConverter.from_saved_model(str(path))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        found = audit(converter.convert(), str(path))
    except Exception as error:  # the converter's own
        op = re.search(r"'tf\.(\w+)' op", str(error))
        return f"fails: {op[1] if op else type(error).__name__}"
    return '"ok", without its weights' if found.uninitialised else "ok"


if __name__ == "__main__":
    main()
