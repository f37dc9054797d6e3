"""Models of the zoo, trained a little on MIT-BIH: python trained.py DIRECTORY RECORDS ARCHITECTURE…

Makes DIRECTORY/ARCHITECTURE, a SavedModel by Keras's export that takes z-scored windows of 10 s
and gives N, S, V. A model with random weights says one label for everything, or changes it
for nothing: what a quantisation does to labels shows on one that has learnt some. Records of an
even number are trained on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
LABELS = ("N", "S", "V")
EPOCHS = 3


def records(directory: Path, remainder: int) -> list[Path]:
    """The records whose number leaves a remainder when it is divided by 2, by name."""
    return [p for p in sorted(directory.glob("*.hea")) if int(p.stem) % 2 == remainder]


def main() -> None:
    """Train and export each."""
    import keras

    sys.path[:0] = [str(ROOT / "models"), str(ROOT / "tests")]
    directory, folder = Path(sys.argv[1]), Path(sys.argv[2])
    windows, labels = _training_set(folder)
    weights = {k: len(labels) / (3 * max(1, (labels == k).sum())) for k in range(3)}
    for architecture in sys.argv[3:]:
        model = _model(keras, architecture, windows.shape[1])
        model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
        model.fit(windows, labels, batch_size=32, epochs=EPOCHS, class_weight=weights, verbose=2)
        model.export(str(directory / architecture), verbose=False)


def _training_set(folder: Path) -> tuple[Any, Any]:
    from training import windows

    chosen = [windows.load(path.with_suffix("")) for path in records(folder, 0)]
    inputs = [windows.as_input(record.windows()) for record in chosen]
    return np.concatenate(inputs), np.concatenate([record.truth for record in chosen])


def _model(keras: Any, architecture: str, frames: int) -> Any:
    from support.zoo import ARCHITECTURES

    keras.utils.set_random_seed(3)
    inputs = keras.layers.Input((frames, 1), name="ecg")
    x = ARCHITECTURES[architecture](keras, inputs)
    return keras.Model(inputs, keras.layers.Dense(len(LABELS), activation="softmax")(x))


if __name__ == "__main__":
    main()
