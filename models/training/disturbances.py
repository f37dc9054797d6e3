"""What a device adds to an ECG, as functions of (mV windows, strength or range, rng)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.windows import RATE_HZ, WINDOW

SECONDS = (np.arange(WINDOW) / RATE_HZ).astype(np.float32)
Rng = np.random.Generator


def column(rng: Rng, count: int, low: float, high: float) -> np.ndarray:
    """A number for each window, shape (count, 1)."""
    return rng.uniform(low, high, (count, 1)).astype(np.float32)


def hum(count: int, hertz: np.ndarray | float, rng: Rng) -> np.ndarray:
    """A sine of amplitude 1 and any phase for each window."""
    turns = hertz * SECONDS + column(rng, count, 0, 1)
    turns -= np.floor(turns)
    return np.sin(np.float32(2 * np.pi) * turns.astype(np.float32))


def noise(count: int, rng: Rng) -> np.ndarray:
    """White noise of deviation 1."""
    return rng.standard_normal((count, WINDOW), dtype=np.float32)


def drift(count: int, rng: Rng) -> np.ndarray:
    """A random walk of about 1 in a second."""
    return np.cumsum(noise(count, rng), 1) / np.float32(np.sqrt(RATE_HZ))


def vary(x: np.ndarray, rng: Rng) -> np.ndarray:
    """All of them at random, for training: gain, wander, hum, noise, drift, baseline."""
    n = len(x)

    def now(share: float) -> np.ndarray:
        return (rng.random((n, 1)) < share).astype(np.float32)

    x = x * np.exp(column(rng, n, -0.6, 0.5))
    x = x + column(rng, n, 0, 0.2) * hum(n, column(rng, n, 0.05, 0.6), rng)
    mains = np.where(rng.random((n, 1)) < 0.5, 50, 60) * column(rng, n, 0.99, 1.01)
    x = x + now(0.3) * column(rng, n, 0, 0.06) * hum(n, mains, rng)
    white = noise(n, rng)
    x = x + now(0.5) * column(rng, n, 0, 0.05) * white
    x = x + now(0.3) * 0.076 * drift(n, rng)
    return x + column(rng, n, -0.3, 0.3)


def _fixed() -> Rng:
    return np.random.default_rng(5)


def at_rate(x: np.ndarray, factor: float) -> np.ndarray:
    """What a clock that runs by that factor too fast or slow takes for the window."""
    frames = (WINDOW - 1) / 2 + (np.arange(WINDOW) - (WINDOW - 1) / 2) * factor
    return np.array([np.interp(frames, np.arange(WINDOW), row) for row in x], np.float32)


# What the figures of robustness are made with: the same for every model and record.
KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda x: x,
    "gain x 0.5": lambda x: 0.5 * x,
    "gain x 1.5": lambda x: 1.5 * x,
    "baseline +0.4 mV": lambda x: x + np.float32(0.4),
    "baseline wander 0.3 mV, 0.3 Hz": lambda x: x + 0.3 * hum(len(x), 0.3, _fixed()),
    "mains hum 0.05 mV, 50 Hz": lambda x: x + 0.05 * hum(len(x), 50, _fixed()),
    "mains hum 0.05 mV, 60 Hz": lambda x: x + 0.05 * hum(len(x), 60, _fixed()),
    "white noise 0.05 mV": lambda x: x + 0.05 * noise(len(x), _fixed()),
    "rate -1 %": lambda x: at_rate(x, 0.99),
    "rate +1 %": lambda x: at_rate(x, 1.01),
}
