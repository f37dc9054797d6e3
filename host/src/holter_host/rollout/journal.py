"""The journal: every rollout and what it knows of each device, on disk before it is acted upon.

One SQLite file for all rollouts of a user. A write returns when it is durable, so it survives both
kill -9 and a power cut; writes that come while another is being synced are one transaction. All of
SQLite runs in one thread of its own, never on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from holter_host.errors import BadInputError, HolterError
from holter_host.inventory import FleetDevice
from holter_host.rollout.lock import Lock, RolloutBusyError
from holter_host.rollout.plan import Plan
from holter_host.rollout.record import OVER, Kind, RolloutRecord, RolloutState
from holter_host.rollout.states import UNSETTLED, DeviceState, Row, is_open

VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE rollout (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL, target TEXT NOT NULL, label TEXT NOT NULL, inventory TEXT NOT NULL,
  plan TEXT NOT NULL, state TEXT NOT NULL, wave INTEGER NOT NULL, approved INTEGER NOT NULL,
  note TEXT NOT NULL, started_by TEXT NOT NULL, start_time TEXT NOT NULL, change_time TEXT NOT NULL
);
CREATE TABLE device (
  rollout INTEGER NOT NULL REFERENCES rollout (id), position INTEGER NOT NULL,
  address TEXT NOT NULL, device TEXT NOT NULL, wave INTEGER NOT NULL, state TEXT NOT NULL,
  target TEXT NOT NULL, before TEXT, mark TEXT NOT NULL, reason TEXT NOT NULL,
  message TEXT NOT NULL, facts TEXT NOT NULL, change_time TEXT NOT NULL,
  PRIMARY KEY (rollout, position)
) WITHOUT ROWID;
CREATE INDEX device_address ON device (rollout, address);
CREATE TABLE model (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL);
"""

T = TypeVar("T")


class JournalError(HolterError):
    """Error raised when the journal cannot be read or written; nothing is done without it."""


class RolloutNotFoundError(HolterError, LookupError):
    """Error raised when the journal has no rollout of this number."""

    exit_code = 5


def default_path() -> Path:
    """Where the journal is if nobody says otherwise: in the user's state directory."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "holter" / "rollouts.db"


class Journal:
    """A journal, inside `async with`.

    Args:
        path: its file, which is made with its directory if it is not there.
        synchronous: SQLite's setting; anything but FULL is for tests.
    """

    def __init__(self, path: str | os.PathLike[str], *, synchronous: str = "FULL") -> None:
        self.path = Path(path)
        self._synchronous = synchronous
        self._thread = ThreadPoolExecutor(1, "journal")
        self._writing = asyncio.Lock()
        self._waiting: list[tuple[int, int, Row]] = []
        self._failed: JournalError | None = None
        self._db: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        """Open it.

        Raises:
            BadInputError: the file is no journal, or of a later version.
            JournalError: it cannot be opened.
        """
        try:
            await self._run(self._open)
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        db, self._db = self._db, None
        if db is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, db.close)
        self._thread.shutdown()

    async def create(
        self, record: RolloutRecord, rows: Sequence[Row], model: bytes | None
    ) -> tuple[RolloutRecord, Lock]:
        """Write a new rollout down, and hold it.

        What older rollouts that nobody runs have still open on the same devices is closed there:
        they must not bring an older model later.

        Returns:
            It with its number, and the lock on it.

        Raises:
            RolloutBusyError: a rollout that runs has one of the devices.
        """
        return await self._run(self._create, record, rows, model)

    async def hold(self, rollout_id: int) -> Lock:
        """Hold a rollout, so that nobody else runs it.

        Raises:
            RolloutNotFoundError: there is none of this number.
            RolloutBusyError: somebody holds it, or one that has a device in common.
        """
        return await self._run(self._hold, rollout_id)

    async def load(self, rollout_id: int) -> RolloutRecord:
        """A rollout.

        Raises:
            RolloutNotFoundError: there is none of this number.
        """
        return await self._run(self._load, rollout_id)

    async def rows(self, rollout_id: int) -> dict[int, Row]:
        """What a rollout knows of its devices, by their position."""
        return await self._run(self._rows, rollout_id)

    async def history(self, limit: int = 20) -> list[tuple[RolloutRecord, dict[DeviceState, int]]]:
        """The newest rollouts, the newest first, and how many devices of each are in each state."""
        return await self._run(self._history, limit)

    async def model(self, sha256: str) -> bytes:
        """A model that a rollout brings.

        Raises:
            JournalError: it is kept no longer.
        """
        return await self._run(self._model, sha256)

    async def change(self, rollout_id: int, **values: Any) -> RolloutRecord:
        """Set fields of a rollout, e.g. state; it as it is then."""
        return await self._run(self._change, rollout_id, values)

    async def record(self, rollout_id: int, rows: Iterable[tuple[int, Row]]) -> None:
        """Write down what is known of devices, by their position; it is durable afterwards.

        Raises:
            JournalError: it is not.
        """
        self._waiting += [(rollout_id, position, row) for position, row in rows]
        async with self._writing:
            if self._failed is not None:
                raise self._failed
            batch, self._waiting = self._waiting, []
            if not batch:  # whoever wrote before has written these too
                return
            write = asyncio.ensure_future(self._run(self._write, batch))
            try:
                await asyncio.shield(write)
            except asyncio.CancelledError:
                await asyncio.wait([write])
                raise
            except JournalError as error:
                self._failed = error
                raise

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do something in the thread of the database."""

        def translated() -> T:
            try:
                return work(*arguments)
            except (sqlite3.Error, OSError) as error:
                if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
                    raise BadInputError(f"{self.path} is no journal of rollouts.") from error
                raise JournalError(
                    f"The journal {self.path} cannot be used: {error}; nothing is done without it."
                ) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, translated)

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        db = sqlite3.connect(self.path, isolation_level=None, timeout=30, check_same_thread=False)
        self._db = db
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        with self._transaction():
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")
        if version > VERSION:
            raise BadInputError(
                f"The journal {self.path} is of a later version of holter ({version}, this one "
                f"knows {VERSION}); use that version, or another --journal."
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        assert self._db is not None
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _create(
        self, record: RolloutRecord, rows: Sequence[Row], model: bytes | None
    ) -> tuple[RolloutRecord, Lock]:
        with contextlib.ExitStack() as undo, self._transaction() as db:
            addresses = {row.device.address for row in rows}
            self._check_free(addresses, 0)
            columns = _rollout_columns(record)
            names, marks = ", ".join(columns), ", ".join("?" * len(columns))
            cursor = db.execute(
                f"INSERT INTO rollout ({names}) VALUES ({marks})", tuple(columns.values())
            )
            assert cursor.lastrowid is not None
            number = cursor.lastrowid
            self._supersede(addresses, number)
            self._insert(number, rows)
            if model is not None:
                db.execute("INSERT OR IGNORE INTO model VALUES (?, ?)", (record.target, model))
            lock = Lock.take(self.path, number)
            undo.callback(lock.release)
            undo.pop_all()
        return dataclasses.replace(record, id=number), lock

    def _insert(self, number: int, rows: Sequence[Row]) -> None:
        assert self._db is not None
        self._db.executemany(
            "INSERT INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    number,
                    position,
                    row.device.address,
                    json.dumps(dataclasses.asdict(row.device)),
                    row.wave,
                    *_row_values(row),
                )
                for position, row in enumerate(rows)
            ),
        )

    def _supersede(self, addresses: set[str], by: int) -> None:
        """Close what other rollouts have open on these devices; nobody runs them."""
        assert self._db is not None
        for other in self._unfinished():
            rows = self._rows(other.id)
            closed = {
                position: row.to(
                    DeviceState.HELD, "SUPERSEDED", f"rollout {by} took {row.device.name} over"
                )
                for position, row in rows.items()
                if row.device.address in addresses and row.state in UNSETTLED
            }
            self._update((other.id, position, row) for position, row in closed.items())
            rows |= closed
            if other.state is RolloutState.PARTIAL and not any(map(is_open, rows.values())):
                self._db.execute(
                    "UPDATE rollout SET state = ? WHERE id = ?", (RolloutState.DONE, other.id)
                )

    def _check_free(self, addresses: set[str], own: int) -> None:
        """Raise RolloutBusyError where somebody runs a rollout of one of these devices."""
        for other in self._unfinished():
            holder = Lock.holder(self.path, other.id) if other.id != own else ""
            if not holder:
                continue
            common = [
                row.device.name
                for row in self._rows(other.id).values()
                if row.device.address in addresses
            ]
            if common:
                more = f" and {len(common) - 3} more" if common[3:] else ""
                raise RolloutBusyError(
                    f"Rollout {other.id} ({other.label}) by {holder} is running on "
                    f"{', '.join(common[:3])}{more}; wait until it is over, or stop it."
                )

    def _hold(self, number: int) -> Lock:
        with self._transaction():
            self._load(number)
            addresses = {row.device.address for row in self._rows(number).values()}
            self._check_free(addresses, number)
            return Lock.take(self.path, number)

    def _unfinished(self) -> list[RolloutRecord]:
        marks = ", ".join("?" * len(OVER))
        return self._records(f"WHERE state NOT IN ({marks}) ORDER BY id", tuple(OVER))

    def _load(self, number: int) -> RolloutRecord:
        found = self._records("WHERE id = ?", (number,))
        if not found:
            raise RolloutNotFoundError(
                f"The journal {self.path} has no rollout {number}; see: holter fleet history"
            )
        return found[0]

    def _records(self, where: str, values: tuple[Any, ...]) -> list[RolloutRecord]:
        assert self._db is not None
        names = [field.name for field in dataclasses.fields(RolloutRecord)]
        rows = self._db.execute(f"SELECT {', '.join(names)} FROM rollout {where}", values)
        return [_record(dict(zip(names, row, strict=True))) for row in rows]

    def _rows(self, number: int) -> dict[int, Row]:
        assert self._db is not None
        found = self._db.execute(
            "SELECT position, device, wave, state, target, before, mark, reason, message, facts "
            "FROM device WHERE rollout = ? ORDER BY position",
            (number,),
        )
        return {position: _row(*values) for position, *values in found}

    def _history(self, limit: int) -> list[tuple[RolloutRecord, dict[DeviceState, int]]]:
        assert self._db is not None
        found = []
        for record in self._records("ORDER BY id DESC LIMIT ?", (limit,)):
            counts = self._db.execute(
                "SELECT state, count(*) FROM device WHERE rollout = ? GROUP BY state", (record.id,)
            )
            found.append((record, {DeviceState(state): count for state, count in counts}))
        return found

    def _model(self, sha256: str) -> bytes:
        assert self._db is not None
        found = self._db.execute("SELECT data FROM model WHERE sha256 = ?", (sha256,)).fetchone()
        if found is None:
            raise JournalError(f"The journal {self.path} keeps model {sha256[:12]} no longer.")
        data: bytes = found[0]
        return data

    def _change(self, number: int, values: dict[str, Any]) -> RolloutRecord:
        with self._transaction() as db:
            changed = dataclasses.replace(self._load(number), **values)
            columns = _rollout_columns(changed)
            names = ", ".join(f"{name} = ?" for name in columns)
            db.execute(f"UPDATE rollout SET {names} WHERE id = ?", (*columns.values(), number))
            if changed.state in OVER:
                self._forget_models()
        return changed

    def _forget_models(self) -> None:
        """Drop the models that no rollout brings any more."""
        assert self._db is not None
        marks = ", ".join("?" * len(OVER))
        self._db.execute(
            "DELETE FROM model WHERE sha256 NOT IN "
            f"(SELECT target FROM rollout WHERE state NOT IN ({marks}))",
            tuple(OVER),
        )

    def _write(self, batch: list[tuple[int, int, Row]]) -> None:
        with self._transaction():
            self._update(batch)

    def _update(self, batch: Iterable[tuple[int, int, Row]]) -> None:
        assert self._db is not None
        self._db.executemany(
            "UPDATE device SET state = ?, target = ?, before = ?, mark = ?, reason = ?, "
            "message = ?, facts = ?, change_time = ? WHERE rollout = ? AND position = ?",
            ((*_row_values(row), number, position) for number, position, row in batch),
        )


def now() -> str:
    """The wall clock, UTC, as the journal writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _rollout_columns(record: RolloutRecord) -> dict[str, Any]:
    values = {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(record)
        if field.name != "id"
    }
    return {**values, "plan": json.dumps(record.plan.as_json()), "change_time": now()}


def _record(values: dict[str, Any]) -> RolloutRecord:
    return RolloutRecord(
        **{
            **values,
            "kind": Kind(values["kind"]),
            "state": RolloutState(values["state"]),
            "plan": Plan.from_json(json.loads(values["plan"])),
        }
    )


def _row_values(row: Row) -> tuple[Any, ...]:
    return (
        row.state,
        row.target,
        row.before,
        row.mark,
        row.reason,
        row.message,
        json.dumps(dict(row.facts)),
        now(),
    )


def _row(
    device: str,
    wave: int,
    state: str,
    target: str,
    before: str | None,
    mark: str,
    reason: str,
    message: str,
    facts: str,
) -> Row:
    return Row(
        device=FleetDevice(**json.loads(device)),
        wave=wave,
        state=DeviceState(state),
        target=target,
        before=before,
        mark=mark,
        reason=reason,
        message=message,
        facts=json.loads(facts),
    )
