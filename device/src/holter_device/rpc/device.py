"""DeviceService: what the device is and how it does."""

from __future__ import annotations

import importlib.metadata
import time

import grpc

from holter.v1 import device_service_pb2 as pb
from holter.v1 import device_service_pb2_grpc as pb_grpc

from ..config import MIB
from ..core import Core
from ..windows import max_window_frames
from . import convert
from .errors import translated


class DeviceServicer(pb_grpc.DeviceServiceServicer):
    """Serves the state of one device."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._version = importlib.metadata.version("holter-device")

    @translated
    async def GetClock(  # noqa: N802 (the method's name is the wire's)
        self,
        request: pb.GetClockRequest,
        context: grpc.aio.ServicerContext[pb.GetClockRequest, pb.GetClockResponse],
    ) -> pb.GetClockResponse:
        """Look at the clocks, and do nothing else."""
        clock = self._core.clock
        return pb.GetClockResponse(
            monotonic_time_nanos=clock.monotonic_ns(),
            utc=convert.utc_to_pb(clock.utc()),
            boot_id=self._core.session.boot_id,
            speed=self._core.config.speed_factor,
        )

    @translated
    async def GetDevice(  # noqa: N802 (the method's name is the wire's)
        self,
        request: pb.GetDeviceRequest,
        context: grpc.aio.ServicerContext[pb.GetDeviceRequest, pb.GetDeviceResponse],
    ) -> pb.GetDeviceResponse:
        """Put the state together."""
        core = self._core
        source = core.sampler.source
        response = pb.GetDeviceResponse(
            version=self._version,
            hostname=core.hostname,
            log_id=core.log.log_id,
            session=convert.session_to_pb(core.session),
            next_sequence=core.pipeline.next_sequence,
            source=pb.Source(
                kind=source.kind,
                description=source.description,
                speed=core.config.speed_factor,
                oversampling=source.oversampling,
                frame_read_nanos=source.frame_read_ns,
                real_time_priority=source.real_time_priority,
                memory_locked=source.memory_locked,
            ),
            sampler_state=f"SAMPLER_STATE_{core.sampler.state.name}",
            quality=convert.quality_to_pb(core.sampler.quality),
            monotonic_time_nanos=core.clock.monotonic_ns(),
            utc=convert.utc_to_pb(core.clock.utc()),
            classifier_state=f"CLASSIFIER_STATE_{core.pipeline.state.name}",
            limits=pb.Limits(
                max_model_bytes=round(core.config.max_model_mib * MIB),
                max_window_frame_count=max_window_frames(core.config.rate),
            ),
            uptime_nanos=time.monotonic_ns() - core.started_ns,
            sampler_error=core.sampler.last_error,
            classifier_error=core.pipeline.last_error,
            recording=convert.recording_to_pb(core.log.recording, core.log.log_id),
            trusted_keys=core.trust.keys,
        )
        active = await core.active_model()
        if active is not None:
            response.active_model.CopyFrom(convert.model_to_pb(active))
        active_classifier = core.pipeline.active
        runtime = core.runtime if active_classifier is None else active_classifier.runtime
        if runtime is not None:
            response.runtime.CopyFrom(pb.Runtime(name=runtime.name, version=runtime.version))
        return response
