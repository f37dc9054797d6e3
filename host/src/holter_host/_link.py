"""The gRPC channel to a device, made anew when it broke."""

from __future__ import annotations

import grpc
import grpc.aio

from holter_host._channel import CHANNEL_OPTIONS
from holter_host.errors import DeviceUnreachableError


class Link:
    """The channel that all calls to one device share.

    A channel whose connection broke waits for some time of its own before it connects again, and
    one whose peer fell silent does not know it. So whoever sees a break asks for a new channel, and
    connects at once. The old one closes when the last call on it has let go of it.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel: grpc.aio.Channel | None = None

    def open(self) -> None:
        """Make the first channel."""
        self._channel = grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS)

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel; hold it as long as a call on it lasts.

        Raises:
            DeviceUnreachableError: the link is not open.
        """
        if self._channel is None:
            raise self.not_open()
        return self._channel

    def not_open(self) -> DeviceUnreachableError:
        """The error of what is asked before the link is open."""
        return DeviceUnreachableError(
            f"The connection to {self._address} is not open; "
            "use: async with connect(address) as device"
        )

    def renew(self, broken: grpc.aio.Channel) -> None:
        """Make a new channel, unless somebody has replaced the broken one before."""
        if self._channel is broken:
            self.open()

    async def close(self) -> None:
        """Close the channel."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def let_go(self) -> None:
        """Close the channel, on which there is no call.

        It closes with the last reference to it. `close` looks through all tasks of the loop for
        calls that are to be cancelled, which takes longer than most calls.
        """
        self._channel = None
