"""Many calls of gRPC at a time, ended at once: what it takes that gRPC survives that.

grpc.aio has a thread that tells the event loop of each thing that happened by a byte in a socket,
which takes some 278 of them. When the last channel of a process goes, gRPC waits for that thread
without reading the socket. So where hundreds of streams are cancelled and their channels closed, as
at the end of a program, both wait for each other, for ever (seen with grpcio 1.76).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import grpc.aio

FEW: Final = 100
# A call that is cancelled here is over at once; reading of 1000 that they are takes 50 ms.
DRAIN_SECONDS: Final = 0.1
DRAIN_SECONDS_A_CALL: Final = 2e-4


@contextlib.asynccontextmanager
async def many_calls(count: int) -> AsyncIterator[None]:
    """Keep gRPC's thread while the block makes so many calls, and until all is read at its end."""
    if count <= FEW:
        yield
        return
    grpc.aio.init_grpc_aio()  # it counts, as each channel does
    try:
        yield
    finally:
        await asyncio.sleep(DRAIN_SECONDS + count * DRAIN_SECONDS_A_CALL)
        # Not if even that is cancelled: then it is kept for good.
        grpc.aio.shutdown_grpc_aio()
