"""Cuts blocks and joins them: where one block ends and the next begins means nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from ..samples import Block, Gap, LeadOffRun

Frames = Block | Gap


def cut(item: Frames, first: int, end: int) -> Frames:
    """The frames of a block or gap from `first` to before `end`, which must leave one or more.

    A block tells how many of its frames were late, not which: they are taken to be its first ones,
    so that the pieces of a block have as many as the block.
    """
    first, end = max(first, item.first_sequence), min(end, item.next_sequence)
    if first == item.first_sequence and end == item.next_sequence:
        return item
    if isinstance(item, Gap):
        return Gap(item.session_id, first, end - first, item.cause)
    size = len(item.counts) // item.frame_count
    skip, upto = first - item.first_sequence, end - item.first_sequence
    late = max(0, min(item.late_count, upto) - skip)
    counts = item.counts[skip * size : upto * size]
    return Block(
        item.session_id, first, end - first, counts, _cut_runs(item.lead_off, first, end), late
    )


def join(items: Iterable[Frames], max_frames: int) -> list[Frames]:
    """Join neighbouring blocks up to `max_frames` frames each, and neighbouring gaps of one cause.

    Args:
        items: blocks and gaps of one session, each beginning where the one before it ends.
        max_frames: frames of the longest block, 1 or more; a longer one is cut.
    """
    joined: list[Frames] = []
    run: list[Block] = []
    frames = 0
    for item in items:
        if isinstance(item, Gap):
            _flush(run, joined)
            frames = 0
            _add_gap(joined, item)
            continue
        if frames + item.frame_count > max_frames:
            _flush(run, joined)
            frames = 0
        if item.frame_count > max_frames:
            starts = range(item.first_sequence, item.next_sequence, max_frames)
            joined.extend(cut(item, start, start + max_frames) for start in starts)
            continue
        run.append(item)
        frames += item.frame_count
    _flush(run, joined)
    return joined


def _flush(run: list[Block], joined: list[Frames]) -> None:
    if len(run) == 1:
        joined.append(run[0])
    elif run:
        first = run[0]
        joined.append(
            Block(
                first.session_id,
                first.first_sequence,
                run[-1].next_sequence - first.first_sequence,
                b"".join([block.counts for block in run]),
                _join_runs([off for block in run for off in block.lead_off]),
                sum([block.late_count for block in run]),
            )
        )
    run.clear()


def _add_gap(joined: list[Frames], gap: Gap) -> None:
    last = joined[-1] if joined else None
    if isinstance(last, Gap) and last.cause is gap.cause:
        frame_count = last.frame_count + gap.frame_count
        joined[-1] = Gap(last.session_id, last.first_sequence, frame_count, last.cause)
    else:
        joined.append(gap)


def _cut_runs(runs: Sequence[LeadOffRun], first: int, end: int) -> tuple[LeadOffRun, ...]:
    bounds = ((max(first, run.first_sequence), min(end, run.next_sequence)) for run in runs)
    return tuple(
        dataclasses.replace(run, first_sequence=start, frame_count=stop - start)
        for run, (start, stop) in zip(runs, bounds, strict=True)
        if stop > start
    )


def _join_runs(runs: Sequence[LeadOffRun]) -> tuple[LeadOffRun, ...]:
    joined: list[LeadOffRun] = []
    for run in runs:
        before = joined[-1] if joined else None
        if before is not None and _goes_on(before, run):
            frame_count = before.frame_count + run.frame_count
            joined[-1] = dataclasses.replace(before, frame_count=frame_count)
        else:
            joined.append(run)
    return tuple(joined)


def _goes_on(before: LeadOffRun, run: LeadOffRun) -> bool:
    same = before.channel_mask == run.channel_mask and before.reasons == run.reasons
    return same and before.next_sequence == run.first_sequence
