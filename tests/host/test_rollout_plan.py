"""Laws of the plan: who has their turn in which wave, and how many may fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_host import BadInputError, FleetDevice, Inventory, NothingSelectedError
from holter_host.rollout.plan import OnFailure, Plan, Share, in_waves, wave_of


def inventory_of(count: int, canaries: tuple[int, ...] = ()) -> Inventory:
    """Devices d0, d1, …, some of them with the label role=canary."""
    devices = (
        FleetDevice(f"d{n}", f"unix:/{n}", {"role": "canary"} if n in canaries else {})
        for n in range(count)
    )
    return Inventory("fleet.toml", tuple(devices))


@pytest.mark.parametrize(
    ("waves", "count", "expected"),
    [
        ("100%", 5, (5,)),
        ("1,10%,100%", 1000, (1, 100, 1000)),
        ("1,10%,100%", 5, (1, 5)),
        ("1, 7 %, 100%", 100, (1, 7, 100)),
        ("2.5%,100%", 41, (2, 41)),
        ([1, "50%", 9], 9, (1, 5, 9)),
        ("5,20", 7, (5, 7)),
        ("100%", 1, (1,)),
    ],
)
def test_waves_are_how_many_have_had_their_turn(waves, count, expected) -> None:
    """Shares are rounded up, waves in which nobody has a turn are left out."""
    assert in_waves(inventory_of(count), waves)[1] == expected


@pytest.mark.parametrize(
    ("waves", "said"),
    [
        ("", "''"),
        ("10%,x", "'x'"),
        ("101%", "'101%'"),
        ("-1,100%", "'-1'"),
        ("50%,10%,100%", "more than the one before"),
        ("0,100%", "more than the one before"),
        ("1,10%", "100%"),
        ("1.5,100%", "'1.5'"),
    ],
)
def test_what_are_no_waves(waves, said) -> None:
    """What is wrong is said in one sentence with the part that is."""
    with pytest.raises(BadInputError, match=said) as caught:
        in_waves(inventory_of(100), waves)
    assert "\n" not in str(caught.value)


def test_canaries_are_a_wave_of_their_own() -> None:
    """They come first, whatever their place in the inventory; the others are divided."""
    devices, waves = in_waves(inventory_of(12, (3, 11)), "50%,100%", "role=canary")
    assert waves == (2, 7, 12)
    assert [device.name for device in devices[:3]] == ["d3", "d11", "d0"]
    assert in_waves(inventory_of(2, (0, 1)), "1,100%", "role=canary")[1] == (2,)
    with pytest.raises(NothingSelectedError, match="no canary"):
        in_waves(inventory_of(2), "100%", "role=canary")


@given(st.integers(1, 3000), st.lists(st.integers(1, 100), max_size=4))
def test_every_device_has_one_turn(count: int, shares: list[int]) -> None:
    """Waves grow, the last is everybody, and each device is in the wave that its place says."""
    texts = [f"{share}%" for share in sorted({*shares, 100})]
    devices, waves = in_waves(inventory_of(count), texts)
    assert len(devices) == waves[-1] == count
    assert list(waves) == sorted(set(waves))
    numbers = [wave_of(position, waves) for position in range(count)]
    assert numbers == sorted(numbers)
    assert [numbers.count(n) for n in range(len(waves))] == [
        end - begin for begin, end in zip((0, *waves), waves, strict=False)
    ]


def test_how_many_may_fail() -> None:
    """A number counts in all, a share counts of those in the waves so far."""
    number = Plan((1, 100, 1000), max_failures=Share.parse("3", "x"))
    assert [number.exceeded(3, wave) for wave in range(3)] == [False] * 3
    assert [number.exceeded(4, wave) for wave in range(3)] == [True] * 3
    share = Plan((1, 100, 1000), max_failures=Share.parse("2%", "x"))
    assert [share.exceeded(1, wave) for wave in range(3)] == [True, False, False]
    assert [share.exceeded(20, wave) for wave in range(3)] == [True, True, False]
    assert share.exceeded(21, 2)


def test_a_plan_outlives_its_journal() -> None:
    """A plan that is written down is read back."""
    plan = Plan((1, 9), Share(2.5, percent=True), OnFailure.HOLD, True, 1.5, 3.0)
    assert Plan.from_json(plan.as_json()) == plan
