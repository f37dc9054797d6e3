"""What is done with one device: plain functions of an open connection, which know no journal.

They run where the connection is, so that a rollout may send them to other machines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from holter_host.bundle import Bundle
from holter_host.client import Device
from holter_host.errors import DeployInProgressError
from holter_host.rollout.rows import Move, Report, Seen
from holter_host.status import DeployResult

BUSY_POLL_SECONDS = 0.5

T = TypeVar("T")


async def look(connection: Device) -> Seen:
    """What a device says of its models."""
    return Seen.of(*await connection.holdings())


async def act(connection: Device, move: Move, model: Bundle | None, timeout: float) -> Report:
    """Do a move, and look what came of it.

    Args:
        connection: to the device.
        move: what is to be done.
        model: what it uploads.
        timeout: seconds that it may take.

    Raises:
        DeviceError: it was refused, or nothing is known of it.
    """

    async def once() -> DeployResult:
        if move.upload:
            assert model is not None
            return await connection.deploy(model, timeout=timeout)
        return await connection.activate(move.sha256, timeout=timeout)

    result = await _patiently(once, move.ours)
    facts: dict[str, Any] = {"already_active": True} if result.already_active else {}
    if result.session_id:
        facts |= {"session_id": result.session_id, "swap_sequence": result.swap_sequence}
    return Report(seen=await look(connection), facts=facts)


async def _patiently(once: Callable[[], Awaitable[T]], ours: tuple[str, ...]) -> T:
    """Do something as soon as no deploy of these digests is running; a deadline ends it."""
    while True:
        try:
            return await once()
        except DeployInProgressError as error:
            if error.metadata.get("sha256") not in ours:
                raise
            await asyncio.sleep(BUSY_POLL_SECONDS)
