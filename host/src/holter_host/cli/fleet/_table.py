"""A table on a terminal that follows what happens to a fleet."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.table import Table

REFRESH_HZ: Final = 4
MARGIN: Final = 4  # lines of the terminal that are not rows: head, foot, and the cursor's


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One device: its cells, the colour of the second one, its state, and how much it matters."""

    cells: tuple[str, ...]
    colour: str = ""
    urgency: int = 0


@contextlib.contextmanager
def live_table(
    columns: Sequence[str],
    rows: Callable[[], Sequence[Row]],
    *,
    foot: Callable[[], str] = lambda: "",
    whole: bool = True,
    quiet: bool = False,
) -> Iterator[None]:
    """Show rows as they are, some times a second, while the block runs.

    Where not all of them fit on the terminal, those that matter most are shown, and the others are
    counted.

    Args:
        columns: their names; the last one gives way on a narrow terminal.
        rows: gives the rows; it is called in another thread.
        foot: gives the line below, likewise.
        whole: print all rows at the end, in the place of what was shown.
        quiet: show nothing at all.
    """
    if quiet:
        yield
        return
    # Drawing is what rich is for, and takes a while to load: not for who wants JSON.
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console()

    def fitting() -> Group:
        found, room = rows(), max(1, console.height - MARGIN)
        notes = [foot()]
        if len(found) > room:
            notes.insert(0, f"and {len(found) - room} more")
            found = sorted(found, key=lambda row: -row.urgency)[:room]
        # Not the table's caption, which would be no wider than the table.
        return Group(_table(columns, found), Text("; ".join(filter(None, notes)), style="italic"))

    with Live(
        console=console, get_renderable=fitting, refresh_per_second=REFRESH_HZ, transient=whole
    ):
        yield
    if whole:
        console.print(_table(columns, rows()))


def _table(columns: Sequence[str], rows: Sequence[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=name != columns[-1])  # rich shrinks what may wrap
    for row in rows:
        cells = [Text(cell, no_wrap=True, overflow="ellipsis") for cell in row.cells]
        if row.colour and len(cells) > 1:
            cells[1].stylize(row.colour)
        table.add_row(*cells)
    return table
