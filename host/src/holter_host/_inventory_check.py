"""What may stand in an inventory; everything that is wrong in one is found in one go."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from holter_host._channel import is_local, with_port
from holter_host._selectors import KEY
from holter_host._toml_lines import TableLines
from holter_host.errors import BadInputError

LIMIT: Final = 20
FIELDS: Final = ("name", "address", "labels", "insecure")
DEFAULTS: Final = ("port", "insecure", "labels")
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@dataclasses.dataclass(frozen=True, slots=True)
class FleetDevice:
    """A device of a fleet: its name, where it is (as `connect` takes it), and its labels."""

    name: str
    address: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class InventoryProblem:
    """Something that is wrong in an inventory: its line, its field ("" for no one), a sentence."""

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}{self.field and ', '}{self.field}: {self.message}"


class InventoryError(BadInputError):
    """Error raised when an inventory cannot be used; its message tells the first 20 problems.

    Attributes:
        path: the file.
        problems: all of them, in the order of their lines.
    """

    def __init__(self, path: str, problems: Iterable[InventoryProblem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        count = len(self.problems)
        lines = [f"{path} has {count} problem{'s' if count > 1 else ''}:"]
        lines += [f"  {problem}" for problem in self.problems[:LIMIT]]
        if count > LIMIT:
            lines.append(f"  and {count - LIMIT} more")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.problems)


class Checker:
    """Reads the content of one file, and notes what is wrong in it."""

    def __init__(self, text: str, path: str) -> None:
        self._text = text
        self._path = path
        self._lines: TableLines | None = None
        self._problems: list[InventoryProblem] = []

    def devices(self, content: Mapping[str, Any]) -> tuple[FleetDevice, ...]:
        """The devices in the content of a file.

        Raises:
            InventoryError: anything in it is wrong.
        """
        self._unknown(None, content, ("defaults", "device"))
        defaults = self._defaults(content.get("defaults", {}))
        tables = content.get("device", [])
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            self._note(None, "device", "write each device as a table of its own, [[device]]")
            tables = []
        elif not tables and not self._problems:
            self._note(None, "", "there is no [[device]] in it")
        devices = [self._device(index, table, defaults) for index, table in enumerate(tables)]
        self._duplicates("name", [device.name for device in devices])
        self._duplicates("address", [device.address for device in devices])
        if self._problems:
            raise InventoryError(self._path, self._problems)
        return tuple(devices)

    def _defaults(self, defaults: Any) -> dict[str, Any]:
        if not isinstance(defaults, dict):
            self._note(None, "defaults", "write it as a table, [defaults]")
            return {}
        self._unknown(None, defaults, DEFAULTS)
        port = defaults.get("port")
        if port is not None and (type(port) is not int or not 1 <= port <= 65535):
            self._note(None, "port", f"{port!r} is no port: give a whole number from 1 to 65535")
            port = None
        labels = self._labels(None, defaults.get("labels", {}))
        return {"port": port, "insecure": self._insecure(None, defaults), "labels": labels}

    def _device(
        self, index: int, table: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> FleetDevice:
        self._unknown(index, table, FIELDS)
        name, address = self._text_of(index, table, "name"), ""
        if name and not NAME.fullmatch(name):
            self._note(index, "name", f"{name!r} is no name: use letters, digits, _ . and - only")
        if given := self._text_of(index, table, "address"):
            insecure = self._insecure(index, {"insecure": defaults.get("insecure"), **table})
            address = self._address(index, given, defaults.get("port"), insecure)
        labels = {**defaults.get("labels", {}), **self._labels(index, table.get("labels", {}))}
        return FleetDevice(name, address, labels)

    def _text_of(self, index: int, table: Mapping[str, Any], field: str) -> str:
        value = table.get(field)
        if isinstance(value, str) and value:
            return value
        if value is None:
            self._note(index, field, "it is missing")
        elif value == "":
            self._note(index, field, "it is empty")
        else:
            self._note(index, field, f"{value!r} is no text: write it in quotes")
        return ""

    def _address(self, index: int, given: str, port: int | None, insecure: bool) -> str:
        try:
            address = with_port(given, port)
        except BadInputError as error:
            self._note(index, "address", str(error).rstrip("."))
            return ""
        if not insecure and not is_local(address):
            self._note(
                index,
                "address",
                f"{given!r} is on another computer, and there is no encryption yet: add "
                "insecure = true where you trust the network, or tunnel it to a loopback port "
                "(ssh -L)",
            )
        return address

    def _insecure(self, index: int | None, table: Mapping[str, Any]) -> bool:
        value = table.get("insecure")
        if value is not None and not isinstance(value, bool):
            self._note(index, "insecure", f"{value!r} is neither true nor false")
        return value is True

    def _labels(self, index: int | None, labels: Any) -> dict[str, str]:
        if not isinstance(labels, dict):
            self._note(index, "labels", 'write them as a table, { site = "a" }')
            return {}
        for key, value in labels.items():
            if not re.fullmatch(KEY, key):
                self._note(index, "labels", f"{key!r} is no key: use letters, digits, _ . and -")
            elif key == "name":
                self._note(index, "labels", "the key name is taken: it selects by device name")
            if not isinstance(value, str):
                self._note(index, "labels", f"{key} is {value!r}, no text: write it in quotes")
            elif not value or not value.isprintable() or set(value) & set(",|"):
                self._note(
                    index, "labels", f"{key} is {value!r}: it must have a value, without , and |"
                )
        return {key: value for key, value in labels.items() if isinstance(value, str)}

    def _duplicates(self, field: str, values: Sequence[str]) -> None:
        first: dict[str, int] = {}
        for index, value in enumerate(values):
            before = first.setdefault(value, index)
            if value and before != index:
                line = self._line(before, field)
                self._note(index, field, f"{value!r} is the {field} of line {line} too")

    def _unknown(self, index: int | None, table: Mapping[str, Any], known: Sequence[str]) -> None:
        for field in table:
            if field not in known:
                close = difflib.get_close_matches(field, known, 1)
                hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
                self._note(index, field, f"there is no such field; {hint}")

    def _note(self, index: int | None, field: str, message: str) -> None:
        self._problems.append(InventoryProblem(self._line(index, field), field, message))

    def _line(self, index: int | None, field: str) -> int:
        if self._lines is None:
            self._lines = TableLines(self._text, "device")
        return self._lines.of(index, field)
