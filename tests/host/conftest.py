"""What tests of the host share: one TensorFlow process, and each conversion made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holter_host import cli
from holter_host.bundle import Bundle
from holter_host.conversion import ConversionOptions, Converter, convert
from holter_host.errors import HolterError
from support.command import Done, Holter
from support.models import saved_models

# With the three that tests of the command make by themselves, 16 in the whole of `make test`.
MAX_CONVERSIONS = 13


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
        self._made: dict[str, Bundle | HolterError] = {}

    def __call__(self, model: str, **options: Any) -> Bundle:
        """The model file of a test model, by its path below `saved_models()`."""
        key = f"{model} {sorted(options.items())}"
        if key not in self._made:
            self.told = []
            self._made[key] = self._tried(model, ConversionOptions(**options))
            self.count += "Converting" in self.told
        made = self._made[key]
        if isinstance(made, HolterError):
            raise made
        return made

    def _tried(self, model: str, options: ConversionOptions) -> Bundle | HolterError:
        out = self._folder / f"{len(self._made)}.tflite"
        source, tell = saved_models() / model, self.told.append
        try:
            return convert(source, out, options=options, progress=tell, converter=self.converter)
        except HolterError as error:
            return error


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversions]:
    """All conversions of a run, which are few: at its end it holds that they are."""
    folder = tmp_path_factory.mktemp("converted")
    with Converter(log_file=folder / "log") as converter:
        conversions = Conversions(converter, folder)
        yield conversions
    assert conversions.count <= MAX_CONVERSIONS


@pytest.fixture
def holter(capsys: pytest.CaptureFixture[str]) -> Holter:
    """Run the command in this process."""

    def run(*arguments: object) -> Done:
        code = cli.run([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return run
