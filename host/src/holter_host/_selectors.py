"""Which devices of a fleet are meant: `site=a,role!=test`."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Mapping
from typing import Final

from holter_host.errors import BadInputError

KEY: Final = r"[A-Za-z0-9_.-]+"
_TERM: Final = re.compile(rf"(!?)\s*({KEY})\s*(?:(!=|==?)\s*(.*))?")


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """One condition: a label has one of these values (shell patterns), or is there at all."""

    key: str
    patterns: tuple[str, ...]
    wanted: bool

    def matches(self, facts: Mapping[str, str]) -> bool:
        """Whether a device with these labels, and its name under "name", is meant."""
        value = facts.get(self.key)
        if value is None:
            return not self.wanted
        found = not self.patterns or any(fnmatch.fnmatchcase(value, p) for p in self.patterns)
        return found is self.wanted


def parse_selector(text: str) -> tuple[Term, ...]:
    """The conditions of a selector, all of which must hold.

    They are separated by commas: `key=value`, `key!=value`, `key` (has the label), `!key` (has it
    not). A value may be several, `site=a|b`, and have `*`, `?` and `[abc]`. `name` is the device's
    name. A device without the label matches `key!=value`.

    Raises:
        BadInputError: that is no selector.
    """
    return tuple(_term(part.strip(), text) for part in text.split(","))


def _term(part: str, text: str) -> Term:
    found = _TERM.fullmatch(part)
    if not found or (found[1] and found[3]) or (found[3] and not found[4]):
        raise BadInputError(
            f"{part!r} in the selector {text!r} is no condition: give key=value, key!=value, key "
            "or !key, separated by commas, as in site=a,role!=test."
        )
    negated = bool(found[1]) or found[3] == "!="
    patterns = tuple(p.strip() for p in found[4].split("|")) if found[3] else ()
    return Term(found[2], patterns, not negated)
