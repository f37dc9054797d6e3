"""Laws of holter.spec: what a model file may say of itself."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.spec import LAYOUTS, OPS, SCORE_KINDS, SPEC_VERSION, UNITS, ModelSpec, SpecError

KEYS = [field.name for field in dataclasses.fields(ModelSpec)]
REQUIRED = [f.name for f in dataclasses.fields(ModelSpec) if f.default is dataclasses.MISSING]

GOOD: dict[str, Any] = {
    "name": "rhythm",
    "version": 3,
    "rate_hz": 360.0,
    "window": 3600,
    "hop": 360,
    "channels": ["A0", "A1"],
    "unit": "millivolts",
    "labels": ["N", "S", "V"],
    "input": "ecg",
    "output": "scores",
    "signature": "serving_default",
    "input_shape": [1, 3600, 2],
    "layout": "channels_last",
    "score_kind": "logits",
    "tolerance": 0.05,
    "ops": "select_tf",
}

TEXTS = [None, 7, b"x", ["x"], "a\nb", "\x1b[2J", "\ud800"]
WHOLES = [None, "1", 1.0, True, -1, 2**31]
NUMBERS = [None, "1", True, 0, -1.0, math.nan, math.inf]
NAMES = [
    None,
    "N",
    7,
    [""],
    ["x" * 101],
    [7],
    ["\ud800"],
    ["N", "N"],
    [str(n) for n in range(1001)],
]
# For each key, values that no model can have.
BAD: dict[str, list[Any]] = {
    "name": [*TEXTS, "", "x" * 101],
    "version": WHOLES,
    "rate_hz": NUMBERS,
    "window": [*WHOLES, 0],
    "hop": [*WHOLES, 0, 3601],
    "channels": NAMES,
    "unit": [None, "", "mV", ["counts"]],
    "labels": [*NAMES, []],
    "input": [*TEXTS, "", "x" * 1001],
    "output": [*TEXTS, "", "x" * 1001],
    "signature": [*TEXTS, "x" * 1001],
    "input_shape": [None, 7200, "1", [], [7200], [1, 3600], [2, 3600, 1], [1, 0], [1, 7200.0]],
    "layout": [None, "NHWC"],
    "score_kind": [None, "sigmoid"],
    "tolerance": NUMBERS,
    "ops": [None, "flex"],
}


LETTERS = 'aZ0 _-µ♥\\"'


def names(least: int) -> st.SearchStrategy[tuple[str, ...]]:
    """Names of channels or labels, each once."""
    return st.lists(st.text(LETTERS, min_size=1, max_size=3), min_size=least, max_size=4).map(
        lambda found: tuple(dict.fromkeys(found))
    )


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    """Any spec that is valid."""
    window = draw(st.integers(1, 10_000))
    channels = draw(names(0))
    positive = st.floats(min_value=1e-9, max_value=1e9)
    text = st.text(LETTERS, min_size=1, max_size=5)
    sizes = [window, max(1, len(channels))]
    shape = draw(st.sampled_from([sizes, sizes[::-1], [math.prod(sizes)], [*sizes, 1]]))
    return ModelSpec(
        name=draw(text),
        version=draw(st.integers(0, 2**31 - 1)),
        rate_hz=draw(positive),
        window=window,
        hop=draw(st.integers(1, window)),
        channels=channels,
        unit=draw(st.sampled_from(UNITS)),
        labels=draw(names(1)),
        input=draw(text),
        output=draw(text),
        signature=draw(st.text(LETTERS, max_size=5)),
        input_shape=(1, *shape),
        layout=draw(st.sampled_from(LAYOUTS)),
        score_kind=draw(st.sampled_from(SCORE_KINDS)),
        tolerance=draw(positive),
        ops=draw(st.sampled_from(OPS)),
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def text_of(**changes: Any) -> str:
    """A spec.json with changes."""
    return json.dumps({"spec_version": SPEC_VERSION, **GOOD, **changes})


def test_a_good_spec_is_read() -> None:
    """Each key is read as it was written, lists as tuples."""
    spec = ModelSpec.from_json(text_of())
    for key, value in GOOD.items():
        assert getattr(spec, key) == (tuple(value) if isinstance(value, list) else value)


@given(specs())
def test_what_is_written_is_read(spec: ModelSpec) -> None:
    """Every valid spec comes back from its own text and from its own keys."""
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert ModelSpec.from_json(spec.to_json().encode()) == spec
    assert ModelSpec.from_dict(dataclasses.asdict(spec)) == spec


@given(specs())
def test_the_text_holds_every_key_in_order(spec: ModelSpec) -> None:
    """spec.json says the version first, then every key, in the order of the class.

    But for `ops`, which is left out where it says nothing: an older holterd does not know it.
    """
    expected = ["spec_version", *KEYS]
    if spec.ops == "builtin":
        expected.remove("ops")
    assert list(json.loads(spec.to_json())) == expected


def test_every_key_has_bad_values() -> None:
    """No key is without a check."""
    assert list(BAD) == KEYS == list(GOOD)


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in BAD.items() for v in values])
def test_a_bad_value_is_refused(key: str, value: object) -> None:
    """A value of the wrong type or out of range is one SpecError that names the key."""
    changed = {**GOOD, key: value}
    if key == "window":
        changed["hop"] = 1
    with pytest.raises(SpecError) as caught:
        ModelSpec.from_dict(changed)
    assert caught.value.key == key
    assert key in str(caught.value)


@given(st.sampled_from(KEYS), json_values)
def test_any_value_is_taken_or_refused(key: str, value: object) -> None:
    """Whatever JSON stands at a key, the spec is valid or the error is a SpecError."""
    try:
        spec = ModelSpec.from_dict({**GOOD, key: value})
    except SpecError as error:
        said = error.key
    else:
        said = key
        assert ModelSpec.from_json(spec.to_json()) == spec
    assert said in KEYS


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_refused(key: str) -> None:
    """A key without a default must be there; the error names it."""
    with pytest.raises(SpecError, match=rf"'{key}' is missing") as caught:
        ModelSpec.from_dict({k: v for k, v in GOOD.items() if k != key})
    assert caught.value.key == key


def test_other_keys_have_defaults() -> None:
    """Only the keys without a default are needed; one channel is then meant."""
    raw = {key: GOOD[key] for key in REQUIRED} | {"input_shape": [1, 3600, 1]}
    spec = ModelSpec.from_dict(raw)
    assert (spec.channels, spec.channel_count, spec.hop) == ((), 1, 360)
    assert (spec.signature, spec.layout, spec.score_kind) == ("", "channels_last", "probabilities")
    assert (spec.version, spec.tolerance, spec.ops) == (1, 1e-3, "builtin")


def test_an_unknown_key_is_refused() -> None:
    """A key that no spec has is an error that lists those that it may have."""
    with pytest.raises(SpecError, match=r"unknown key 'windows'; the keys are name, .*tolerance"):
        ModelSpec.from_json(text_of(windows=1))


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_another_version_is_refused(version: object) -> None:
    """A spec of another version is refused before its keys are read."""
    text = json.dumps({"spec_version": version, "future": True})
    with pytest.raises(SpecError, match="this Holter reads version 1") as caught:
        ModelSpec.from_json(text)
    assert caught.value.key == "spec_version"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        b"\xff\xfe\xff",
        "\0",
        "[" * 100_000,
        '{"spec_version":' + "1" * 5000 + "}",
    ],
)
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    """Text that is no JSON object, however broken, is one SpecError."""
    with pytest.raises(SpecError):
        ModelSpec.from_json(text)


@given(st.binary(max_size=200) | st.text(max_size=200) | json_values.map(json.dumps))
def test_any_text_is_a_spec_error(text: str | bytes) -> None:
    """Hostile text raises nothing but SpecError."""
    with pytest.raises(SpecError):
        ModelSpec.from_json(text)


def test_a_spec_cannot_be_changed() -> None:
    """A spec is frozen: what was checked stays as it was."""
    spec = ModelSpec.from_dict(GOOD)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.hop = 1  # type: ignore[misc]
