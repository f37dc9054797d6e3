"""The settings: one table, a file and flags, and one clear sentence for what is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from holter_device.adc import SETTINGS
from holter_device.config import Config, load_config
from holter_device.errors import ConfigError


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "holterd.toml"
    path.write_text(text)
    return path


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    """Three layers, the nearest to the user first."""
    path = _file(tmp_path, 'rate = 250\ninputs = ["A1", "A2"]\nloop = true\n')
    config = load_config(path, {"rate": "500", "address": "0x4a"})
    assert (config.rate, config.inputs, config.loop) == (500.0, ("A1", "A2"), True)
    assert config.address == 0x4A
    assert config.gain == Config().gain


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"inputs": "A0,A4"}, "inputs is 'A0,A4'; it must be some of A0,A1,A2,A3"),
        ({"inputs": "A0,A0"}, "each once"),
        ({"inputs": ""}, "inputs is ''"),
        ({"rate": "0"}, "rate is 0"),
        ({"rate": "nan"}, "rate is nan"),
        ({"rate": "fast"}, "rate is 'fast', not a number"),
        ({"rate": "5000"}, "above 0, to 4000"),
        ({"replay": "208", "replay_leads": "V1,V1"}, "replay_leads is 'V1,V1'"),
        ({"retries": "6"}, "retries is 6; it must be 0 to 5"),
        ({"oversampling": "17"}, "oversampling is '17'; it must be 1 to 16, or auto"),
        ({"oversampling": "much"}, "oversampling is 'much'; it must be 1 to 16, or auto"),
        ({"address": "0x50"}, "0x48 to 0x4f for pcf8591"),
        ({"adc": "ads1115", "address": "0x4c"}, "address is '0x4c'; it must be 0x48 to 0x4b for"),
        ({"adc": "ads1015"}, "adc is 'ads1015'; it must be pcf8591, ads1115"),
        ({"full_scale_volts": "3.3"}, "it must be 6.144, 4.096, 2.048, 1.024, 0.512, 0.256"),
        ({"bus": "-1"}, "bus is -1"),
        ({"simulate": "flutter"}, "must be sinus, bigeminy, atrial, noise, leads-off"),
        ({"simulate": "sinus", "replay": "208"}, "exclude each other"),
        ({"speed": "2"}, "speed is for --simulate and --replay"),
        ({"simulate": "sinus", "speed": "-1"}, "speed is '-1'"),
        ({"simulate": "sinus", "speed": "warp"}, "a number above 0, or max"),
        ({"reference_volts": "0"}, "reference_volts is 0"),
        ({"clock": "wall"}, "monotonic or lockstep:PATH"),
        ({"log_level": "loud"}, "debug, info, warning, error"),
    ],
)
def test_what_is_out_of_range_is_one_sentence(flags: dict[str, Any], words: str) -> None:
    """The sentence has the key, the value, and what is allowed."""
    with pytest.raises(ConfigError) as raised:
        load_config(None, flags)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ratte = 360\n", "unknown key 'ratte'; did you mean rate?"),
        ("xyz = 360\n", "unknown key 'xyz'; the keys are listen,"),
        ('rate = "360"\nbus = true\n', "not a"),
        ("rate = \n", "is not TOML"),
        ("bus = 1.5\n", "bus is 1.5, not a whole number"),
        ("oversampling = 17\n", "oversampling is '17'"),
        ("oversampling = 1.5\n", "oversampling is '1.5'"),
        ("oversampling = true\n", "oversampling is True, not a text"),
        ("loop = 1\n", "loop is 1, not true or false"),
        ('inputs = "A9"\n', "inputs is 'A9'"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_it(text: str, words: str, tmp_path: Path) -> None:
    """The sentence says which file and which key."""
    path = _file(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load_config(path, {})
    assert words in str(raised.value)
    assert "holterd.toml" in str(raised.value) or "not a" in words


@pytest.mark.parametrize(("text", "value"), [("4", "4"), ('"4"', "4"), ('"auto"', "auto")])
def test_oversampling_may_be_a_number_or_a_word(text: str, value: str, tmp_path: Path) -> None:
    """A file says it as people write it: a number, or auto."""
    path = _file(tmp_path, f"oversampling = {text}\n")
    assert load_config(path, {}).oversampling == value


def test_a_file_is_not_blamed_for_a_flag(tmp_path: Path) -> None:
    """A flag that is wrong is not said to be in the file."""
    with pytest.raises(ConfigError) as raised:
        load_config(_file(tmp_path, "rate = 250\n"), {"rate": "0"})
    assert str(raised.value).startswith("rate is 0")


def test_a_file_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    """A path that cannot be read is named."""
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file"):
        load_config(tmp_path / "none.toml", {})


def test_every_setting_of_a_source_is_a_key() -> None:
    """What travels to the sampler process are keys of the config, as JSON can say them."""
    names = {field.name for field in dataclasses.fields(Config)}
    assert set(SETTINGS) <= names


def test_a_channel_has_the_configs_maps() -> None:
    """Vref, gain and baseline of the config are in its channels."""
    channel = Config(reference_volts=5.0, gain=500.0, baseline_volts=2.5).channel("A3")
    assert (channel.name, channel.volts_per_count) == ("A3", 5.0 / 256)
    scale, offset = channel.affine("millivolts")
    assert scale * 128 + offset == pytest.approx(0)
    assert scale * 256 + offset == pytest.approx(2.5 / 500 * 1000)
