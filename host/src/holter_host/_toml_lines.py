"""On which line a table of an array of tables, or a key of it, stands; tomllib does not tell."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONG_STRING = re.compile(r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'', re.DOTALL)


class TableLines:
    """Lines of the tables `[[name]]` in a TOML text that tomllib takes; the first line is 1."""

    def __init__(self, text: str, name: str) -> None:
        # What is in a string of several lines is no table.
        bare = _LONG_STRING.sub(lambda found: '""' + "\n" * found[0].count("\n"), text)
        self._lines = bare.splitlines()
        self._tables: list[list[int]] = []  # the lines of each [[name]], its header first
        self._rest: list[int] = []
        own = re.compile(rf"\s*\[\[\s*{name}\s*\]\]")
        below = re.compile(rf"\s*\[\[?\s*{name}\s*\.")
        into = self._rest
        for number, line in enumerate(self._lines):
            if own.match(line):
                into = []
                self._tables.append(into)
            elif re.match(r"\s*\[", line) and not below.match(line):
                into = self._rest
            into.append(number)

    def of(self, index: int | None, key: str = "") -> int:
        """The line of a key in table `index`, from 0; of the table's header where it has no such.

        Without an index it is the first line of that key, or header, outside of the tables.
        """
        if index is None:
            return self._find(self._rest, key) or 1
        if index >= len(self._tables):
            return 1
        header, *inside = self._tables[index]
        return self._find(inside, key) or header + 1

    def _find(self, numbers: Iterable[int], key: str) -> int:
        wanted = re.compile(rf"""\s*\[*\s*(?:[\w-]+\s*\.\s*)?["']?{re.escape(key)}(?![\w-])""")
        return next((n + 1 for n in numbers if key and wanted.match(self._lines[n])), 0)
