"""The inventory: which devices a fleet has, from a file `fleet.toml`.

    [defaults]                  # optional, for every device that does not say otherwise
    port = 50051
    insecure = false
    labels = { country = "it" }

    [[device]]
    name = "ward-3-bed-2"       # letters, digits, _ . and -
    address = "127.0.0.1:50051" # or HOST (with the port above), or "unix:/run/holter.sock"
    labels = { site = "a", role = "canary" }

    [[device]]
    name = "ward-3-bed-3"
    address = "10.1.7.3"
    insecure = true             # as there is no encryption yet: this network is trusted

It is validated whole: one error tells everything that is wrong in it, with lines.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from holter_host._inventory_check import Checker, FleetDevice, InventoryError, InventoryProblem
from holter_host._selectors import parse_selector
from holter_host.errors import BadInputError, HolterError

__all__ = [
    "FleetDevice",
    "Inventory",
    "InventoryError",
    "InventoryProblem",
    "NothingSelectedError",
    "load_inventory",
]


class NothingSelectedError(HolterError, LookupError):
    """Error raised when a selector matches no device of an inventory."""

    exit_code = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Inventory:
    """The devices of a fleet, in the order of their file.

    Attributes:
        path: the file, for people.
        devices: one or more, their names and addresses all different.
    """

    path: str
    devices: tuple[FleetDevice, ...]

    def __len__(self) -> int:
        return len(self.devices)

    def select(self, *selectors: str) -> Self:
        """Those devices that every selector means, e.g. "site=a,role!=test".

        The conditions of a selector are separated by commas, and all must hold: `key=value`,
        `key!=value` (or without that label), `key` (has that label), `!key` (has it not). `name` is
        the device's name. A value may be several, `site=a|b`, and have `*` and `?`.

        Raises:
            BadInputError: that is no selector.
            NothingSelectedError: it means none of them.
        """
        terms = [term for selector in selectors for term in parse_selector(selector)]
        chosen = []
        for device in self.devices:
            facts = {**device.labels, "name": device.name}
            if all(term.matches(facts) for term in terms):
                chosen.append(device)
        if not chosen:
            known = sorted({key for device in self.devices for key in device.labels})
            raise NothingSelectedError(
                f"No device of {self.path} matches {','.join(selectors)!r}; "
                f"the labels there are: {', '.join(['name', *known])}."
            )
        return dataclasses.replace(self, devices=tuple(chosen))


def load_inventory(path: str | os.PathLike[str]) -> Inventory:
    """The inventory in a file.

    Raises:
        InventoryError: something is wrong in it; `problems` has everything that is.
        BadInputError: it cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInputError(
            f"Cannot read the inventory {path}: {error.strerror}; name the file that lists the "
            "devices with --inventory or HOLTER_FLEET (docs/fleet.md shows one)."
        ) from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} is no inventory: it is not text in UTF-8.") from error
    return parse_inventory(text, str(path))


def parse_inventory(text: str, path: str) -> Inventory:
    """The inventory that a text is; `path` is for messages.

    Raises:
        InventoryError: something is wrong in it.
    """
    try:
        content: Mapping[str, object] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error))
        line = int(found[2]) if found else text.count("\n") + 1
        said = found[1] if found else str(error).partition(" (at ")[0]
        problem = InventoryProblem(line, "", f"that is no TOML: {said}")
        raise InventoryError(path, [problem]) from error
    checker = Checker(text, path)
    return Inventory(path, checker.devices(content))
