"""Checks of the settings and parameters that families share."""

from __future__ import annotations

import math
from numbers import Integral, Real

LARGEST_SETTING = 10**6
"""Of what a setting counts: torch would fail on larger ones in words of its own."""


def as_float(name: str, value: object) -> float:
    """Return a number of any kind as a Python float.

    Raises
    ------
    ValueError
        If it is no real number, or beyond float64.
    """
    if not isinstance(value, Real):
        raise ValueError(f"{name} = {value!r}: expected a number")
    try:
        return float(value)
    except OverflowError:  # whole numbers and fractions of any length, which are not to be printed
        raise ValueError(f"{name}: expected a number that float64 holds, at most about 1.8e308 in size") from None


def is_whole(value: object, low: int, high: float = math.inf) -> bool:
    """Tell whether this is a whole number, of Python or NumPy, from ``low`` to ``high``."""
    return not isinstance(value, bool) and isinstance(value, Integral) and low <= int(value) <= high


def whole(name: str, value: float, *, least: int = 1) -> int:
    """Return a setting that counts something.

    Raises
    ------
    ValueError
        If it is no whole number, smaller than ``least``, or larger than :data:`LARGEST_SETTING`.
    """
    if not least <= value <= LARGEST_SETTING or value != int(value):
        raise ValueError(f"{name} = {value}: expected a whole number of at least {least} and at most {LARGEST_SETTING}")
    return int(value)


def aspect_ratio(name: str, value: float, why: str) -> float:
    """Return how many rows there are for each column, from 1 to :data:`LARGEST_SETTING`.

    Raises
    ------
    ValueError
        Otherwise; ``why`` says what is wrong with fewer.
    """
    if not value >= 1:
        raise ValueError(f"{name} = {value}: {why}")
    return _checked(name, value, value <= LARGEST_SETTING, f"at most {LARGEST_SETTING}")


def finite(name: str, value: float) -> float:
    """Return a setting that is finite.

    Raises
    ------
    ValueError
        Otherwise.
    """
    return _checked(name, value, math.isfinite(value), "a finite number")


def correlation(name: str, value: float) -> float:
    """Return a setting that lies between −1 and 1.

    Raises
    ------
    ValueError
        Otherwise.
    """
    return _checked(name, value, -1 < value < 1, "a number between -1 and 1")


def nonnegative(name: str, value: float) -> float:
    """Return a setting that is finite and not negative.

    Raises
    ------
    ValueError
        Otherwise.
    """
    return _checked(name, value, 0 <= value < math.inf, "a finite number of at least 0")


def positive(name: str, value: float) -> float:
    """Return a setting that is finite and positive.

    Raises
    ------
    ValueError
        Otherwise.
    """
    return _checked(name, value, 0 < value < math.inf, "a positive number")


def _checked(name: str, value: float, holds: bool, expected: str) -> float:
    if not holds:
        raise ValueError(f"{name} = {value}: expected {expected}")
    return value
