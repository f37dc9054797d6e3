"""Take tiles from a sampler, and check that they tile the grid."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from holter_device.adc import SETTINGS
from holter_device.config import Config
from holter_device.grid import Grid
from holter_device.sampler import Sampler
from holter_device.samples import Block, Gap

Tile = Block | Gap


def source_settings(**values: Any) -> dict[str, Any]:
    """The settings of a source, as the sampler process gets them."""
    config = Config(**values)
    return {key: getattr(config, key) for key in SETTINGS}


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """What children are started with; this process preloads nothing."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def take(
    sampler: Sampler,
    grid: Grid,
    frame_count: int | None = None,
    on_tile: Callable[[Tile], None] = lambda _: None,
) -> list[Tile]:
    """The tiles of session 1, until so many frames have come, or the source is over."""
    taken: list[Tile] = []
    async with aclosing(sampler.tiles(1, grid)) as lists:
        async for tiles in lists:
            assert tiles, "no list is empty"
            taken.extend(tiles)
            for tile in tiles:
                on_tile(tile)
            if frame_count is not None and taken[-1].next_sequence >= frame_count:
                break
    return taken


def assert_contiguous(tiles: Iterable[Tile]) -> None:
    """Every frame from 0 on is in exactly one tile, in order."""
    sequence = 0
    for tile in tiles:
        assert tile.first_sequence == sequence
        assert tile.frame_count >= 1
        sequence = tile.next_sequence


def counts_of(tiles: Iterable[Tile]) -> bytes:
    """The counts of all blocks, joined."""
    return b"".join(tile.counts for tile in tiles if isinstance(tile, Block))


def gaps_of(tiles: Sequence[Tile]) -> list[Gap]:
    """The gaps, in order."""
    return [tile for tile in tiles if isinstance(tile, Gap)]
