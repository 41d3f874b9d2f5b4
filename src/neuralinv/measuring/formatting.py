"""Tables, times and ratios as the reports write them."""

from __future__ import annotations

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table


def plain_table(*headings: str) -> Table:
    """Return an empty table with right-aligned columns and no frame."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def time_text(nanoseconds: float) -> str:
    """Write a time with three digits and a unit."""
    for unit, size in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6)):
        if nanoseconds < 999.5 * size:
            return f"{_three_digits(nanoseconds / size)}{unit}"
    return f"{_three_digits(nanoseconds / 1e9)}s"


def dtype_name(dtype: torch.dtype) -> str:
    """Write a dtype without its library."""
    return str(dtype).removeprefix("torch.")


def ratio_text(ratio: float) -> str:
    """Write how many times."""
    return f"{ratio:4.1f}×" if ratio < 99.95 else f"{ratio:4.0f}×" if ratio < 9999.5 else f"{ratio:.0e}×"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
