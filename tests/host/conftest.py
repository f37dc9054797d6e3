"""What tests of the host share: one TensorFlow process, and each conversion made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holter_host.bundle import Bundle
from holter_host.conversion import ConversionOptions, Converter, convert
from support.models import saved_models

# With the two that tests of the command make by themselves, 16 in the whole of `make test`.
MAX_CONVERSIONS = 14


class Conversions:
    """Converts test models by name, each with the same words once, in one child process.

    Attributes:
        converter: the child, for what is not to be kept.
        count: how many conversions were begun; what is refused before that is none.
        told: the sentences of progress of the last one.
    """

    def __init__(self, converter: Converter, folder: Path) -> None:
        self.converter = converter
        self.count = 0
        self.told: list[str] = []
        self._folder = folder
        self._made: dict[str, Bundle] = {}

    def __call__(self, model: str, **options: Any) -> Bundle:
        """The model file of a test model, by its path below `saved_models()`."""
        key = f"{model} {sorted(options.items())}"
        if key not in self._made:
            self.told = []
            try:
                self._made[key] = convert(
                    saved_models() / model,
                    self._folder / f"{len(self._made)}.tflite",
                    options=ConversionOptions(**options),
                    progress=self.told.append,
                    converter=self.converter,
                )
            finally:
                self.count += "Converting" in self.told
        return self._made[key]


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversions]:
    """All conversions of a run, which are few: at its end it holds that they are."""
    folder = tmp_path_factory.mktemp("converted")
    with Converter(log_file=folder / "log") as converter:
        conversions = Conversions(converter, folder)
        yield conversions
    assert conversions.count <= MAX_CONVERSIONS
