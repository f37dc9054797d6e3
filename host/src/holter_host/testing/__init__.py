"""A device for tests: the services of holter.v1 over real gRPC, with an invented signal.

    with FakeDevice(frames=[3600]) as fake:
        with connect_sync(fake.address) as device:
            ...

It keeps the laws of the streams (each frame once, sessions follow each other, `end` at the end) and
judges a deployed file by its digest and its spec; it runs no model. `fail` makes a call fail, and
`requests` holds what was asked.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from types import TracebackType
from typing import Any, Final, Self

import grpc

from holter.v1 import classification_service_pb2_grpc as classification_grpc
from holter.v1 import device_service_pb2 as device_pb
from holter.v1 import device_service_pb2_grpc as device_grpc
from holter.v1 import model_service_pb2 as model_pb
from holter.v1 import model_service_pb2_grpc as model_grpc
from holter.v1 import sample_service_pb2_grpc as sample_grpc
from holter.v1 import stream_pb2 as stream_pb
from holter_host.testing._services import Services
from holter_host.testing._signal import (
    HOLE_NANOS,
    LOG_ID,
    START_NANOS,
    UTC_OFFSET_NANOS,
    fake_counts,
)
from holter_host.testing._status import Failure
from holter_host.types import LeadOffRun

__all__ = ["ENDLESS", "LOG_ID", "Failure", "FakeDevice", "Hole", "fake_counts"]

ENDLESS: Final = 2**40

_REGISTER: Final[tuple[Callable[..., None], ...]] = (
    device_grpc.add_DeviceServiceServicer_to_server,
    sample_grpc.add_SampleServiceServicer_to_server,
    classification_grpc.add_ClassificationServiceServicer_to_server,
    model_grpc.add_ModelServiceServicer_to_server,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Hole:
    """Frames of a session that the fake device does not have."""

    session_id: int
    first_sequence: int
    frame_count: int
    cause: str = "BUS_ERROR"


class FakeDevice:
    """A device on a free loopback port (or at `listen`) while its `with` block lasts.

    Args:
        frames: frames of each session, the first session first; ENDLESS for no end.
        live_sequence: where in the last session "live" is.
        channels: names of the channels.
        holes: frames that are missing, in order.
        lead_off: runs with an electrode off, in every session: LeadOffRun, or (first sequence,
            frames) for all channels.
        rate_hz: frames a second.
        block: frames in a message.
        hold: whether streams stay open after the last frame, until the device stops.
        max_model_bytes: the limit that it tells and keeps.
        listen: the address to listen at.
        log_id: identity of its log.
        clock: its monotonic clock; by default one by which its UTC is this computer's.

    Attributes:
        quality: what it tells of its sampler; to be filled in.
        recording: what it tells of its log; to be filled in.
        source: what it tells of its source; a simulation in real time.
    """

    def __init__(
        self,
        frames: Sequence[int] = (ENDLESS,),
        *,
        live_sequence: int = 0,
        channels: Sequence[str] = ("A0",),
        holes: Sequence[Hole] = (),
        lead_off: Sequence[LeadOffRun | tuple[int, int]] = (),
        rate_hz: float = 360.0,
        block: int = 36,
        hold: bool = False,
        max_model_bytes: int = 64 * 2**20,
        listen: str = "127.0.0.1:0",
        log_id: str = LOG_ID,
        clock: Callable[[], int] = lambda: time.time_ns() - UTC_OFFSET_NANOS,
    ) -> None:
        self.frames = tuple(frames)
        self.live_sequence = live_sequence
        self.channels = tuple(channels)
        self.holes = tuple(holes)
        self.lead_off = tuple(r if isinstance(r, LeadOffRun) else LeadOffRun(*r) for r in lead_off)
        self.rate_hz = rate_hz
        self.block = block
        self.hold = hold
        self.max_model_bytes = max_model_bytes
        self.models: dict[str, model_pb.Model] = {}
        self.active_sha256 = ""
        self.log_id = log_id
        self.clock = clock
        self.source = device_pb.Source(kind="simulate", description="A fake signal", speed=1)
        self.quality = stream_pb.SamplingQuality(received_count=live_sequence)
        self.recording = device_pb.Recording(state=stream_pb.RECORDING_STATE_RECORDING)
        self.requests: list[Any] = []
        self.address = ""
        self._listen = listen
        self._failures: dict[str, collections.deque[Failure]] = collections.defaultdict(
            collections.deque
        )
        self._streams = 0
        self._idle = threading.Condition()
        self._ended: set[threading.Event] = set()
        self._stopping = threading.Event()
        self._server: grpc.Server | None = None

    def __enter__(self) -> Self:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=16),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 2**28)],
        )
        services = Services(self)
        for register in _REGISTER:
            register(services, self._server)
        port = self._server.add_insecure_port(self._listen)
        unix = self._listen.startswith("unix:")
        self.address = self._listen if unix else f"{self._listen.rpartition(':')[0]}:{port}"
        self._server.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop as holterd does on SIGTERM: each stream gets its `end`."""
        self._stopping.set()
        for ended in tuple(self._ended):
            ended.set()
        if self._server is not None:
            self._server.stop(grace=2).wait()

    def fail(self, method: str, *failures: Failure) -> None:
        """Let the next calls of a method, e.g. "DeployModel", fail, one with each failure."""
        self._failures[method].extend(failures)

    def session(self, session_id: int) -> stream_pb.Session:
        """A session."""
        return stream_pb.Session(
            session_id=session_id,
            log_id=self.log_id,
            rate_hz=self.rate_hz,
            start_monotonic_nanos=self.start_nanos(session_id),
            channels=[
                stream_pb.Channel(
                    name=name, volts_per_count=3.3 / 256, gain=1100, baseline_volts=1.65
                )
                for name in self.channels
            ],
            sample_format=stream_pb.SAMPLE_FORMAT_U8,
            boot_id="boot",
            utc=self.utc(),
        )

    def start_nanos(self, session_id: int) -> int:
        """The monotonic time of a session's first frame: HOLE_NANOS after the one before it."""
        frames = sum(self.frames[: session_id - 1])
        return START_NANOS + (session_id - 1) * HOLE_NANOS + round(frames * 1e9 / self.rate_hz)

    def utc(self) -> stream_pb.UtcEstimate:
        """The wall clock."""
        return stream_pb.UtcEstimate(offset_nanos=UTC_OFFSET_NANOS, uncertainty_nanos=1_000_000)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count a stream while the block runs."""
        with self._idle:
            self._streams += 1
        try:
            yield
        finally:
            with self._idle:
                self._streams -= 1
                self._idle.notify_all()

    def wait_until_idle(self, timeout: float = 10.0) -> bool:
        """Wait, in seconds, until no stream is open; tell whether it came to that."""
        with self._idle:
            return self._idle.wait_for(lambda: self._streams == 0, timeout)

    def take_failure(self, method: str, request: Any) -> Failure | None:
        """Note a request, and tell what its call is to fail with."""
        self.requests.append(request)
        queue = self._failures[method]
        return queue.popleft() if queue else None

    def beats(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Yield once a second, until the device stops or the caller is gone."""
        ended = threading.Event()
        self._ended.add(ended)
        if not context.add_callback(ended.set) or self.stopping:
            ended.set()
        while not ended.wait(1.0):
            yield
        self._ended.discard(ended)

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()
