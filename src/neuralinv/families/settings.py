"""Checks of the settings and parameters that families share."""

from __future__ import annotations

import math
from numbers import Integral


def is_whole(value: object, low: int, high: float = math.inf) -> bool:
    """Tell whether this is a whole number, of Python or NumPy, from ``low`` to ``high``."""
    return not isinstance(value, bool) and isinstance(value, Integral) and low <= int(value) <= high


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
