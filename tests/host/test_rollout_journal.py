"""Laws of the journal's file: what is written is there, or the rollout stops."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from holter.signature import ModelSignature
from holter_host import BadInputError, RolloutState, resume_rollout, rollouts
from holter_host.rollout.journal import Journal, default_path
from holter_host.rollout.ledger import JournalError, Ledger, RolloutNotFoundError
from holter_host.rollout.plan import Plan
from holter_host.rollout.rows import DeviceState
from support.rollouts import MemoryDevice, MemoryHands, created, engine_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal is to be."""
    return tmp_path / "state" / "rollouts.db"


async def test_writes_that_wait_are_one_transaction(path, monkeypatch) -> None:
    """What devices write at the same time is synced together; each is there when it is told."""
    sizes = []
    write = Ledger.write
    monkeypatch.setattr(
        Ledger, "write", lambda s, batch: (sizes.append(len(batch)), write(s, batch))
    )
    async with Journal(path) as journal:
        number = await created(journal, Plan((50,)))
        rows = await journal.rows(number)

        async def one(position: int) -> None:
            row = rows[position].to(DeviceState.STARTED)
            await journal.record(number, [(position, row)])
            assert (await journal.rows(number))[position] == row

        await asyncio.gather(*map(one, rows))
    assert sum(sizes) == 50
    assert len(sizes) < 5


async def test_a_write_that_fails_stops_the_rollout(path, monkeypatch) -> None:
    """A device is not touched if that cannot be written down; later everything goes on."""
    devices = {"0": MemoryDevice(), "1": MemoryDevice()}

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with Journal(path) as journal:
        number = await created(journal, Plan((2,)))
        engine = await engine_of(journal, number, MemoryHands(devices))
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "_update", fail)
            with pytest.raises(JournalError, match="disk is full; nothing is done without it"):
                await engine.run()
    assert [device.swaps for device in devices.values()] == [[], []]
    async with Journal(path) as journal:
        engine = await engine_of(journal, number, MemoryHands(devices))
        assert await engine.run() is RolloutState.DONE


async def test_a_model_is_kept_as_long_as_it_is_needed(path) -> None:
    """The model is in the journal until its rollout is over."""
    devices = {"0": MemoryDevice(how="offline"), "1": MemoryDevice()}
    async with Journal(path) as journal:
        number = await created(journal, Plan((2,)))
        for how, state in (("offline", RolloutState.PARTIAL), ("takes", RolloutState.DONE)):
            assert await journal.model("t" * 64) == (b"model", None)
            devices["0"].how = how
            engine = await engine_of(journal, number, MemoryHands(devices))
            assert await engine.run() is state
        with pytest.raises(JournalError, match="no longer"):
            await journal.model("t" * 64)


async def test_a_model_is_kept_with_who_vouches_for_it(path) -> None:
    """A rollout that goes on sends the signature too, whichever rollout brought it first."""
    target, signature = "ab" * 32, ModelSignature(b"k" * 32, b"s" * 64)
    async with Journal(path) as journal:
        for given, kept in ((None, None), (signature, signature), (None, signature)):
            await created(journal, Plan((1,)), target, given)
            assert await journal.model(target) == (b"model", kept)


async def test_what_is_no_journal(path, monkeypatch) -> None:
    """A file that is none, one of a later version, and no such rollout are each one sentence."""
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(BadInputError, match="is no journal of rollouts"):
        await rollouts(journal=path)
    path.unlink()
    assert await rollouts(journal=path) == []
    with pytest.raises(RolloutNotFoundError, match="has no rollout 3; see: holter fleet history"):
        await resume_rollout(3, journal=path).run()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(BadInputError, match="of a later version of holter"):
        await rollouts(journal=path)
    with pytest.raises(JournalError, match="cannot be used"):
        await rollouts(journal=path.parent)


def test_where_it_is(monkeypatch) -> None:
    """It is in the user's state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert default_path() == Path("/x/holter/rollouts.db")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_path() == Path("/home/me/.local/state/holter/rollouts.db")
