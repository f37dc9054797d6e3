"""Laws of working on many things at a time that the tests of a fleet do not see."""

from __future__ import annotations

import asyncio
import gc

import pytest

from holter_host._fan_out import fan_out


async def test_errors_that_come_together(caplog) -> None:
    """Of errors that come at the same moment one ends it, and the others are not logged."""
    at_once = asyncio.Event()

    async def fail(number: int) -> None:
        if number == 4:
            at_once.set()
        await at_once.wait()
        raise ValueError(number)

    with pytest.raises(ValueError, match=r"\d"):
        async for _ in fan_out(range(5), fail, 5):
            pass
    gc.collect()
    assert caplog.records == []
