"""What was appended and is not in the file yet: bounded, and it says what it had to drop."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import TypeVar

from ..grid import GapCause
from ..samples import Block, Classification, Gap, ModelChange
from .join import Frames, join

Item = Block | Gap | Classification | ModelChange
# Among results a Gap stands for windows that were dropped before they were written.
Result = Classification | ModelChange | Gap

_T = TypeVar("_T")

# In memory an item costs its counts and about this much more, in bytes.
_ITEM_BYTES = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Dropped:
    """The gaps that stand for what was dropped; None where nothing was.

    Attributes:
        frames: in the place of frames.
        windows: in the place of windows.
        lost_frame_count: frames that had counts.
    """

    frames: Gap | None = None
    windows: Gap | None = None
    lost_frame_count: int = 0


@dataclasses.dataclass(slots=True)
class Batch:
    """Frames and results in the order in which they were appended; `size` in bytes, roughly."""

    frames: list[Frames] = dataclasses.field(default_factory=list)
    results: list[Result] = dataclasses.field(default_factory=list)
    size: int = 0

    def add(self, items: Iterable[Item]) -> None:
        """Add what was appended."""
        for item in items:
            if isinstance(item, (Block, Gap)):
                self.frames.append(item)
            else:
                self.results.append(item)
            self.size += _size(item)

    def take(self, max_size: int) -> Batch:
        """Take the oldest out, in order: about `max_size` bytes, or one item that is larger.

        A window is not taken before the frames that it ends with.
        """
        taken = Batch()
        taken.frames, self.frames = _split(self.frames, _fitting(self.frames, max_size))
        end = self.frames[0].first_sequence if self.frames else math.inf
        fitting = _fitting(self.results, max_size)
        ready = itertools.takewhile(
            lambda item: isinstance(item, ModelChange) or window_bounds(item)[1] < end,
            self.results[:fitting],
        )
        taken.results, self.results = _split(self.results, len(list(ready)))
        taken._measure()
        self._measure()
        return taken

    def followed_by(self, later: Batch) -> Batch:
        """Both, as one."""
        size = self.size + later.size
        return Batch(self.frames + later.frames, self.results + later.results, size)

    def put_back(self, before: Batch, max_frames: int, max_size: int) -> Dropped:
        """Put a batch that was refused before this one, joined so that it takes less room.

        Args:
            before: the batch.
            max_frames: frames of the longest joined block.
            max_size: bytes above which the oldest are dropped until half of it is left.

        Returns:
            What was dropped now.
        """
        self.frames = join(before.frames + self.frames, max_frames)
        self.results = before.results + self.results
        self._measure()
        if self.size <= max_size:
            return Dropped()
        quarter = max_size // 4
        counted = _counted(self.frames)
        frames, windows = self._drop_frames(quarter), self._drop_windows(quarter)
        self._measure()
        return Dropped(frames, windows, counted - _counted(self.frames))

    def _measure(self) -> None:
        self.size = sum(map(_size, self.frames)) + sum(map(_size, self.results))

    def _drop_frames(self, keep: int) -> Gap | None:
        count = _excess(self.frames, keep)
        if count == 0:
            return None
        session_id, first = self.frames[0].session_id, self.frames[0].first_sequence
        frame_count = self.frames[count - 1].next_sequence - first
        gap = Gap(session_id, first, frame_count, GapCause.RETENTION)
        self.frames[:count] = [gap]
        return gap

    def _drop_windows(self, keep: int) -> Gap | None:
        changes = [item for item in self.results if isinstance(item, ModelChange)]
        windows = [item for item in self.results if not isinstance(item, ModelChange)]
        count = _excess(windows, keep)
        if count == 0:
            return None
        session_id, first = windows[0].session_id, window_bounds(windows[0])[0]
        frame_count = window_bounds(windows[count - 1])[1] + 1 - first
        gap = Gap(session_id, first, frame_count, GapCause.RETENTION)
        self.results = [*changes, gap, *windows[count:]]
        return gap


def window_bounds(item: Classification | Gap) -> tuple[int, int]:
    """The least and the greatest last_sequence of what a window, or a gap of windows, is about."""
    if isinstance(item, Gap):
        return item.first_sequence, item.next_sequence - 1
    return item.last_sequence, item.last_sequence


def _size(item: Item) -> int:
    return _ITEM_BYTES + len(item.counts) if isinstance(item, Block) else _ITEM_BYTES


def _counted(frames: Iterable[Frames]) -> int:
    """Frames that have counts."""
    return sum(item.frame_count for item in frames if isinstance(item, Block))


def _fitting(items: Iterable[Item], max_size: int) -> int:
    """How many of the first items take `max_size` bytes or less; 1 or more where there are any."""
    count = 0
    for item in items:
        max_size -= _size(item)
        if max_size < 0 and count:
            break
        count += 1
    return count


def _split(items: list[_T], count: int) -> tuple[list[_T], list[_T]]:
    return items[:count], items[count:]


def _excess(items: Iterable[Item], keep: int) -> int:
    """How many of the first items are to go so that the others take `keep` bytes or less."""
    sizes = list(map(_size, items))
    left, count = sum(sizes), 0
    while left > keep:
        left -= sizes[count]
        count += 1
    return count
