"""What many devices stream, as one: whose it is, and when it was by this computer's clock."""

from __future__ import annotations

import dataclasses
import datetime

from holter_host import types
from holter_host._reconnect import ConnectionChange
from holter_host.clock import ClockOffset
from holter_host.errors import DeviceError
from holter_host.inventory import FleetDevice

__all__ = ["FleetEvent"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

StreamEvent = (
    types.SessionStarted
    | types.SampleBlock
    | types.Gap
    | types.ModelChanged
    | types.Classification
    | types.StreamEnd
)


@dataclasses.dataclass(frozen=True, slots=True)
class FleetEvent:
    """Something that came from a device of a fleet, or happened to its connection.

    Attributes:
        device: the device.
        event: an event of its stream; `StreamEnd` where the device ended it, after which no more
            comes of it; ConnectionChange where the connection was lost or is there again; a
            DeviceError where the stream cannot go on, after which no more comes of it either,
            unless its reason is LOG_NOT_FOUND: then it began anew, live, in the device's new log.
        session: the session of the device that the event belongs to; None before the first.
        clock: how the device's clock and this computer's differ; measured at the begin of each
            session and connection, and once a minute; None where it could not be, as where the
            device's clock is simulated and does not run in real time.
    """

    device: FleetDevice
    event: StreamEvent | ConnectionChange | DeviceError
    session: types.Session | None
    clock: ClockOffset | None

    @property
    def time(self) -> datetime.datetime | None:
        """When it was by this computer's clock, UTC, good to `clock.uncertainty_nanos`.

        Of a block and a gap it is the time of the first frame, of a classification that of the last
        frame of its window, of a session that of frame 0; None for others, and without a clock.
        """
        nanos = self.time_nanos
        return None if nanos is None else _EPOCH + datetime.timedelta(microseconds=nanos // 1000)

    @property
    def time_nanos(self) -> int | None:
        """The same in nanoseconds since 1970."""
        if self.clock is None or self.session is None:
            return None
        match self.event:
            case types.SampleBlock() | types.Classification():
                return self.event.monotonic_time_nanos + self.clock.offset_nanos
            case types.Gap(first_sequence=sequence):
                return self.session.monotonic_nanos(sequence) + self.clock.offset_nanos
            case types.SessionStarted():
                return self.session.start_monotonic_nanos + self.clock.offset_nanos
        return None

    @property
    def position(self) -> types.LogPosition | None:
        """Where a stream has to start to go on after this event; None where it does not tell."""
        if self.session is None:
            return None
        match self.event:
            case types.SampleBlock() | types.Gap() | types.StreamEnd():
                sequence = self.event.next_sequence
            case types.Classification(last_sequence=last):
                sequence = last + 1
            case _:
                return None
        return types.LogPosition(self.session.session_id, sequence, self.session.log_id)
