"""The services of a fake device."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from holter.spec import SPEC_PATH, ModelSpec
from holter.v1 import classification_service_pb2 as classification_pb
from holter.v1 import device_service_pb2 as device_pb
from holter.v1 import model_service_pb2 as model_pb
from holter.v1 import sample_service_pb2 as sample_pb
from holter_host.testing._signal import START_NANOS, UTC_OFFSET_NANOS
from holter_host.testing._status import Failure, abort
from holter_host.testing._streams import (
    Content,
    Event,
    classifications,
    samples,
    stream,
    verdict,
)

if TYPE_CHECKING:
    from holter_host.testing import FakeDevice


class Services:
    """The four services of a fake device; methods are named as in the protos."""

    def __init__(self, device: FakeDevice) -> None:
        self._device = device

    def GetDevice(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._maybe_fail("GetDevice", request, context)
        device = self._device
        active = device.models.get(device.active_sha256)
        running = device_pb.CLASSIFIER_STATE_RUNNING
        return device_pb.GetDeviceResponse(
            version="0.1.0",
            hostname="fake",
            log_id=device.log_id,
            session=device.session(len(device.frames)),
            next_sequence=device.live_sequence,
            source=device.source,
            sampler_state=device_pb.SAMPLER_STATE_RUNNING,
            quality=device.quality,
            monotonic_time_nanos=START_NANOS * 100,
            utc=device.utc(),
            classifier_state=running if active else device_pb.CLASSIFIER_STATE_NO_MODEL,
            active_model=active,
            runtime=device_pb.Runtime(name="none", version="0"),
            limits=device_pb.Limits(
                max_model_bytes=device.max_model_bytes, max_window_frame_count=36_000
            ),
            uptime_nanos=61 * 10**9,
            recording=device.recording,
        )

    def GetClock(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._maybe_fail("GetClock", request, context)
        device = self._device
        return device_pb.GetClockResponse(
            monotonic_time_nanos=device.clock(),
            utc=device.utc(),
            boot_id="boot",
            speed=device.source.speed,
        )

    def StreamSamples(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[Any]:
        for kind, event in self._stream("StreamSamples", request, context, samples):
            yield sample_pb.StreamSamplesResponse(**{kind: event})

    def StreamClassifications(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[Any]:
        for kind, event in self._stream("StreamClassifications", request, context, classifications):
            yield classification_pb.StreamClassificationsResponse(**{kind: event})

    def ClassifyWindow(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._maybe_fail("ClassifyWindow", request, context)
        model = self._device.models.get(self._device.active_sha256)
        if model is None:
            code = grpc.StatusCode.FAILED_PRECONDITION
            abort(context, Failure(code, "There is no active model.", "NO_ACTIVE_MODEL"))
        brought = request.WhichOneof("values")
        values = request.counts if brought == "counts" else request.model_values.values
        expected = model.spec.window_frame_count * max(1, len(model.spec.channels))
        if len(values) != expected:
            facts = {"actual": str(len(values)), "expected": str(expected)}
            message = f"The window has {len(values)} values; the model takes {expected}."
            code = grpc.StatusCode.INVALID_ARGUMENT
            abort(context, Failure(code, message, "WINDOW_SIZE_MISMATCH", facts))
        classification = verdict(model, round(sum(values)))
        return classification_pb.ClassifyWindowResponse(classification=classification)

    def DeployModel(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._maybe_fail("DeployModel", request, context)
        device = self._device
        sha256 = hashlib.sha256(request.model).hexdigest()
        refused = grpc.StatusCode.INVALID_ARGUMENT
        if sha256 != request.sha256:
            facts = {"sha256": request.sha256, "actual_sha256": sha256}
            abort(context, Failure(refused, "The digest is wrong.", "DIGEST_MISMATCH", facts))
        try:
            with zipfile.ZipFile(io.BytesIO(request.model)) as archive:
                spec = ModelSpec.from_json(archive.read(SPEC_PATH))
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            facts = {"detail": str(error)}
            message = "That is no Holter model."
            abort(context, Failure(refused, message, "MODEL_MALFORMED", facts))
        model = _model(sha256, len(request.model), spec)
        steps = ["digest", "load", "golden"]
        if request.validate_only:
            return model_pb.DeployModelResponse(model=model, gate_report=_report(steps))
        if sha256 == device.active_sha256:
            return model_pb.DeployModelResponse(model=device.models[sha256], already_active=True)
        device.models[sha256] = model
        self._swap(sha256)
        return model_pb.DeployModelResponse(
            model=device.models[sha256],
            gate_report=_report([*steps, "store", "swap"]),
            session_id=len(device.frames),
            swap_sequence=device.live_sequence,
        )

    def ListModels(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._maybe_fail("ListModels", request, context)
        device = self._device
        models = sorted(device.models.values(), key=lambda m: m.sha256 != device.active_sha256)
        return model_pb.ListModelsResponse(models=models)

    def ActivateModel(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._maybe_fail("ActivateModel", request, context)
        device = self._device
        if request.sha256 not in device.models:
            code, facts = grpc.StatusCode.NOT_FOUND, {"sha256": request.sha256}
            message = f"The store has no model {request.sha256}."
            abort(context, Failure(code, message, "MODEL_NOT_FOUND", facts))
        already = request.sha256 == device.active_sha256
        if not already:
            self._swap(request.sha256)
        return model_pb.ActivateModelResponse(
            model=device.models[request.sha256],
            gate_report=_report([] if already else ["load", "golden", "swap"]),
            session_id=0 if already else len(device.frames),
            swap_sequence=0 if already else device.live_sequence,
            already_active=already,
        )

    def DeleteModel(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._maybe_fail("DeleteModel", request, context)
        model = self._device.models.get(request.sha256)
        facts = {"sha256": request.sha256}
        if model is None:
            message = f"The store has no model {request.sha256}."
            abort(context, Failure(grpc.StatusCode.NOT_FOUND, message, "MODEL_NOT_FOUND", facts))
        if model.state != model_pb.MODEL_STATE_STORED:
            facts["state"] = model_pb.ModelState.Name(model.state).removeprefix("MODEL_STATE_")
            code = grpc.StatusCode.FAILED_PRECONDITION
            abort(context, Failure(code, "The model is in use.", "MODEL_IN_USE", facts))
        del self._device.models[request.sha256]
        return model_pb.DeleteModelResponse(model=model)

    def _swap(self, sha256: str) -> None:
        device = self._device
        previous = device.models.get(device.active_sha256)
        if previous is not None:
            previous.state = model_pb.MODEL_STATE_PREVIOUS
        device.active_sha256 = sha256
        device.models[sha256].state = model_pb.MODEL_STATE_ACTIVE

    def _maybe_fail(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        failure = self._device.take_failure(method, request)
        if failure is not None:
            abort(context, failure)

    def _stream(
        self, method: str, request: Any, context: grpc.ServicerContext, content: Content
    ) -> Iterator[Event]:
        """The events of a stream, up to where it is to fail."""
        failure = self._device.take_failure(method, request)
        with self._device.counted():
            for number, event in enumerate(stream(self._device, request.start, context, content)):
                if failure is not None and number >= failure.after:
                    if failure.code is grpc.StatusCode.OK:
                        return
                    abort(context, failure)
                yield event


def _model(sha256: str, size: int, spec: ModelSpec) -> model_pb.Model:
    model = model_pb.Model(
        sha256=sha256,
        state=model_pb.MODEL_STATE_STORED,
        size_bytes=size,
        spec=model_pb.ModelSpec(
            name=spec.name,
            version=spec.version,
            rate_hz=spec.rate_hz,
            window_frame_count=spec.window,
            hop_frame_count=spec.hop,
            channels=spec.channels,
            unit=f"MODEL_UNIT_{spec.unit.upper()}",
            labels=spec.labels,
            score_kind=f"SCORE_KIND_{spec.score_kind.upper()}",
            tolerance=spec.tolerance,
        ),
    )
    model.store_time.FromNanoseconds(UTC_OFFSET_NANOS)
    return model


def _report(names: Sequence[str]) -> model_pb.GateReport:
    facts = {"golden": {"max_abs_difference": "3.1e-07"}}
    return model_pb.GateReport(
        steps=[
            model_pb.GateStep(name=name, elapsed_nanos=1_500_000, facts=facts.get(name, {}))
            for name in names
        ]
    )
