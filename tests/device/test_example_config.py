"""The example of a config file."""

from __future__ import annotations

import re
from pathlib import Path

from holter_device.config import Config, example, load_config

SHIPPED = Path(__file__).parents[2] / "device" / "holterd.toml"


def test_the_shipped_example_is_what_holterd_prints() -> None:
    """device/holterd.toml is the output of `holterd config`."""
    assert SHIPPED.read_text() == example()


def test_the_example_holds_the_defaults(tmp_path: Path) -> None:
    """With every key uncommented the example loads, and is the defaults."""
    path = tmp_path / "holterd.toml"
    path.write_text(re.sub(r"(?m)^#(?=\w+ = )", "", example()))
    assert load_config(path, {}) == Config()
