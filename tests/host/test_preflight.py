"""Laws of what is said of a model before it is sent."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from holter_host import ModelRefusedError, connect
from holter_host.bundle import Bundle
from holter_host.preflight import check, misfits
from holter_host.status import DeviceStatus, Limits, Runtime
from holter_host.testing import FakeDevice
from support.model_files import make_model


async def status_of_a_fake(**changes: Any) -> DeviceStatus:
    """What a fake device of the channels A0 and A1 says of itself, but for the changes."""
    with FakeDevice(channels=("A0", "A1")) as fake:
        async with connect(fake.address) as device:
            return dataclasses.replace(await device.status(), **changes)


def with_op(path: Path, name: str, version: int = 1, is_custom: bool = False) -> Bundle:
    """A model whose report has one op."""
    op = {"name": name, "version": version, "is_custom": is_custom, "count": 1}
    return dataclasses.replace(make_model(path), report={"ops": [op]})


async def test_a_model_that_fits_has_no_misfit(tmp_path: Path) -> None:
    """Nothing is said against a model of the device's rate, window and channels."""
    status = await status_of_a_fake()
    assert misfits(make_model(tmp_path / "m", channels=("A1",)), status) == []
    check(make_model(tmp_path / "m"), status)


@pytest.mark.parametrize(
    ("model", "device", "reason", "words"),
    [
        ({"rate_hz": 250.0}, {}, "MODEL_UNFIT", "start holterd with --rate 250"),
        ({"channels": ("A0", "V9")}, {}, "MODEL_UNFIT", "takes V9 and .* has A0, A1; convert it"),
        ({}, {"limits": Limits(300, 0)}, "MODEL_TOO_LARGE", "takes 300; convert it with --quant"),
        ({}, {"limits": Limits(0, 359)}, "MODEL_UNFIT", "longer than the 359 .* shorter --window"),
    ],
)
async def test_each_misfit_is_a_sentence_with_what_to_change(
    tmp_path: Path, model: dict[str, Any], device: dict[str, Any], reason: str, words: str
) -> None:
    """Rate, channels, size and window: the device's own reason, and what to do."""
    made = make_model(tmp_path / "m", **model)
    with pytest.raises(ModelRefusedError, match=words) as caught:
        check(made, await status_of_a_fake(**device))
    assert caught.value.reason == reason


async def test_ops_are_held_against_the_devices_runtime(tmp_path: Path) -> None:
    """An op version that the runtime lacks, and the runtime that would have it, are named.

    Of a runtime that is not known nothing is said.
    """
    model = with_op(tmp_path / "m", "FULLY_CONNECTED", 12)
    old = await status_of_a_fake(runtime=Runtime("tflite-runtime", "2.14.0"))
    (found,) = misfits(model, old)
    assert found.reason == "OP_VERSION_UNSUPPORTED"
    assert "lacks FULLY_CONNECTED version 12 (it has 10)" in found.message
    assert "pip install 'holter-device[litert]'" in found.message
    for runtime in (Runtime("ai-edge-litert", "2.3.0"), Runtime("another", "9"), None):
        assert misfits(model, dataclasses.replace(old, runtime=runtime)) == []
    (flex,) = misfits(with_op(tmp_path / "m", "FlexErf", is_custom=True), old)
    assert flex.reason == "FLEX_OP_UNSUPPORTED"
    assert "FlexErf, which no light runtime has" in flex.message


async def test_all_causes_are_said_at_once(tmp_path: Path) -> None:
    """Two causes are two sentences, and two facts."""
    model = make_model(tmp_path / "m", rate_hz=250.0, channels=("V9",))
    with pytest.raises(ModelRefusedError) as caught:
        check(model, await status_of_a_fake())
    assert list(caught.value.metadata) == ["cause_1", "cause_2"]
    assert "250 Hz" in str(caught.value)
    assert "V9" in str(caught.value)
