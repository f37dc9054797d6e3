"""`holter evaluate` says of a record what a device says that plays it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import holter_host
from holter_host import Classification, UnclassifiableReason
from holter_host.bundle import read_bundle
from holter_host.evaluation.records import Reading, prepare
from holter_host.evaluation.run import evaluate
from support.annotated import spike_model, write_record
from support.daemon import holterd


async def said_by_a_device(folder: Path, record: Path, model: Path) -> list[Classification]:
    """Every window of the record, by a holterd on which the model is active when it begins."""
    settled = ("--probation-windows", "0", "--probation-seconds", "0")
    async with (
        holterd(folder, "--simulate", "sinus", *settled) as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        await device.deploy(model)
        assert await daemon.stop() == 0
    flags = ("--replay", str(record), "--replay-leads", "MLII", "--speed", "max", *settled)
    async with (
        holterd(folder, *flags) as daemon,
        holter_host.connect(daemon.address) as device,
    ):
        stream = device.classifications("earliest")
        events = [event async for event in stream if isinstance(event, Classification)]
    return [event for event in events if event.session_id == events[-1].session_id]


def alone(record: Path, folder: Path) -> Path:
    """A record by links in a directory of its own."""
    folder.mkdir()
    for file in record.parent.glob(f"{record.name}.*"):
        folder.joinpath(file.name).symlink_to(file.resolve())
    return folder / record.name


async def check(folder: Path, record: Path, model: Path) -> tuple[int, int]:
    """Hold every window of the two together: how many were classified, how many were not."""
    spec = read_bundle(model).spec
    windows = await said_by_a_device(folder, record, model)
    prepared = prepare(record, spec, Reading())
    (judged,) = evaluate(model, record.parent, jobs=1).results
    by_start = dict(zip(judged.judgement.starts.tolist(), judged.judgement.scores, strict=True))
    assert [window.first_sequence for window in windows] == prepared.starts.tolist()
    for window, spoilt in zip(windows, prepared.spoilt, strict=True):
        assert (window.unclassifiable_reason is UnclassifiableReason.LEADS_OFF) == spoilt
        scores = by_start.pop(window.first_sequence, None)
        if scores is not None:
            said = np.array([score.value for score in window.scores], np.float32)
            assert np.array_equal(scores, said), window.first_sequence
            assert window.label == spec.labels[int(scores.argmax())]
    assert not by_start
    return len(judged.judgement.starts), judged.judgement.unclassifiable


@pytest.mark.litert
@pytest.mark.timeout(300)
@pytest.mark.parametrize("rate_hz", [360, 250])
async def test_every_score_is_a_devices(tmp_path: Path, rate_hz: int) -> None:
    """Window by window, bit by bit: with an electrode off, at another rate, with windows that
    overlap.
    """
    model = tmp_path / "spikes.tflite"
    model.write_bytes(spike_model(hop=240))
    record = write_record(
        tmp_path / "records",
        "r",
        "NVSNNVNNSN",
        rate_hz=rate_hz,
        leads=("V1", "MLII"),
        missing=[(5.0, 5.6), (12.0, 12.1)],
    )
    classified, not_classified = await check(tmp_path, record, model)
    assert classified + not_classified == (20 * 360 - 720) // 240 + 1
    assert not_classified >= 3


@pytest.mark.tensorflow
@pytest.mark.timeout(300)
async def test_a_real_record_has_a_devices_scores(tmp_path: Path, mitdb: Path, model: Path) -> None:
    """The reference model on record 208 of MIT-BIH: all 180 windows of half an hour."""
    record = alone(mitdb / "208", tmp_path / "records")
    assert await check(tmp_path, record, model) == (180, 0)
