"""What is in a journal's file: rollouts, their devices and their models, as rows of SQLite.

All of it waits for the disk; `Journal` calls it from a thread of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from holter.signature import ModelSignature, from_json, to_json
from holter_host.errors import BadInputError, HolterError
from holter_host.rollout.columns import now, record_of, rollout_columns, row_of, row_values
from holter_host.rollout.lock import Lock, RolloutBusyError
from holter_host.rollout.record import OVER, RolloutRecord, RolloutState, RolloutSummary
from holter_host.rollout.rows import UNSETTLED, DeviceState, Row
from holter_host.rollout.states import is_open

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
CREATE TABLE model (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL, signature TEXT NOT NULL);
"""


class JournalError(HolterError):
    """Error raised when the journal cannot be read or written; nothing is done without it."""


class RolloutNotFoundError(HolterError, LookupError):
    """Error raised when the journal has no rollout of this number."""

    exit_code = 5


class Ledger:
    """The file of a journal, open until `close`.

    Args:
        path: the file, which is made with its directory if it is not there.
        synchronous: SQLite's setting.
    """

    def __init__(self, path: Path, synchronous: str) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        db = sqlite3.connect(self.path, isolation_level=None, timeout=30, check_same_thread=False)
        self._db = db
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
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

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def create(
        self,
        record: RolloutRecord,
        rows: Sequence[Row],
        model: bytes | None,
        signature: ModelSignature | None,
    ) -> tuple[RolloutRecord, Lock]:
        """As `Journal.create`."""
        addresses = {row.device.address for row in rows}
        with contextlib.ExitStack() as undo:
            with self._transaction():
                self._check_free(addresses, 0)
                number = self._insert(record, rows)
                self._supersede(addresses, number)
                if model is not None:
                    self._keep(record.target, model, signature)
                lock = Lock.take(self.path, number)
                undo.callback(lock.release)
            undo.pop_all()
        return dataclasses.replace(record, id=number), lock

    def _keep(self, sha256: str, model: bytes, signature: ModelSignature | None) -> None:
        """Keep a model; one that is kept already gets a signature that it had not."""
        text = to_json(sha256, signature) if signature else ""
        self._db.execute(
            "INSERT INTO model VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
            "SET signature = excluded.signature WHERE excluded.signature <> ''",
            (sha256, model, text),
        )

    def _insert(self, record: RolloutRecord, rows: Sequence[Row]) -> int:
        """A new rollout and its devices; its number."""
        columns = rollout_columns(record)
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        cursor = self._db.execute(
            f"INSERT INTO rollout ({names}) VALUES ({marks})", tuple(columns.values())
        )
        number = cursor.lastrowid
        assert number is not None
        self._db.executemany(
            "INSERT INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    number,
                    position,
                    row.device.address,
                    json.dumps(dataclasses.asdict(row.device)),
                    row.wave,
                    *row_values(row),
                )
                for position, row in enumerate(rows)
            ),
        )
        return number

    def _supersede(self, addresses: set[str], by: int) -> None:
        """Close what other rollouts have open on these devices; nobody runs them."""
        for other in self._unfinished():
            rows = self.rows(other.id) if other.id != by else {}
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
                for row in self.rows(other.id).values()
                if row.device.address in addresses
            ]
            if common:
                more = f" and {len(common) - 3} more" if common[3:] else ""
                raise RolloutBusyError(
                    f"Rollout {other.id} ({other.label}) by {holder} is running on "
                    f"{', '.join(common[:3])}{more}; wait until it is over, or stop it."
                )

    def hold(self, number: int) -> Lock:
        """As `Journal.hold`."""
        with self._transaction():
            self.load(number)
            addresses = {row.device.address for row in self.rows(number).values()}
            self._check_free(addresses, number)
            return Lock.take(self.path, number)

    def _unfinished(self) -> list[RolloutRecord]:
        marks = ", ".join("?" * len(OVER))
        return self._records(f"WHERE state NOT IN ({marks}) ORDER BY id", tuple(OVER))

    def load(self, number: int) -> RolloutRecord:
        """As `Journal.load`."""
        found = self._records("WHERE id = ?", (number,))
        if not found:
            raise RolloutNotFoundError(
                f"The journal {self.path} has no rollout {number}; see: holter fleet history"
            )
        return found[0]

    def _records(self, where: str, values: tuple[Any, ...]) -> list[RolloutRecord]:
        names = [field.name for field in dataclasses.fields(RolloutRecord)]
        rows = self._db.execute(f"SELECT {', '.join(names)} FROM rollout {where}", values)
        return [record_of(dict(zip(names, row, strict=True))) for row in rows]

    def rows(self, number: int) -> dict[int, Row]:
        """As `Journal.rows`."""
        found = self._db.execute(
            "SELECT position, device, wave, state, target, before, mark, reason, message, facts "
            "FROM device WHERE rollout = ? ORDER BY position",
            (number,),
        )
        return {position: row_of(*values) for position, *values in found}

    def history(self, limit: int) -> list[RolloutSummary]:
        """As `Journal.history`."""
        found = []
        for record in self._records("ORDER BY id DESC LIMIT ?", (limit,)):
            counts = self._db.execute(
                "SELECT state, count(*) FROM device WHERE rollout = ? GROUP BY state", (record.id,)
            )
            devices = {DeviceState(state): count for state, count in counts}
            found.append(RolloutSummary(record, devices, Lock.holder(self.path, record.id)))
        return found

    def model(self, sha256: str) -> tuple[bytes, ModelSignature | None]:
        """As `Journal.model`."""
        select = "SELECT data, signature FROM model WHERE sha256 = ?"
        found = self._db.execute(select, (sha256,)).fetchone()
        if found is None:
            raise JournalError(f"The journal {self.path} keeps model {sha256[:12]} no longer.")
        data, text = found
        return data, from_json(text)[1] if text else None

    def change(self, number: int, values: dict[str, Any]) -> RolloutRecord:
        """As `Journal.change`."""
        with self._transaction() as db:
            changed = dataclasses.replace(self.load(number), change_time=now(), **values)
            columns = rollout_columns(changed)
            names = ", ".join(f"{name} = ?" for name in columns)
            db.execute(f"UPDATE rollout SET {names} WHERE id = ?", (*columns.values(), number))
            if changed.state in OVER:
                self._forget_models()
        return changed

    def _forget_models(self) -> None:
        """Drop the models that no rollout brings any more."""
        marks = ", ".join("?" * len(OVER))
        self._db.execute(
            "DELETE FROM model WHERE sha256 NOT IN "
            f"(SELECT target FROM rollout WHERE state NOT IN ({marks}))",
            tuple(OVER),
        )

    def write(self, batch: list[tuple[int, int, Row]]) -> None:
        """As `Journal.record`."""
        with self._transaction():
            self._update(batch)

    def _update(self, batch: Iterable[tuple[int, int, Row]]) -> None:
        self._db.executemany(
            "UPDATE device SET state = ?, target = ?, before = ?, mark = ?, reason = ?, "
            "message = ?, facts = ?, change_time = ? WHERE rollout = ? AND position = ?",
            ((*row_values(row), number, position) for number, position, row in batch),
        )
