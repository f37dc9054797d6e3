"""A WFDB record as a source."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from holter.frontend import FrontEnd
from holter_device.adc import make_adc
from holter_device.errors import RecordError
from support.i2c import record_volts
from support.sampling import source_settings

SECONDS = 20
RATE = 360
MISSING_VALUE = -32768  # format 16's mark of an invalid sample


def _write(
    folder: Path,
    signals: dict[str, npt.NDArray[np.float64]],
    unit: str = "mV",
    rate: int = RATE,
) -> Path:
    """A record in WFDB's format 16, 200 units for each `unit`; NaN is an invalid sample."""
    values = np.stack(list(signals.values()), axis=1)
    counts = np.where(np.isnan(values), MISSING_VALUE, np.rint(200 * values)).astype("<i2")
    folder.joinpath("made.dat").write_bytes(counts.tobytes())
    lines = [f"made {len(signals)} {rate} {len(counts)}"]
    for column, name in enumerate(signals):
        checksum = int(counts[:, column].sum(dtype=np.int64)) & 0xFFFF
        lines.append(f"made.dat 16 200/{unit} 16 0 {counts[0, column]} {checksum} 0 {name}")
    folder.joinpath("made.hea").write_text("\n".join(lines) + "\n")
    return folder / "made"


def _wave(hz: float, height: float, rate: int = RATE) -> npt.NDArray[np.float64]:
    return height * np.sin(2 * np.pi * hz * np.arange(SECONDS * rate) / rate)


def _played(record: Path, frames: int, leads: Sequence[str] = (), **settings: object) -> bytes:
    adc = make_adc(source_settings(replay=str(record), replay_leads=tuple(leads), **settings))
    adc.open()
    return b"".join(adc.read(sequence) for sequence in range(frames))


def test_a_record_is_seen_through_the_front_end(mitdb: Path) -> None:
    """Record 208 gives, from its first sample on, what the front-end model makes of lead MLII."""
    adc = make_adc(source_settings(replay=str(mitdb / "208")))
    info = adc.open()
    assert [source.name for source in info.inputs] == ["MLII"]
    assert info.description == "record 208, MLII, 1806 s at 360 Hz, through an AD8232 model"
    volts = record_volts(mitdb / "208", 60)
    front_end = FrontEnd()
    expected = front_end.counts((volts - front_end.baseline_volts) / front_end.gain * 1000)
    counts = np.frombuffer(
        b"".join(adc.read(sequence) for sequence in range(50 * RATE)), dtype=np.uint8
    )
    # The oracle ends at 60 s, and its filter sees that end: 10 s before it is forgotten, but for
    # the last bits of a double, which decide where a value lies on the edge of a count.
    difference = np.abs(counts.astype(int) - expected[: len(counts)])
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 10


def test_several_leads_are_several_channels(tmp_path: Path) -> None:
    """Leads come in the order that was asked for, each under its own name."""
    record = _write(tmp_path, {"I": _wave(1, 1.0), "V1": _wave(3, 0.4), "V2": _wave(5, 0.2)})
    both = _played(record, 3600, ["V2", "I"])
    assert both[0::2] == _played(record, 3600, ["V2"])
    assert both[1::2] == _played(record, 3600, ["I"])
    adc = make_adc(source_settings(replay=str(record), replay_leads=("V2", "I")))
    assert [source.name for source in adc.open().inputs] == ["V2", "I"]


@pytest.mark.parametrize(("names", "chosen"), [(["V5", "MLII"], "MLII"), (["V5", "II"], "V5")])
def test_the_default_lead_is_mlii_else_the_first(
    names: list[str], chosen: str, tmp_path: Path
) -> None:
    """Leads are picked by name, as records have them in different orders."""
    record = _write(tmp_path, {name: _wave(k + 1, 0.5) for k, name in enumerate(names)})
    adc = make_adc(source_settings(replay=str(record)))
    assert [source.name for source in adc.open().inputs] == [chosen]


def test_another_rate_is_resampled_and_said(tmp_path: Path) -> None:
    """A 5 Hz wave at 250 Hz is a 5 Hz wave at 360 Hz, to a count or two."""
    for rate in (250, 360):
        tmp_path.joinpath(str(rate)).mkdir()
    slow = _write(tmp_path / "250", {"II": _wave(5, 0.8, 250)}, rate=250)
    same = _write(tmp_path / "360", {"II": _wave(5, 0.8)})
    adc = make_adc(source_settings(replay=str(slow)))
    assert "resampled to 360 Hz" in adc.open().description
    resampled = np.frombuffer(_played(slow, 10 * RATE), np.uint8).astype(int)
    direct = np.frombuffer(_played(same, 10 * RATE), np.uint8).astype(int)
    assert np.abs(resampled - direct)[2 * RATE :].max() <= 2


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1000.0), ("V", 0.001)])
def test_units_of_volts_are_understood(unit: str, factor: float, tmp_path: Path) -> None:
    """The same wave in another unit gives the same counts, to the other unit's precision."""
    wave = np.round(_wave(1, 1.0) * 5) / 5 if unit == "V" else _wave(1, 1.0)
    for name in ("a", "b"):
        tmp_path.joinpath(name).mkdir()
    if unit == "V":
        wave = np.round(wave) * 5.0  # 5 mV is one unit at 200 units a volt
    reference = _played(_write(tmp_path / "a", {"II": wave}), 1000)
    scaled = wave * factor if unit == "V" else np.clip(wave * factor / 10, -160, 160)
    if unit == "uV":
        reference = _played(_write(tmp_path / "a", {"II": wave / 10}), 1000)
    other = _played(_write(tmp_path / "b", {"II": scaled}, unit), 1000)
    difference = np.frombuffer(reference, np.uint8).astype(int) - np.frombuffer(other, np.uint8)
    assert np.abs(difference).max() <= 1


def test_invalid_samples_rail(tmp_path: Path) -> None:
    """Where the record has no valid sample the input rails at 255; elsewhere it is as before."""
    wave = _wave(1, 0.5)
    wave[1000:1100] = np.nan
    counts = np.frombuffer(_played(_write(tmp_path, {"II": wave}), 3600), np.uint8)
    assert (counts[1000:1100] == 255).all()
    assert (counts[:1000] < 255).all()
    assert (counts[1100:] < 255).all()


def test_a_record_is_over_unless_it_loops(short_record: Path) -> None:
    """After the last frame there is nothing; with `loop` the first one comes again."""
    once = make_adc(source_settings(replay=str(short_record)))
    once.open()
    assert [len(once.read(sequence)) for sequence in (0, 3599, 3600, 10**9)] == [1, 1, 0, 0]
    again = make_adc(source_settings(replay=str(short_record), loop=True))
    again.open()
    assert again.read(3600) == again.read(0)
    assert again.read(10 * 3600 + 77) == again.read(77)


def test_the_header_may_be_named(short_record: Path) -> None:
    """The path may end in .hea."""
    with_suffix = str(short_record.with_suffix(".hea"))
    assert _played(Path(with_suffix), 100) == _played(short_record, 100)


class TestErrors:
    def test_a_missing_record_is_named(self, tmp_path: Path) -> None:
        """The sentence gives the header that is missing, and what a record's path is."""
        with pytest.raises(RecordError, match=r"none\.hea is missing; give the path"):
            _played(tmp_path / "none", 1)

    def test_an_unknown_lead_is_answered_with_those_there_are(self, tmp_path: Path) -> None:
        """The sentence lists the record's leads."""
        record = _write(tmp_path, {"I": _wave(1, 1.0), "V1": _wave(3, 0.4)})
        with pytest.raises(RecordError, match="no lead 'II'; its leads are I, V1"):
            _played(record, 1, ["II"])

    def test_a_lead_that_is_no_voltage_is_refused(self, tmp_path: Path) -> None:
        """Respiration or pressure is not played into an ECG front end."""
        with pytest.raises(RecordError, match="is in 'mmHg', not in volts"):
            _played(_write(tmp_path, {"ABP": _wave(1, 1.0)}, "mmHg"), 1)

    @pytest.mark.parametrize("damage", ["", "nonsense\n", "made 1 360 10\nmissing.dat 16 200 16\n"])
    def test_a_damaged_record_is_one_sentence(self, damage: str, tmp_path: Path) -> None:
        """Whatever wfdb stumbles on becomes a RecordError that names the record."""
        tmp_path.joinpath("made.hea").write_text(damage)
        with pytest.raises(RecordError, match=r"made (cannot be read|has no signals)"):
            _played(tmp_path / "made", 1)

    def test_without_wfdb_the_extra_is_named(self, short_record: Path) -> None:
        """Where wfdb is not installed the sentence says what to install."""
        script = (
            "import sys, json\n"
            "sys.modules['wfdb'] = None\n"
            "from holter_device.adc import make_adc\n"
            f"settings = {source_settings(replay=str(short_record))!r}\n"
            "try: make_adc(settings).open()\n"
            "except OSError as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert "pip install 'holter-device[replay]'" in done.stdout
