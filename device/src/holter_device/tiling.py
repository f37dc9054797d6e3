"""What the sampler process writes, as tiles of the grid: in order, each frame once, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from .children.sampler_frames import (
    DATA,
    DATA_HEADER,
    END,
    MISSING,
    MISSING_HEADER,
    QUALITY,
)
from .grid import GapCause
from .lateness import Lateness
from .samples import Block, Gap, SessionQuality


class ProtocolError(Exception):
    """Error raised when the sampler process says what it must not, or nothing at all."""


class Tiling:
    """The tiles of one session so far, from however many sampler processes.

    Attributes:
        next_sequence: the frame after the last tile.
        ended: whether the source is over.
        restart_count: sampler processes after the first; counted by who starts them.
        bus_errors: reads that failed, by errno.
    """

    def __init__(self) -> None:
        self.next_sequence = 0
        self.ended = False
        self.restart_count = 0
        self.bus_errors: Counter[int] = Counter()
        self._lateness = Lateness()
        self._received_count = 0
        self._missing_count = 0
        self._late_count = 0

    @property
    def quality(self) -> SessionQuality:
        """How well the grid was kept; lateness is told by the process once a second."""
        return SessionQuality(
            received_count=self._received_count,
            missing_count=self._missing_count,
            late_count=self._late_count,
            bus_errors=dict(self.bus_errors.most_common()),
            sampler_restart_count=self.restart_count,
            lateness_p50_ns=self._lateness.quantile_ns(0.5),
            lateness_p99_ns=self._lateness.quantile_ns(0.99),
            lateness_p999_ns=self._lateness.quantile_ns(0.999),
            lateness_max_ns=self._lateness.max_ns,
        )

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
                self._lateness.merge(payload)
                continue
            if kind == END:
                self.ended = True
                break
            tile = self._tile(kind, payload, session_id, frame_size)
            if (missing := tile.first_sequence - self.next_sequence) > 0:
                yield self._take(Gap(session_id, self.next_sequence, missing, hole))
            yield self._take(tile)

    def _tile(self, kind: int, payload: bytes, session_id: int, frame_size: int) -> Block | Gap:
        if kind == DATA:
            first, late_count = DATA_HEADER.unpack_from(payload)
            counts = payload[DATA_HEADER.size :]
            frame_count = len(counts) // frame_size
            return Block(session_id, first, frame_count, counts, late_count=late_count)
        if kind == MISSING:
            first, frame_count, cause, errno = MISSING_HEADER.unpack(payload)
            if cause == GapCause.BUS_ERROR:
                self.bus_errors[errno] += frame_count
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
        if isinstance(tile, Block):
            self._received_count += tile.frame_count
            self._late_count += tile.late_count
        else:
            self._missing_count += tile.frame_count
        return tile
