"""The gRPC server: its services, its options, and where it may listen."""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections.abc import Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from holter.v1 import (
    classification_service_pb2,
    classification_service_pb2_grpc,
    device_service_pb2,
    device_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    sample_service_pb2,
    sample_service_pb2_grpc,
)

from ..config import MIB, Config
from ..core import Core
from ..errors import ConfigError, ListenError
from .classifications import ClassificationServicer
from .device import DeviceServicer
from .models import ModelServicer
from .samples import SampleServicer

ROOM_BESIDE_MODEL_BYTES = MIB
LEAST_PING_INTERVAL_MS = 10_000

SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (device_service_pb2, "DeviceService"),
        (sample_service_pb2, "SampleService"),
        (classification_service_pb2, "ClassificationService"),
        (model_service_pb2, "ModelService"),
    )
)

_log = logging.getLogger(__name__)


class Server:
    """A server that is bound when it is made, and serves a core from `start` on.

    Raises:
        ConfigError: an address is no address, or would be open to others.
        ListenError: an address is in use, or not of this machine.
    """

    def __init__(
        self, config: Config, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
    ) -> None:
        self._server = grpc.aio.server(options=_options(config), interceptors=interceptors)
        self._health = health.aio.HealthServicer()
        self.addresses = [self._bind(address, config) for address in config.listen]

    async def start(self, core: Core) -> None:
        """Serve every service of the core."""
        server = self._server
        device_service_pb2_grpc.add_DeviceServiceServicer_to_server(DeviceServicer(core), server)
        sample_service_pb2_grpc.add_SampleServiceServicer_to_server(SampleServicer(core), server)
        classification_service_pb2_grpc.add_ClassificationServiceServicer_to_server(
            ClassificationServicer(core), server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(core), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        for service in ("", *SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await server.start()

    async def leave(self) -> None:
        """Tell who asks for its health that it is going; calls are still taken. Safe to repeat."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_seconds: float) -> None:
        """Tell that it ends, let the calls end, then end them."""
        await self.leave()
        await self._server.stop(grace_seconds)

    def _bind(self, address: str, config: Config) -> str:
        _check(address, config)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ListenError(
                f"cannot listen on {address}: it is in use, or not of this machine; "
                "choose another with --listen",
                address=address,
            ) from error
        return address if _is_unix(address) else f"{address.rpartition(':')[0]}:{port}"


def _options(config: Config) -> list[tuple[str, int]]:
    most = round(config.max_model_mib * MIB) + ROOM_BESIDE_MODEL_BYTES
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", most),
        ("grpc.http2.min_ping_interval_without_data_ms", LEAST_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _is_unix(address: str) -> bool:
    return address.startswith("unix:")


def _check(address: str, config: Config) -> None:
    if _is_unix(address):
        _check_unix(address)
        return
    match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\[\]]+):(\d{1,5})", address)
    if match is None or int(match[2]) > 65535:
        raise ConfigError(
            f"{address!r} is no address to listen on; it is HOST:PORT or unix:PATH", key="listen"
        )
    if _is_loopback(match[1].strip("[]")):
        return
    if not config.insecure:
        raise ConfigError(
            f"{address} is open to others, and there is no encryption yet; listen on 127.0.0.1 or "
            "a Unix socket (and reach it by ssh -L), or say --insecure",
            key="listen",
        )
    _log.warning("%s is open to others without encryption or passwords (--insecure)", address)


def _check_unix(address: str) -> None:
    path = Path(address.removeprefix("unix:"))
    if not path.parent.is_dir():
        raise ListenError(f"cannot listen on {address}: there is no directory {path.parent}")
    # gRPC would take the path away from whoever serves it.
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            in_use = probe.connect_ex(str(path)) == 0
        except OSError as error:
            raise ListenError(
                f"cannot listen on {address}: {error}; choose another with --listen",
                address=address,
            ) from error
    if in_use:
        raise ListenError(
            f"cannot listen on {address}: it is in use; choose another with --listen",
            address=address,
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
