"""Laws of a fleet: one outcome a device, so many at a time, nobody waits for the dead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import grpc
import pytest

from holter_host import (
    BadInputError,
    DeadlineError,
    Device,
    DeviceUnreachableError,
    Fleet,
    FleetDevice,
    InvalidRequestError,
    Inventory,
    ModelRefusedError,
    OutcomeState,
)
from holter_host.testing import Failure, FakeDevice

NOBODY = "unix:/nonexistent/holter.sock"


def fleet_of(addresses: Sequence[str], **options) -> Fleet:
    """A fleet of devices d0, d1, … at these addresses."""
    devices = (FleetDevice(f"d{number}", address) for number, address in enumerate(addresses))
    return Fleet(Inventory("fleet.toml", tuple(devices)), **options)


@pytest.fixture
def fakes():
    """Three devices that answer."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(FakeDevice()) for _ in range(3)]


@pytest.fixture
async def mute() -> AsyncIterator[str]:
    """The address of something that takes every connection and never says a word."""
    ended = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"
        ended.set()


class TestStatus:
    async def test_each_device_has_one_outcome(self, fakes) -> None:
        """Who answers is OK with a status, who refuses is FAILED, who is not there is OFFLINE."""
        fakes[1].fail("GetDevice", Failure(grpc.StatusCode.INTERNAL, "No.", "INTERNAL"))
        async with fleet_of([fake.address for fake in fakes] + [NOBODY]) as fleet:
            outcomes = {o.device.name: o async for o in fleet.status()}
        states = {name: outcome.state for name, outcome in sorted(outcomes.items())}
        assert states == {"d0": "OK", "d1": "FAILED", "d2": "OK", "d3": "OFFLINE"}
        assert outcomes["d0"].value.hostname == "fake"
        assert outcomes["d0"].error is None
        assert outcomes["d1"].error.reason == "INTERNAL"
        assert isinstance(outcomes["d3"].error, DeviceUnreachableError)
        assert outcomes["d3"].value is None
        assert [len(fake.requests) for fake in fakes] == [1, 1, 1]

    async def test_who_never_answers_is_offline_in_time(self, fakes, mute: str) -> None:
        """A device that accepts and never answers is OFFLINE at its deadline; others go on."""
        async with fleet_of([mute, fakes[0].address], timeout=1) as fleet:
            outcomes = [outcome async for outcome in fleet.status()]
        assert [o.device.name for o in outcomes] == ["d1", "d0"]
        assert outcomes[1].state is OutcomeState.OFFLINE
        assert "within 1 s" in str(outcomes[1].error)


class TestEach:
    async def test_no_more_than_concurrency_at_a_time(self, fakes) -> None:
        """Work begins on the next device when that on another has ended, and not before."""
        running, most = 0, 0

        async def work(device: Device) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await device.status()
            running -= 1

        fleet = fleet_of([fake.address for fake in fakes] * 4, concurrency=2)
        async with fleet:
            assert len([o async for o in fleet.each(work)]) == 12
        assert most == 2

    async def test_work_has_a_deadline_of_its_own(self, fakes) -> None:
        """Work that takes too long on a device is ended, and that device is OFFLINE."""
        ended = asyncio.Event()

        async def work(device: Device) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with fleet_of([fakes[0].address]) as fleet:
            (outcome,) = [o async for o in fleet.each(work, deadline=0.2)]
        assert outcome.state is OutcomeState.OFFLINE
        assert isinstance(outcome.error, DeadlineError)
        assert "d0" in str(outcome.error)
        assert ended.is_set()

    @pytest.mark.parametrize("error", [ModelRefusedError("No."), InvalidRequestError("No.")])
    async def test_a_refusal_is_a_failure(self, fakes, error: Exception) -> None:
        """What a device refuses is FAILED, with the exception as it was raised."""

        async def work(device: Device) -> None:
            raise error

        async with fleet_of([fakes[0].address]) as fleet:
            (outcome,) = [o async for o in fleet.each(work)]
        assert (outcome.state, outcome.error) == (OutcomeState.FAILED, error)

    async def test_a_fault_of_the_work_is_no_outcome(self, fakes) -> None:
        """An exception that is none of Holter's ends the iteration, and the work on others."""
        ended = []

        async def work(device: Device) -> None:
            if device.address == fakes[0].address:
                raise ZeroDivisionError
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(device.address)

        async with fleet_of([fake.address for fake in fakes]) as fleet:
            with pytest.raises(ZeroDivisionError):
                _ = [o async for o in fleet.each(work)]
        # One whose connection was not open yet has not begun to work.
        assert set(ended) <= {fake.address for fake in fakes[1:]}
        assert all(fake.wait_until_idle() for fake in fakes)

    async def test_who_closes_early_ends_what_runs(self, fakes) -> None:
        """Closing the iteration ends the work that runs, and begins no more."""
        begun, ended = [], []

        async def work(device: Device) -> None:
            begun.append(device.address)
            if len(begun) == 1:
                return
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(device.address)

        async with fleet_of([fake.address for fake in fakes] * 3, concurrency=3) as fleet:
            async with contextlib.aclosing(fleet.each(work)) as outcomes:
                assert (await anext(outcomes)).ok
            assert len(ended) == len(begun) - 1
            count = len(begun)
            await asyncio.sleep(0)
            assert (len(begun), count <= 3) == (count, True)

    async def test_some_devices_only(self, fakes) -> None:
        """`devices` are those that are worked on, taken as there is room."""

        async def work(device: Device) -> str:
            return device.address

        async with fleet_of([fake.address for fake in fakes], concurrency=1) as fleet:
            some = (device for device in fleet.inventory.devices if device.name != "d1")
            found = [o.value async for o in fleet.each(work, devices=some)]
        assert found == [fakes[0].address, fakes[2].address]


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"timeout": 0}, {"timeout": -1}])
def test_bounds_are_checked(options) -> None:
    """A fleet that could do nothing is refused."""
    with pytest.raises(BadInputError, match="give"):
        fleet_of(["127.0.0.1:1"], **options)
