"""An experiment on rhythm models, not part of the product: see README.md beside this file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.path[:0] = [str(HERE), str(HERE.parent / "ecg-rhythm")]
    from training.run import main

    main()
