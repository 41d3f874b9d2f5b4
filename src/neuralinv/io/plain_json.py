"""Plain data as JSON has it."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> Any:
    """Return plain data in which what is not finite is None, which JSON has."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
