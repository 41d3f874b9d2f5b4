"""Checks of the settings that families share."""

from __future__ import annotations

import math


def whole(name: str, value: float, *, least: int = 1) -> int:
    """Return a setting that counts something.

    Raises
    ------
    ValueError
        If it is no whole number, or smaller than ``least``.
    """
    if not math.isfinite(value) or value != int(value) or value < least:
        raise ValueError(f"{name} = {value}: expected a whole number of at least {least}")
    return int(value)


def nonnegative(name: str, value: float) -> float:
    """Return a setting that is finite and not negative.

    Raises
    ------
    ValueError
        Otherwise.
    """
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} = {value}: expected a finite number of at least 0")
    return value


def positive(name: str, value: float) -> float:
    """Return a setting that is finite and positive.

    Raises
    ------
    ValueError
        Otherwise.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"{name} = {value}: expected a positive number")
    return value
