"""Models that must not classify: each is refused with its own reason, and nothing changes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest

import holter_host
from holter.signature import ModelSignature
from holter.v1 import (
    classification_service_pb2,
    classification_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)
from holter_host import Classification
from support.daemon import holterd, run
from support.signatures import OTHER, TRUSTED
from support.tflite_models import (
    WINDOW,
    averaging_model,
    averaging_weights,
    cnn,
    crashing,
    custom_op,
    endless_model,
    holter_model,
    linear,
    make_spec,
    make_windows,
    unknown_op,
    wide,
)


def _with_graph(tflite: bytes) -> bytes:
    spec = make_spec()
    return holter_model(tflite, spec, make_windows(spec), np.zeros((8, 3), "f4"))


def _drifted() -> bytes:
    spec = make_spec()
    good = averaging_model()
    windows = make_windows(spec)
    tflite = good[: good.index(b"PK\x03\x04")]
    return holter_model(tflite, spec, windows, np.ones((8, 3), "f4"))


def _newer() -> bytes:
    return linear(averaging_weights(), np.zeros(3, "f4"), version=99)


def _slow() -> bytes:
    """A window every 2.8 ms, and more than that for each on any machine that is not years ahead."""
    tflite = cnn((128, 128, 128), 64, window=3600)
    spec = make_spec(window=3600, hop=1, input_shape=(1, 3600, 1), tolerance=1e9)
    return holter_model(tflite, spec, make_windows(spec, 2), np.zeros((2, 3), "f4"))


def _hungry() -> bytes:
    """Its scores are few and what is between is 400 MB."""
    spec = make_spec()
    return holter_model(wide(100_000_000), spec, make_windows(spec), np.zeros((8, 3), "f4"))


def _not_finite() -> bytes:
    spec = make_spec()
    tflite = linear(averaging_weights() * np.float32(np.inf), np.zeros(3, "f4"))
    return holter_model(tflite, spec, make_windows(spec), np.zeros((8, 3), "f4"))


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "MODEL_MALFORMED"),
    "no model": (lambda: b"\x00" * 5000, "MODEL_MALFORMED"),
    "no archive": (lambda: averaging_model().partition(b"PK\x03\x04")[0], "MODEL_MALFORMED"),
    "cut": (lambda: averaging_model()[:-100], "MODEL_MALFORMED"),
    "another rate": (lambda: averaging_model(rate_hz=250.0), "MODEL_UNFIT"),
    "another channel": (lambda: averaging_model(channels=("V9",)), "MODEL_UNFIT"),
    "a channel too many": (
        lambda: averaging_model(channels=("A0", "A1"), input_shape=(1, WINDOW, 2)),
        "MODEL_UNFIT",
    ),
    "a window too long": (
        lambda: averaging_model(window=50_000, hop=50_000, input_shape=(1, 50_000, 1)),
        "MODEL_UNFIT",
    ),
    "an op that is not there": (lambda: _with_graph(unknown_op(250)), "OP_UNSUPPORTED"),
    "a newer op": (lambda: _with_graph(_newer()), "OP_VERSION_UNSUPPORTED"),
    "TensorFlow's op": (lambda: _with_graph(custom_op("FlexErf")), "FLEX_OP_UNSUPPORTED"),
    "somebody's op": (lambda: _with_graph(custom_op("MyOp")), "CUSTOM_OP_UNSUPPORTED"),
    "too slow": (_slow, "MODEL_TOO_SLOW"),
    "too much memory": (_hungry, "MODEL_MEMORY_EXCEEDED"),
    "a label too many": (
        lambda: holter_model(
            averaging_model().partition(b"PK\x03\x04")[0],
            make_spec(labels=("N", "S", "V", "F")),
            make_windows(make_spec()),
            np.zeros((8, 4), "f4"),
        ),
        "MODEL_MALFORMED",
    ),
    "no numbers": (_not_finite, "GOLDEN_MISMATCH"),
    "other scores": (_drifted, "GOLDEN_MISMATCH"),
    "a crash": (lambda: _with_graph(crashing()), "MODEL_CRASHED"),
    "no answer": (endless_model, "MODEL_TIMEOUT"),
}


async def _next_label(device: holter_host.Device) -> str:
    async for event in device.classifications():
        if isinstance(event, Classification):
            return event.model_sha256
    raise AssertionError("the stream ended")


def _mistaken(model: bytes) -> ModelSignature:
    """A signature whose last bit is another one."""
    good = TRUSTED.sign(model)
    return dataclasses.replace(good, value=good.value[:-1] + bytes([good.value[-1] ^ 1]))


GOOD, NEXT, OLDER = (averaging_model(name="good", version=version) for version in (2, 3, 1))
BADLY_SIGNED: dict[str, tuple[bytes, ModelSignature | None, str]] = {
    "unsigned": (NEXT, None, "MODEL_UNSIGNED"),
    "a stranger's": (NEXT, OTHER.sign(NEXT), "SIGNER_UNTRUSTED"),
    "altered": (NEXT + b"\0", TRUSTED.sign(NEXT), "SIGNATURE_INVALID"),
    "its signature altered": (NEXT, _mistaken(NEXT), "SIGNATURE_INVALID"),
    "downgraded": (OLDER, TRUSTED.sign(OLDER), "MODEL_DOWNGRADED"),
}


@pytest.mark.litert
async def test_each_bad_model_is_refused_with_its_reason(tmp_path: Path) -> None:
    """Whatever is sent, the reason says what was wrong, and the old model goes on classifying."""
    flags = ("--simulate", "sinus", "--model-timeout", "3", "--trusted-keys", TRUSTED.text)
    models = {name: make() for name, (make, _) in REFUSED.items()}
    kinds = {name: (m, TRUSTED.sign(m), REFUSED[name][1]) for name, m in models.items()}
    kinds |= BADLY_SIGNED
    async with (
        holterd(tmp_path, *flags) as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        deployed = await device.deploy(GOOD, signature=TRUSTED.sign(GOOD))
        active = deployed.model.sha256
        before = await device.status()
        found = {}
        for name, (model, signature, _) in kinds.items():
            with pytest.raises(holter_host.ModelRefusedError) as caught:
                await device.deploy(model, signature=signature)
            found[name] = caught.value.reason
            assert await _next_label(device) == active, name
        assert found == {name: reason for name, (_, _, reason) in kinds.items()}
        after = await device.status()
        assert after.session == before.session
        assert after.active_model == before.active_model
        assert [model.sha256 for model in await device.models()] == [active]
        assert set(daemon.children()) == {"sampler", "classifier"}
        assert await daemon.stop() == 0
        assert "Traceback" not in daemon.log()


@pytest.mark.litert
async def test_wrong_bytes_and_too_many_are_refused(tmp_path: Path) -> None:
    """A wrong digest, a file over the limit and a message over gRPC's limit each say so."""
    async with (
        holterd(tmp_path, "--simulate", "sinus", "--max-model-mib", "0.5") as daemon,
        grpc.aio.insecure_channel(
            daemon.address, options=[("grpc.max_send_message_length", -1)]
        ) as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        model = averaging_model()
        cases = [
            (model, "0" * 64, grpc.StatusCode.INVALID_ARGUMENT, b"DIGEST_MISMATCH"),
            (model, "0" * 63, grpc.StatusCode.INVALID_ARGUMENT, b"INVALID_FIELD"),
            (bytes(600_000), "", grpc.StatusCode.RESOURCE_EXHAUSTED, b"MODEL_TOO_LARGE"),
            (bytes(4_000_000), "", grpc.StatusCode.RESOURCE_EXHAUSTED, None),
        ]
        for data, digest, code, reason in cases:
            request = model_service_pb2.DeployModelRequest(
                model=data, sha256=digest or hashlib.sha256(data).hexdigest()
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.DeployModel(request, timeout=30)
            assert caught.value.code() is code
            if reason:
                metadata = caught.value.trailing_metadata()
                assert metadata is not None
                assert reason in bytes(metadata["grpc-status-details-bin"])
        listed = await stub.ListModels(model_service_pb2.ListModelsRequest(), timeout=30)
        assert not listed.models


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_a_window_of_no_numbers_is_refused(tmp_path: Path, value: float) -> None:
    """A caller's window with a value that is not finite is the caller's error, not the model's."""
    async with (
        holterd(tmp_path, "--simulate", "sinus") as daemon,
        grpc.aio.insecure_channel(daemon.address) as channel,
    ):
        stub = classification_service_pb2_grpc.ClassificationServiceStub(channel)
        request = classification_service_pb2.ClassifyWindowRequest(
            model_values=classification_service_pb2.WindowValues(values=[0.0, value])
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ClassifyWindow(request, timeout=30)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "model_values.values" in (caught.value.details() or "")


@pytest.mark.litert
async def test_the_command_says_it_in_a_sentence(tmp_path: Path) -> None:
    """`holter deploy` of an unfit model is one sentence and status 1; with --json its reason."""
    path = tmp_path / "slow.tflite"
    path.write_bytes(averaging_model(rate_hz=250.0))
    async with holterd(tmp_path, "--simulate", "sinus") as daemon:
        status, out, err = await run("holter", "deploy", str(path), "--device", daemon.address)
        assert (status, out) == (1, "")
        assert "250" in err
        assert "360" in err
        assert "Traceback" not in err
        words = ("deploy", str(path), "--device", daemon.address, "--json")
        status, out, err = await run("holter", *words)
        assert (status, out) == (1, "")
        assert '"MODEL_UNFIT"' in err
        status, _, err = await run("holter", "classify", "--random", "--device", daemon.address)
        assert status == 1
        assert "no active model" in err
    status, _, err = await run("holter", "status", "--device", daemon.address)
    assert status == 1
    assert daemon.address in err
