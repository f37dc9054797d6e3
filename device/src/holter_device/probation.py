"""Probation: what of its windows tells that a model that was swapped in does worse than the last.

It is over after the longer of a time and a number of windows, and at once, with a return to the
model before, when a score is not finite, the model fails on a window or its process ends; and when
windows miss their deadline, the next window's, more often than now and then. After it, a process
that ends again and again is still a reason to go back.
"""

from __future__ import annotations

import dataclasses
import enum
import time
from collections.abc import Callable

from .classifier import ClassifierFailedError, ScoresNotFiniteError
from .errors import ClassifierUnavailableError, ModelTimeoutError

CRASHES = 3
# Late windows that are forgiven: one, or one in so many.
LATE_ONE_IN = 10


class ReturnCause(enum.IntEnum):
    """Why a device went back to the model before; the numbers are those of the wire."""

    SCORES_NOT_FINITE = 1
    MODEL_FAILED = 2
    CLASSIFIER_ENDED = 3
    DEADLINES_MISSED = 4
    CRASH_LOOP = 5
    NOT_RESTORED = 6
    ROLLED_BACK = 7


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """How long a probation is: the longer of both; neither means none.

    Attributes:
        seconds: real time; 0 in simulated time.
        windows: windows that the model was asked for.
    """

    seconds: float = 60.0
    windows: int = 10

    def __bool__(self) -> bool:
        """Whether there is a probation."""
        return self.seconds > 0 or self.windows > 0


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a model's windows: why to go back, or None if it is to stay."""

    cause: ReturnCause | None = None
    reason: str = ""


class Watch:
    """Watches the windows of the active model.

    Args:
        rules: how long it is on probation; None if it is not.
        hop_seconds: real time that a window may take.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        rules: Rules | None,
        hop_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._hop_seconds = hop_seconds
        self._clock = clock
        self._begin = clock()
        self._late = 0
        self._ended = 0
        self.window_count = 0

    def see(self, seconds: float, error: Exception | None) -> Verdict | None:
        """Take note of a window.

        Args:
            seconds: what the model took for it; infinite if it had no time for it at all.
            error: why it has no class.

        Returns:
            The verdict, where this window brings one.
        """
        self.window_count += 1
        self._ended = self._ended + 1 if _is_end(error) else 0
        if self._rules is None:
            return self._crash_loop(error) if self._ended >= CRASHES else None
        if error is not None:
            return Verdict(_cause(error), str(error))
        if seconds > self._hop_seconds:
            self._late += 1
            if self._late > 1 and self._late * LATE_ONE_IN > self.window_count:
                return Verdict(
                    ReturnCause.DEADLINES_MISSED,
                    f"{self._late} of {self.window_count} windows were not classified before the "
                    f"next one came, {self._hop_seconds:g} s later",
                )
        elapsed = self._clock() - self._begin
        if self.window_count >= self._rules.windows and elapsed >= self._rules.seconds:
            return Verdict()
        return None

    def _crash_loop(self, error: Exception | None) -> Verdict:
        self._ended = 0
        text = f"its process ended on {CRASHES} windows in a row, the last time so: {error}"
        return Verdict(ReturnCause.CRASH_LOOP, text)


def _is_end(error: Exception | None) -> bool:
    if isinstance(error, ModelTimeoutError):
        return True
    failed = isinstance(error, ClassifierFailedError)
    return isinstance(error, ClassifierUnavailableError) and not failed


def _cause(error: Exception) -> ReturnCause:
    if isinstance(error, ScoresNotFiniteError):
        return ReturnCause.SCORES_NOT_FINITE
    if isinstance(error, ModelTimeoutError):
        return ReturnCause.DEADLINES_MISSED
    return ReturnCause.CLASSIFIER_ENDED if _is_end(error) else ReturnCause.MODEL_FAILED
