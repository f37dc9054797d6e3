"""The device's models on disk: named by their digest, complete or not there.

    DIR/<sha256>.tflite   the model file
    DIR/<sha256>.json     {"spec": …, "size_bytes": …, "store_time_ns": …, "signature": …}, written
                          after it; the signature is the text of a .sig file, or null
    DIR/active.json       ActiveRecord: which is active, which was before, how its probation does

Each file is written under a temporary name, synced, renamed into place, and the directory synced;
a model's bytes are read back and held against their digest before they get their name. So a power
cut leaves the old or the new, and what is half written is removed when the store is opened.
All calls block, so the caller makes them in a thread; writes one at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from holter.signature import ModelSignature, from_json, to_json
from holter.spec import ModelSpec, SpecError

from .errors import DigestMismatchError, ModelNotFoundError, StoreFullError

_SHA256 = re.compile("[0-9a-f]{64}")
_TEMPORARY = ".tmp"

_log = logging.getLogger(__name__)


class ModelState(enum.IntEnum):
    """What a model is to the device; the numbers are those of the wire."""

    STORED = 1
    ACTIVE = 2
    PREVIOUS = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model that the device holds.

    Attributes:
        sha256: its name.
        spec: what it says of itself.
        size_bytes: size of its file.
        store_time_ns: when it was stored, in ns since 1970 by the wall clock; 0 if it is not.
        state: what it is to the device.
        signature: the one that came with it, or None.
    """

    sha256: str
    spec: ModelSpec
    size_bytes: int
    store_time_ns: int = 0
    state: ModelState = ModelState.STORED
    signature: ModelSignature | None = None


class ProbationState(enum.IntEnum):
    """How a probation does, or did; the numbers are those of the wire."""

    RUNNING = 1
    PASSED = 2
    RETURNED = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Probation:
    """The newest probation, running or over.

    Attributes:
        sha256: the model on probation.
        previous: the model to go back to.
        peer: who deployed it.
        start_time_ns: when it was swapped in, in ns since 1970 by the wall clock.
        state: how it does.
        end_time_ns: when it was over; 0 while it runs.
        window_count: windows that it was asked for.
        cause: why the device went back to the model before, the number of a ReturnCause; 0 if it
            did not.
        reason: the same as a sentence.
    """

    sha256: str
    previous: str
    peer: str = ""
    start_time_ns: int = 0
    state: ProbationState = ProbationState.RUNNING
    end_time_ns: int = 0
    window_count: int = 0
    cause: int = 0
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ActiveRecord:
    """Which model is active.

    Attributes:
        active: its digest; "" where there is none.
        previous: the one before it, likewise.
        probation: the newest probation, if there was one.
        starts: starts of holterd with it since it last classified a window, or holterd stopped.
    """

    active: str = ""
    previous: str = ""
    probation: Probation | None = None
    starts: int = 0


class ModelStore(Protocol):
    """Keeps models and the record of which is active."""

    def put(
        self,
        sha256: str,
        model: bytes,
        spec: ModelSpec,
        signature: ModelSignature | None = None,
    ) -> StoredModel:
        """Keep a model; one that is there is written anew, which heals a damaged one.

        Raises:
            StoreFullError: it cannot be written down; nothing has changed.
        """

    def get(self, sha256: str) -> StoredModel:
        """What is known of a model.

        Raises:
            ModelNotFoundError: the store has none of this name.
        """

    def read(self, sha256: str) -> bytes:
        """A model's file.

        Raises:
            ModelNotFoundError: the store has none of this name.
            DigestMismatchError: its bytes are damaged.
        """

    def models(self) -> tuple[StoredModel, ...]:
        """All models: the active one first, then by store_time, newest first."""

    def remove(self, sha256: str) -> None:
        """Forget a model; nothing where there is none.

        Raises:
            StoreFullError: the disk does not let it.
        """

    def record(self) -> ActiveRecord:
        """Which model is active.

        Raises:
            OSError: it cannot be read; what it says is not known.
        """

    def set_record(self, record: ActiveRecord) -> None:
        """Say which model is active.

        Raises:
            StoreFullError: it cannot be written down; the record is the old or the new.
        """


class FileModelStore:
    """A store in one directory, which is made.

    Args:
        directory: where it is.
        max_bytes: what its model files may have together; 0 for no limit.

    Raises:
        OSError: the directory cannot be made or read.
    """

    def __init__(self, directory: Path, max_bytes: int = 0) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        directory.mkdir(parents=True, exist_ok=True)
        _sync(directory.parent)  # else a power cut may take the directory, and all that is in it
        self._clean()

    def put(
        self,
        sha256: str,
        model: bytes,
        spec: ModelSpec,
        signature: ModelSignature | None = None,
    ) -> StoredModel:
        """Keep a model, as ModelStore.put."""
        stored = StoredModel(
            sha256=sha256,
            spec=spec,
            size_bytes=len(model),
            store_time_ns=time.time_ns(),
            signature=signature,
        )
        known = self._path(sha256, ".json").exists()
        self._check_room(sha256, len(model))
        about = {
            "spec": spec.to_json(),
            "size_bytes": stored.size_bytes,
            "store_time_ns": stored.store_time_ns,
            "signature": to_json(sha256, signature) if signature else None,
        }
        try:
            self._write(self._path(sha256, ".tflite"), model, sha256)
            self._write(self._path(sha256, ".json"), json.dumps(about).encode())
        except StoreFullError:
            if not known:
                with contextlib.suppress(OSError):
                    self._path(sha256, ".tflite").unlink(missing_ok=True)
            raise
        return dataclasses.replace(stored, state=state_in(self.record(), sha256))

    def get(self, sha256: str) -> StoredModel:
        """What is known of a model, as ModelStore.get."""
        try:
            about = json.loads(self._path(sha256, ".json").read_bytes())
            spec = ModelSpec.from_json(about["spec"])
            signature = about.get("signature")  # which came later
            return StoredModel(
                sha256=sha256,
                spec=spec,
                size_bytes=int(about["size_bytes"]),
                store_time_ns=int(about["store_time_ns"]),
                state=state_in(self.record(), sha256),
                signature=from_json(signature)[1] if signature else None,
            )
        except FileNotFoundError:
            raise not_found(sha256) from None
        except (OSError, SpecError, ValueError, KeyError, TypeError) as error:
            _log.warning("what is stored of model %s is damaged: %s", sha256, error)
            raise not_found(sha256) from error

    def read(self, sha256: str) -> bytes:
        """A model's file, as ModelStore.read."""
        try:
            model = self._path(sha256, ".tflite").read_bytes()
        except FileNotFoundError:
            raise not_found(sha256) from None
        actual = hashlib.sha256(model).hexdigest()
        if actual != sha256:
            raise DigestMismatchError(
                f"the stored model {sha256} is damaged: its bytes now have the SHA-256 {actual}; "
                "deploy it again",
                sha256=sha256,
                actual_sha256=actual,
            )
        return model

    def models(self) -> tuple[StoredModel, ...]:
        """All models, as ModelStore.models."""
        models = []
        for path in self._directory.glob("*.tflite"):
            with contextlib.suppress(ModelNotFoundError):
                models.append(self.get(path.stem))
        return in_order(models)

    def remove(self, sha256: str) -> None:
        """Forget a model, as ModelStore.remove."""
        try:
            self._path(sha256, ".json").unlink(missing_ok=True)
            self._path(sha256, ".tflite").unlink(missing_ok=True)
            _sync(self._directory)
        except OSError as error:
            raise self._full(error) from error

    def record(self) -> ActiveRecord:
        """Which model is active, as ModelStore.record."""
        try:
            raw = json.loads((self._directory / "active.json").read_bytes())
            active, previous = str(raw["active"]), str(raw["previous"])
            probation = raw.get("probation")
            record = ActiveRecord(
                active,
                previous,
                Probation(**(probation | {"state": ProbationState(probation["state"])}))
                if probation
                else None,
                int(raw.get("starts", 0)),
            )
        except FileNotFoundError:
            return ActiveRecord()
        except (ValueError, KeyError, TypeError) as error:
            _log.error("the record of the active model is damaged: %s", error)
            return ActiveRecord()
        return record

    def set_record(self, record: ActiveRecord) -> None:
        """Say which model is active, as ModelStore.set_record."""
        content = json.dumps(dataclasses.asdict(record)).encode()
        self._write(self._directory / "active.json", content)

    def _write(self, path: Path, content: bytes, sha256: str = "") -> None:
        """Stage, sync, verify, rename, sync the directory."""
        temporary = path.with_name(path.name + _TEMPORARY)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if sha256 and _digest(temporary) != sha256:
                raise OSError("what was written reads back different; the card may be failing")
            temporary.rename(path)
            _sync(self._directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise self._full(error) from error

    def _check_room(self, sha256: str, size: int) -> None:
        files = self._directory.glob("*.tflite")
        held = sum(path.stat().st_size for path in files if path.stem != sha256)
        check_room(held, size, self._max_bytes)

    def _full(self, error: OSError) -> StoreFullError:
        detail = error.strerror or str(error)
        return StoreFullError(
            f"the model could not be written to {self._directory}: {detail}; free some space, or "
            "start holterd with another --data-dir",
            detail=detail,
        )

    def _clean(self) -> None:
        """Remove what a power cut left: temporary files, and a model's half."""
        try:
            record = self.record()
        except OSError as error:
            _log.error("the record of the active model cannot be read: %s", error)
            return  # half of a model may be what is left of the active one
        for path in [*self._directory.glob("*" + _TEMPORARY), *self._halves()]:
            if path.stem not in (record.active, record.previous):
                _log.info("removing %s, left by a write that was cut off", path.name)
                path.unlink(missing_ok=True)

    def _halves(self) -> Iterator[Path]:
        for path in self._directory.iterdir():
            other = {".tflite": ".json", ".json": ".tflite"}.get(path.suffix)
            if other and _SHA256.fullmatch(path.stem) and not path.with_suffix(other).exists():
                yield path

    def _path(self, sha256: str, suffix: str) -> Path:
        # A name from outside must not leave the directory.
        if not _SHA256.fullmatch(sha256):
            raise not_found(sha256)
        return self._directory / f"{sha256}{suffix}"


def _sync(directory: Path) -> None:
    """Have the names in a directory outlive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def not_found(sha256: str) -> ModelNotFoundError:
    """The error of a name that a store does not have."""
    return ModelNotFoundError(
        f"this device has no model {sha256}; `holter models` lists those that it has",
        sha256=sha256,
    )


def state_in(record: ActiveRecord, sha256: str) -> ModelState:
    """What a model is to the device by its record."""
    if sha256 == record.active:
        return ModelState.ACTIVE
    return ModelState.PREVIOUS if sha256 == record.previous else ModelState.STORED


def in_order(models: Iterable[StoredModel]) -> tuple[StoredModel, ...]:
    """The order of ModelStore.models."""
    return tuple(
        sorted(models, key=lambda m: (m.state is not ModelState.ACTIVE, -m.store_time_ns, m.sha256))
    )


def check_room(held: int, size: int, max_bytes: int) -> None:
    """See that there is room for a model of `size` bytes beside others of `held`.

    Raises:
        StoreFullError: there is none.
    """
    if max_bytes and held + size > max_bytes:
        detail = f"{held} bytes of {max_bytes} are taken and it has {size}"
        raise StoreFullError(
            f"there is no room for the model among the others on this device: {detail}; delete "
            "one with `holter delete`, or raise models_mib",
            detail=detail,
        )
