"""Durations as people type them: 90s, 1.5m, 2h."""

from __future__ import annotations

import math
import re

import typer

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)")


def parse_duration(text: str) -> float:
    """Return seconds.

    Raises
    ------
    typer.BadParameter
        If the text is no positive duration.
    """
    match = _FORM.fullmatch(text.strip().lower())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise typer.BadParameter(f"{text!r} is no duration; write 90s, 1.5m or 2h")
    return seconds
