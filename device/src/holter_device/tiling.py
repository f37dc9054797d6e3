"""What the sampler process writes, as tiles of the grid: in order, each frame once, and counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .children.sampler_frames import (
    BUS,
    BUS_ERROR,
    BUS_HEADER,
    DATA,
    DATA_HEADER,
    END,
    MISSING,
    MISSING_HEADER,
    QUALITY,
)
from .grid import GapCause
from .quality import QualityCounter
from .samples import Block, Gap


class ProtocolError(Exception):
    """Error raised when the sampler process says what it must not, or nothing at all."""


class Tiling:
    """The tiles of one session so far, from however many sampler processes.

    Args:
        rate_hz: the grid's rate.

    Attributes:
        next_sequence: the frame after the last tile.
        ended: whether the source is over.
        counter: how well the grid was kept.
        last_errno: why a read failed last; 0 where none did.
    """

    def __init__(self, rate_hz: float) -> None:
        self.next_sequence = 0
        self.ended = False
        self.counter = QualityCounter(rate_hz)
        self.last_errno = 0

    def read(
        self,
        frames: Iterable[tuple[int, bytes]],
        session_id: int,
        frame_size: int,
        hole: GapCause,
    ) -> Iterator[Block | Gap]:
        """The tiles of what the process wrote.

        Args:
            frames: (kind, payload) as sampler_frames says.
            session_id: the session of the tiles.
            frame_size: bytes of one frame of the grid.
            hole: why frames are missing that the process says nothing of: those before its first.

        Raises:
            ProtocolError: it is not what comes next. The tiles before it are good.
        """
        for kind, payload in frames:
            if kind == QUALITY:
                self.counter.lateness(payload)
                continue
            if kind == BUS:
                self._count_bus(payload)
                continue
            if kind == END:
                self.ended = True
                break
            tile = self._tile(kind, payload, session_id, frame_size)
            if (missing := tile.first_sequence - self.next_sequence) > 0:
                yield self._take(Gap(session_id, self.next_sequence, missing, hole))
            yield self._take(tile)

    def _count_bus(self, payload: bytes) -> None:
        sequence, retry_count = BUS_HEADER.unpack_from(payload)
        errors = dict(BUS_ERROR.iter_unpack(payload[BUS_HEADER.size :]))
        self.counter.bus(sequence, retry_count, errors)
        *_, self.last_errno = errors

    def _tile(self, kind: int, payload: bytes, session_id: int, frame_size: int) -> Block | Gap:
        if kind == DATA:
            first, late_count = DATA_HEADER.unpack_from(payload)
            counts = payload[DATA_HEADER.size :]
            frame_count = len(counts) // frame_size
            return Block(session_id, first, frame_count, counts, late_count=late_count)
        if kind == MISSING:
            first, frame_count, cause = MISSING_HEADER.unpack(payload)
            return Gap(session_id, first, frame_count, GapCause(cause))
        raise ProtocolError(f"the sampler sent a frame of kind {kind}")

    def _take(self, tile: Block | Gap) -> Block | Gap:
        """Count a tile, which must go on where the last one ended."""
        if tile.first_sequence != self.next_sequence or tile.frame_count < 1:
            raise ProtocolError(
                f"the sampler sent {tile.frame_count} frames from {tile.first_sequence} where"
                f" {self.next_sequence} was next"
            )
        self.next_sequence = tile.next_sequence
        self.counter.tile(tile)
        return tile
