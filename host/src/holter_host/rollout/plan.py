"""The plan of a rollout: in which waves, how many may fail, and what then."""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from holter_host.errors import BadInputError
from holter_host.inventory import FleetDevice, Inventory, NothingSelectedError


class OnFailure(enum.StrEnum):
    """What a rollout does when too many devices have failed."""

    ROLLBACK = "rollback"  # take back what it changed
    HOLD = "hold"  # stop, and leave everything as it is


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """A number of devices, or a share of them in percent."""

    value: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str, what: str) -> Self:
        """The share that a text is, e.g. "10" or "2.5%".

        Raises:
            BadInputError: it is none; the message begins with `what`.
        """
        found = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)\s*%", text.strip())
        if not found or (found[2] and float(found[2]) > 100):
            raise BadInputError(
                f"{what} has {text.strip()!r}: give a number of devices, e.g. 10, or a share of "
                "them up to 100%, e.g. 5%."
            )
        return cls(float(found[1] or found[2]), percent=bool(found[2]))

    def of(self, count: int) -> float:
        """So many of `count` devices."""
        return self.value * count / 100 if self.percent else self.value

    def __str__(self) -> str:
        return f"{self.value:g}{'%' if self.percent else ''}"


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How a rollout goes.

    Attributes:
        waves: how many devices have their turn by the end of each wave; the last is all of them.
        max_failures: how many may fail: in all, or as a share of those in the waves so far.
        on_failure: what is done when more have failed.
        approve: whether each wave after the first wants somebody's approval.
        health_seconds: how long the verdicts on a wave's models are waited for.
        deploy_seconds: how long one device may take to judge the model and swap it in.
    """

    waves: tuple[int, ...]
    max_failures: Share = Share(0)
    on_failure: OnFailure = OnFailure.ROLLBACK
    approve: bool = False
    health_seconds: float = 300.0
    deploy_seconds: float = 120.0

    def exceeded(self, failures: int, wave: int) -> bool:
        """Whether so many failures, by so many waves, are too many."""
        return failures > self.max_failures.of(self.waves[wave])

    def as_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {**dataclasses.asdict(self), "max_failures": str(self.max_failures)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """It from JSON values."""
        return cls(
            **{
                **value,
                "waves": tuple(value["waves"]),
                "max_failures": Share.parse(value["max_failures"], "max_failures"),
                "on_failure": OnFailure(value["on_failure"]),
            }
        )


def in_waves(
    inventory: Inventory, waves: str | Sequence[int | str] = "100%", canary: str = ""
) -> tuple[tuple[FleetDevice, ...], tuple[int, ...]]:
    """The devices in the order of their turn, and how many have had it by the end of each wave.

    Args:
        inventory: the devices.
        waves: how many devices, or which share of them, have had their turn by the end of each
            wave, e.g. "1,10%,100%"; shares are rounded up.
        canary: a selector of devices that are the first wave by themselves; `waves` then divides
            the others.

    Raises:
        BadInputError: `waves` or the selector cannot be used.
        NothingSelectedError: no device is a canary.
    """
    first: tuple[FleetDevice, ...] = ()
    if canary:
        try:
            first = inventory.select(canary).devices
        except NothingSelectedError as error:
            raise NothingSelectedError(f"There is no canary: {error}") from error
    names = {device.name for device in first}
    rest = tuple(device for device in inventory.devices if device.name not in names)
    counts = [len(first)] if first else []
    counts += [len(first) + count for count in _counts(waves, len(rest))] if rest else []
    return (*first, *rest), tuple(counts)


def wave_of(position: int, waves: Sequence[int]) -> int:
    """The number of the wave, from 0, in which the device at a position has its turn."""
    return next(number for number, count in enumerate(waves) if position < count)


def _counts(waves: str | Sequence[int | str], total: int) -> list[int]:
    texts = waves.split(",") if isinstance(waves, str) else [str(wave) for wave in waves]
    shares = [Share.parse(text, "waves") for text in texts]
    counts: list[int] = []
    for share in shares:
        # As 7 % of 100 is 7.000000000000001, it is rounded before it is rounded up.
        count = min(math.ceil(round(share.of(total), 6)), total)
        if not share.value or (counts and count < counts[-1]):
            raise BadInputError(
                f"waves is {_shown(shares)}: each says how many of the {total} devices have had "
                "their turn by its end, so each is more than the one before, e.g. 1,10%,100%."
            )
        if not counts or count > counts[-1]:
            counts.append(count)
    if not counts or counts[-1] < total:
        raise BadInputError(
            f"waves is {_shown(shares)}: the last one must be all devices, 100%; to leave devices "
            "out, select others, or approve each wave and stop where you like."
        )
    return counts


def _shown(shares: Sequence[Share]) -> str:
    return ",".join(map(str, shares))
