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
    if not math.isfinite(value):
        raise ValueError(f"{name} = {value}: expected a finite number")
    return value


def correlation(name: str, value: float) -> float:
    """Return a setting that lies between −1 and 1.

    Raises
    ------
    ValueError
        Otherwise.
    """
    if not -1 < value < 1:
        raise ValueError(f"{name} = {value}: expected a number between -1 and 1")
    return value


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
