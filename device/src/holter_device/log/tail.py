"""The running session's newest minutes, in memory: what live readers are served from."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from ..samples import Block, Classification, Gap, ModelChange, Session
from .join import Frames, cut, join
from .pending import Batch, Dropped, Item, window_bounds

# Readers at the live edge take this many frames or fewer, many of them the same ones.
_SHARED_FRAMES = 4096


class Tail:
    """Frames, windows and model changes of the running session.

    Attributes:
        session: the session.
        first_sequence: the first frame that is in memory; all from there on are.
        next_sequence: the frame that comes next.
        windows_from: every window with last_sequence at or after this is in memory.
        changes: all model changes of the session that stand, each with a number that rises.
    """

    def __init__(self, session: Session, keep_frames: int) -> None:
        self.session = session
        self.first_sequence = 0
        self.next_sequence = 0
        self.windows_from = 0
        self.changes: list[tuple[int, ModelChange]] = []
        self._keep_frames = keep_frames
        self._frames: list[Frames] = []
        self._starts: list[int] = []
        self._arrivals: list[float] = []
        self._joined: dict[tuple[int, int, int], list[Frames]] = {}
        self._windows: list[Classification | Gap] = []
        self._window_ends: list[int] = []
        self._frames_settled = 0
        self._windows_settled = 0
        self._numbers = itertools.count(1)

    @property
    def frame_count(self) -> int:
        """Frames in memory."""
        return self.next_sequence - self.first_sequence

    @property
    def window_count(self) -> int:
        """Windows in memory."""
        return len(self._windows)

    def append(self, items: Sequence[Item], now: float) -> None:
        """Add what arrived at `now` by the event loop's clock.

        Raises:
            ValueError: they do not follow on what is there; nothing was added.
        """
        self._check(items)
        self._joined.clear()
        for item in items:
            if isinstance(item, (Block, Gap)):
                self._frames.append(item)
                self._starts.append(item.first_sequence)
                self._arrivals.append(now)
                self.next_sequence = item.next_sequence
            elif isinstance(item, Classification):
                self._windows.append(item)
                self._window_ends.append(item.last_sequence)
            else:
                self._add_change(item)

    def frames(self, sequence: int, max_bytes: int) -> list[Frames]:
        """Blocks and gaps from `sequence`, which is in memory: `max_bytes` of counts, or less."""
        if sequence >= self.next_sequence:
            return []
        index = bisect_right(self._starts, sequence) - 1
        first = self._frames[index]
        taken = [cut(first, sequence, first.next_sequence)]
        left = max_bytes - _byte_count(taken[0])
        if left < 0:
            frame_count = max(1, max_bytes // self.session.frame_size)
            return [cut(first, sequence, sequence + frame_count)]
        for place in range(index + 1, len(self._frames)):  # islice would walk to there
            item = self._frames[place]
            left -= _byte_count(item)
            if left < 0:
                break
            taken.append(item)
        return taken

    def joined(self, sequence: int, max_bytes: int, max_frames: int) -> Sequence[Frames]:
        """What `frames` gives, joined up to `max_frames` a block.

        Until more arrives, readers that stand at one place near the live edge get the very same
        blocks.
        """
        if self.next_sequence - sequence > _SHARED_FRAMES:
            return join(self.frames(sequence, max_bytes), max_frames)
        place = sequence, max_bytes, max_frames
        if place not in self._joined:
            self._joined[place] = join(self.frames(sequence, max_bytes), max_frames)
        return self._joined[place]

    def arrival(self, sequence: int) -> float:
        """When a frame that is in memory arrived, by the event loop's clock."""
        return self._arrivals[bisect_right(self._starts, sequence) - 1]

    def windows(self, sequence: int) -> list[Classification | Gap]:
        """Windows in memory with last_sequence at or after `sequence`, in order."""
        return self._windows[bisect_left(self._window_ends, sequence) :]

    def settle(self, batch: Batch) -> None:
        """Take note that the file has these now, and forget what is older than minutes."""
        if batch.frames:
            self._frames_settled = batch.frames[-1].next_sequence
        windows = [item for item in batch.results if not isinstance(item, ModelChange)]
        if windows:
            self._windows_settled = window_bounds(windows[-1])[1] + 1
        self._trim()

    def drop(self, dropped: Dropped) -> None:
        """Put the gaps in the place of what they stand for."""
        if gap := dropped.frames:
            first = bisect_right(self._starts, gap.first_sequence) - 1
            last = bisect_left(self._starts, gap.next_sequence) - 1
            head, rest = self._frames[first], self._frames[last]
            items: list[Frames] = [gap]
            if head.first_sequence < gap.first_sequence:
                items.insert(0, cut(head, head.first_sequence, gap.first_sequence))
            if rest.next_sequence > gap.next_sequence:
                items.append(cut(rest, gap.next_sequence, rest.next_sequence))
            self._replace(first, last + 1, items)
        if gap := dropped.windows:
            first, last = (bisect_left(self._window_ends, end) for end in window_bounds(gap))
            self._windows[first : last + 1] = [gap]
            self._window_ends[first : last + 1] = [window_bounds(gap)[1]]

    def condense(self, max_frames: int) -> None:
        """Join what is older than minutes and still here, for it may have to stay for hours."""
        edge = self.next_sequence - self._keep_frames
        count = bisect_right(self._starts, edge) - 1
        if count > 0:
            self._replace(0, count, join(self._frames[:count], max_frames))

    def _replace(self, first: int, end: int, items: list[Frames]) -> None:
        """Put items in the place of those that cover the same frames."""
        self._joined.clear()
        arrival = self._arrivals[end - 1]
        self._frames[first:end] = items
        self._starts[first:end] = [item.first_sequence for item in items]
        self._arrivals[first:end] = [arrival] * len(items)

    def _trim(self) -> None:
        edge = min(self._frames_settled, self.next_sequence - self._keep_frames)
        if edge - self.first_sequence <= self._keep_frames // 4:
            return  # deleting from the front of a list costs its length: not for a few
        count = bisect_right(self._starts, edge) - 1
        if self._frames[-1].next_sequence <= edge:
            count = len(self._frames)
        del self._frames[:count], self._starts[:count], self._arrivals[:count]
        self.first_sequence = self._starts[0] if self._starts else self.next_sequence
        count = bisect_left(self._window_ends, min(self.first_sequence, self._windows_settled))
        if count:
            self.windows_from = self._window_ends[count - 1] + 1
            del self._windows[:count], self._window_ends[:count]

    def _check(self, items: Sequence[Item]) -> None:
        expected = self.next_sequence
        last_window = self._window_ends[-1] if self._window_ends else self.windows_from - 1
        for item in items:
            if item.session_id != self.session.session_id:
                raise ValueError(f"{item} is not of session {self.session.session_id}")
            if isinstance(item, (Block, Gap)):
                if item.first_sequence != expected or item.frame_count < 1:
                    raise ValueError(f"frame {expected} comes next, not {item.first_sequence}")
                expected = item.next_sequence
                if isinstance(item, Block):
                    self._check_block(item)
            elif isinstance(item, Classification):
                if item.last_sequence <= last_window:
                    raise ValueError(f"window {item.last_sequence} comes after {last_window}")
                last_window = item.last_sequence

    def _check_block(self, block: Block) -> None:
        size = block.frame_count * self.session.frame_size
        if len(block.counts) != size:
            raise ValueError(f"a block of {len(block.counts)} bytes should have {size}")
        for run in block.lead_off:
            if run.first_sequence < block.first_sequence or run.next_sequence > block.next_sequence:
                raise ValueError(f"{run} is not within frames from {block.first_sequence}")

    def _add_change(self, change: ModelChange) -> None:
        while self.changes and self.changes[-1][1].swap_sequence >= change.swap_sequence:
            self.changes.pop()
        self.changes.append((next(self._numbers), change))


def _byte_count(item: Frames) -> int:
    return len(item.counts) if isinstance(item, Block) else 0
