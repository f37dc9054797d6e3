"""Damaged models, made from a good one: the same for the same seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

_ODD = (0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x00FFFFFF, 0)


def damaged(model: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """So many damaged files, each with what was done to it.

    In turn: some bits are flipped; it is cut; a number of four bytes in the graph, which may be a
    size or an offset, becomes one that leads far out.
    """
    choose = random.Random(seed)
    graph_size = model.index(b"PK\x03\x04")
    for number in range(count):
        data = bytearray(model)
        match number % 3:
            case 0:
                bits = [choose.randrange(8 * len(data)) for _ in range(choose.choice((1, 4, 16)))]
                for bit in bits:
                    data[bit // 8] ^= 1 << bit % 8
                yield f"bits {bits} flipped", bytes(data)
            case 1:
                end = choose.randrange(len(data))
                yield f"cut at {end}", bytes(data[:end])
            case _:
                at, odd = choose.randrange(graph_size // 4) * 4, choose.choice(_ODD)
                struct.pack_into("<I", data, at, odd)
                yield f"{odd:#x} at {at}", bytes(data)
