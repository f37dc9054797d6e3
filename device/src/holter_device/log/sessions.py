"""The session that follows on another, and how long nobody recorded in between."""

from __future__ import annotations

from ..clock import UtcEstimate
from ..grid import Grid
from ..samples import Channel, SampleFormat, Session
from .schema import UNKNOWN_NS, StoredSession


def following_session(
    last: StoredSession | None,
    log_id: str,
    grid: Grid,
    channels: tuple[Channel, ...],
    sample_format: SampleFormat,
    boot_id: str,
    utc: UtcEstimate,
) -> Session:
    """The session after `last`; the first one where that is None."""
    hole_ns, hole_uncertainty_ns = _hole(last, grid, boot_id, utc)
    return Session(
        session_id=last.session.session_id + 1 if last else 1,
        log_id=log_id,
        grid=grid,
        channels=channels,
        sample_format=sample_format,
        boot_id=boot_id,
        utc=utc,
        previous_session_id=last.session.session_id if last else 0,
        previous_next_sequence=last.next_sequence if last else 0,
        hole_ns=hole_ns,
        hole_uncertainty_ns=hole_uncertainty_ns,
    )


def uncertainty_ns(utc: UtcEstimate) -> int:
    """The uncertainty of a wall clock, which is unknown where no time server holds it."""
    return utc.uncertainty_ns if utc.synchronized else UNKNOWN_NS


def _hole(
    last: StoredSession | None, grid: Grid, boot_id: str, utc: UtcEstimate
) -> tuple[int, int]:
    """Time from the end of the last session to a new grid's frame 0, and its uncertainty, in ns.

    Across boots it is by the wall clocks. Where one was not held to a time server it may have been
    behind by as long as the device was off, and nobody knows: the uncertainty is UNKNOWN_NS.
    """
    if last is None:
        return 0, 0
    hole_ns, hole_uncertainty_ns = grid.start_ns - last.end_ns, 0
    if last.session.boot_id != boot_id:
        hole_ns += utc.offset_ns - last.utc.offset_ns
        hole_uncertainty_ns = uncertainty_ns(utc) + uncertainty_ns(last.utc)
    # Below 0 one of the clocks was wrong, by that much or more.
    return max(0, hole_ns), min(hole_uncertainty_ns + max(0, -hole_ns), UNKNOWN_NS)
