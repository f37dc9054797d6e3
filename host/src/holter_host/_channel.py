"""Where a device is, and how gRPC reaches it."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from holter_host.errors import BadInputError

DEFAULT_PORT: Final = 50051

# A model goes out in one message: gRPC sets no limit to what is sent, and the device's own limit is
# checked before. What comes in is at most a list of models or a block of 64 KiB of counts.
CHANNEL_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_send_message_length", -1),
    # Else a new channel would share the connection of the one that it replaces.
    ("grpc.use_local_subchannel_pool", 1),
)


def parse_address(address: str) -> str:
    """An address in the form that gRPC takes: HOST:PORT or unix:PATH.

    Raises:
        BadInputError: it is neither.
    """
    if re.fullmatch(r"unix:.+", address):
        return address
    found = re.fullmatch(r"(\[[0-9a-fA-F:.%\w]+\]|[\w.-]+)(?::(\d{1,5}))?", address)
    port = int(found[2] or DEFAULT_PORT) if found else 0
    if not found or not 1 <= port <= 65535:
        raise BadInputError(
            f"{address!r} is not the address of a device: give HOST:PORT, e.g. "
            f"127.0.0.1:{DEFAULT_PORT}, or unix:PATH."
        )
    return f"{found[1]}:{port}"


def with_port(address: str, port: int | None) -> str:
    """An address in the one form in which equal ones are equal, e.g. HOST:PORT in lower case.

    `port` is for one that has none; None is the default port.

    Raises:
        BadInputError: that is no address.
    """
    if address.startswith("unix:"):
        return parse_address(re.sub(r"^unix:/+", "unix:/", address))
    bare = address.endswith("]") if address.startswith("[") else ":" not in address
    return parse_address(f"{address}:{port}" if bare and port else address).lower()


def is_local(address: str) -> bool:
    """Whether what is sent to an address stays on this computer: loopback and Unix sockets."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
