"""Courses of the learning rate: from the fraction of the training that is done to a factor of the peak rate."""

from __future__ import annotations

import math
from collections.abc import Callable

_WARM_UP = 0.02


def _constant(fraction: float) -> float:
    return 1.0


def _linear(fraction: float) -> float:
    return 1.0 - fraction


def _cosine(fraction: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * fraction))


def _exponential(fraction: float) -> float:
    return 10.0 ** (-3.0 * fraction)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "exponential": _exponential,
}


def rate_factor(schedule: str, fraction: float) -> float:
    """Return the factor of the peak learning rate when ``fraction`` (0 to 1) of the training is done.

    Every schedule starts with a linear warm-up over the first 2 %.
    """
    fraction = min(max(fraction, 0.0), 1.0)
    return min(1.0, (fraction + 1e-3) / _WARM_UP) * SCHEDULES[schedule](fraction)
