"""A device's models in memory; the bytes of a model are there once for all devices."""

from __future__ import annotations

import dataclasses
import time
import weakref

from holter.signature import ModelSignature
from holter.spec import ModelSpec

from ..store import ActiveRecord, StoredModel, check_room, in_order, not_found, state_in


class Held:
    """The bytes of a model file."""

    def __init__(self, content: bytes) -> None:
        self.content = content


ModelFiles = weakref.WeakValueDictionary[str, Held]


class MemoryModelStore:
    """A ModelStore that is gone with its process.

    Args:
        files: the model files of all stores, by their digest.
        max_bytes: what its model files may have together; 0 for no limit.
    """

    def __init__(self, files: ModelFiles, max_bytes: int = 0) -> None:
        self._files = files
        self._max_bytes = max_bytes
        self._models: dict[str, tuple[StoredModel, Held]] = {}
        self._record = ActiveRecord()

    def put(
        self,
        sha256: str,
        model: bytes,
        spec: ModelSpec,
        signature: ModelSignature | None = None,
    ) -> StoredModel:
        """Keep a model, as ModelStore.put."""
        others = [stored for name, (stored, _) in self._models.items() if name != sha256]
        check_room(sum(stored.size_bytes for stored in others), len(model), self._max_bytes)
        held = self._files.setdefault(sha256, Held(model))
        now = time.time_ns()
        stored = StoredModel(
            sha256=sha256,
            spec=spec,
            size_bytes=len(model),
            store_time_ns=now,
            signature=signature,
        )
        self._models[sha256] = stored, held
        return self.get(sha256)

    def get(self, sha256: str) -> StoredModel:
        """What is known of a model, as ModelStore.get."""
        return dataclasses.replace(self._find(sha256)[0], state=state_in(self._record, sha256))

    def read(self, sha256: str) -> bytes:
        """A model's file, as ModelStore.read."""
        return self._find(sha256)[1].content

    def models(self) -> tuple[StoredModel, ...]:
        """All models, as ModelStore.models."""
        return in_order(map(self.get, self._models))

    def remove(self, sha256: str) -> None:
        """Forget a model, as ModelStore.remove."""
        self._models.pop(sha256, None)

    def record(self) -> ActiveRecord:
        """Which model is active, as ModelStore.record."""
        return self._record

    def set_record(self, record: ActiveRecord) -> None:
        """Say which model is active, as ModelStore.set_record."""
        self._record = record

    def _find(self, sha256: str) -> tuple[StoredModel, Held]:
        if sha256 not in self._models:
            raise not_found(sha256)
        return self._models[sha256]
