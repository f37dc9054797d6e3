"""Which rows the frames of a session are kept in: small ones as they come, then large ones.

A commit brings a second or so. A reader of hours would join hundreds of such rows for a message, so
the rows of an unbroken run are replaced by one as soon as they fill it, in the commit's own
transaction. Where rows begin and end means nothing to readers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..samples import Block, Session
from .join import Frames, cut, join

ROW_BYTES = 64 << 10


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a commit does to the rows of frames.

    Attributes:
        replaced: first and next sequence of stored rows that `written` has too.
        written: the rows that are written.
        unfilled: the newest rows after it, which what comes next may be joined with.
    """

    replaced: list[tuple[int, int]]
    written: list[Frames]
    unfilled: list[Block]


def plan_rows(unfilled: Sequence[Block], frames: Sequence[Frames], max_frames: int) -> Plan:
    """Plan how frames are added.

    Args:
        unfilled: the newest rows, which no gap divides.
        frames: what follows on them.
        max_frames: frames of the longest row.
    """
    stored = {row.first_sequence: row for row in unfilled}
    pieces = join([*unfilled, *frames], max_frames)
    last = pieces.pop() if pieces and isinstance(pieces[-1], Block) else None
    plan = Plan([], [], [])
    for piece in pieces:
        first, end = piece.first_sequence, piece.next_sequence
        if stored.get(first) == piece:
            continue
        if first in stored:
            plan.replaced.append((first, min(end, unfilled[-1].next_sequence)))
        plan.written.append(piece)
    if isinstance(last, Block):
        plan.unfilled.extend(row for row in unfilled if row.first_sequence >= last.first_sequence)
        new = max(last.first_sequence, unfilled[-1].next_sequence if unfilled else 0)
        # Not cut from `last`, which no longer knows which of its frames were late.
        added = join(
            [cut(item, new, item.next_sequence) for item in frames if item.next_sequence > new],
            max_frames,
        )
        plan.written.extend(added)
        plan.unfilled.extend(row for row in added if isinstance(row, Block))
    return plan


def row_frames(session: Session, max_ns: float) -> int:
    """Frames of the longest row: ROW_BYTES of counts, and not longer than `max_ns`."""
    of_time = int(max_ns * session.grid.rate_hz / 1e9)
    return max(1, min(ROW_BYTES // session.frame_size, of_time))
