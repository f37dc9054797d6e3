"""The streams of a fleet: those of every device, merged."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from holter_host._fleet_feed import FleetStart, Kind, Wanted, merged
from holter_host._fleet_work import FleetWork
from holter_host.fleet_streams import FleetEvent


class FleetStreamCalls(FleetWork):
    """What the devices of a fleet stream."""

    def samples(
        self,
        start: FleetStart = "live",
        *,
        max_latency: float | None = None,
        reconnect: float | None = None,
    ) -> AsyncGenerator[FleetEvent, None]:
        """Every frame of every device from `start` on, each device's once and in order.

        The devices' events come as they come; `FleetEvent.time` tells when they were by one clock.
        A device that is not there is waited for and does not hold up the others; what it recorded
        meanwhile follows when it is back. It ends when the streams of all devices have ended.

        Args:
            start: as for `Device.samples`; or one for each device by its name, as `position` of its
                last event, where those that are not in it start live.
            max_latency: as for `Device.samples`.
            reconnect: as for `Device.samples`, from the first try on.

        Raises:
            BadInputError: an argument is none of these.
        """
        return self.streams(Wanted(("samples",), start, max_latency, reconnect))

    def classifications(
        self, start: FleetStart = "live", *, reconnect: float | None = None
    ) -> AsyncGenerator[FleetEvent, None]:
        """What the model of every device says of its windows; the rest is as for `samples`.

        Raises:
            BadInputError: an argument is none of those that `samples` takes.
        """
        return self.streams(Wanted(("classifications",), start, None, reconnect))

    def events(
        self,
        start: FleetStart = "live",
        *,
        max_latency: float | None = None,
        reconnect: float | None = None,
    ) -> AsyncGenerator[FleetEvent, None]:
        """Both `samples` and `classifications` of every device, each in its own order.

        Raises:
            BadInputError: an argument is none of those that `samples` takes.
        """
        kinds: tuple[Kind, ...] = ("samples", "classifications")
        return self.streams(Wanted(kinds, start, max_latency, reconnect))

    def streams(self, wanted: Wanted) -> AsyncGenerator[FleetEvent, None]:
        """The events of these streams; what `samples`, `classifications` and `events` have."""
        wanted.check()
        stream = self._merged(wanted)
        going_on = [other for other in self._streams if other.ag_frame is not None]
        self._streams = [*going_on, stream]
        return stream

    def _merged(self, wanted: Wanted) -> AsyncGenerator[FleetEvent, None]:
        return merged(self.inventory.devices, self._connect, wanted)
