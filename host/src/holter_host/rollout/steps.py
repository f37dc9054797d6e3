"""What is done with one device: plain functions of an open connection, which know no journal.

They run where the connection is, so that a rollout may send them to other machines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from holter_host._upload import Upload
from holter_host.client import Device
from holter_host.enums import ProbationState, ReturnCause
from holter_host.errors import DeployInProgressError
from holter_host.rollout.rows import Move, Report, Seen
from holter_host.status import DeployResult, Probation

BUSY_POLL_SECONDS = 0.5

T = TypeVar("T")


async def look(connection: Device) -> Seen:
    """What a device says of its models."""
    return Seen.of(*await connection.holdings())


async def act(connection: Device, move: Move, upload: Upload | None, timeout: float) -> Report:
    """Do a move, and look what came of it.

    Args:
        connection: to the device.
        move: what is to be done.
        upload: what is sent, where it says so.
        timeout: seconds that it may take.

    Raises:
        DeviceError: it was refused, or nothing is known of it.
    """

    async def once() -> DeployResult:
        if move.upload:
            assert upload is not None
            return await connection.deploy(upload, timeout=timeout)
        return await connection.activate(move.sha256, timeout=timeout)

    result = await _patiently(once, move.ours)
    facts: dict[str, Any] = {"already_active": True} if result.already_active else {}
    if result.session_id:
        facts |= {"session_id": result.session_id, "swap_sequence": result.swap_sequence}
    seen = _seen(move, result)
    return Report(seen=await look(connection) if seen is None else seen, facts=facts)


def _seen(move: Move, result: DeployResult) -> Seen | None:
    """What a device has after a swap, by what it tells of it; None where it does not tell all."""
    swaps = [step.facts for step in result.gate_report.steps if step.name == "swap"]
    probation = swaps[-1].get("probation") if swaps else None
    if probation is None:
        return None
    running = Probation(
        sha256=move.sha256,
        previous_sha256="",
        state=ProbationState.RUNNING,
        return_cause=ReturnCause.UNSPECIFIED,
        reason="",
        start_time=None,
        end_time=None,
        window_count=0,
    )
    return Seen(active=move.sha256, probation=running if probation == "begins" else None)


async def _patiently(once: Callable[[], Awaitable[T]], ours: tuple[str, ...]) -> T:
    """Do something as soon as no deploy of these digests is running; a deadline ends it."""
    while True:
        try:
            return await once()
        except DeployInProgressError as error:
            if error.metadata.get("sha256") not in ours:
                raise
            await asyncio.sleep(BUSY_POLL_SECONDS)
