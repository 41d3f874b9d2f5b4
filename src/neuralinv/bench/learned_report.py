"""The table of :mod:`neuralinv.bench.learned`, and its figures as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from neuralinv.bench.learned_rows import RESIDUAL, Row
from neuralinv.io.plain_json import finite
from neuralinv.measuring.machine import Machine

_EXACT = ("ni.inv", "ni.certified_inv")
_NEVER_CUT = ("ours", "×")
"""Columns that the others make room for, where the table is wider than a page."""


def learned_table(rows: Sequence[Row]) -> Table:
    """Return a table with a line for each comparison, those that we lose among them; times in µs for each matrix."""
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1),
        caption="µs for each matrix, or matrix products; ours with proof; ×: against the fastest other library;\n"
        "sure: % proved at 1e-5 without fallback (probable: without correction); pays after: inverses until it pays",
    )
    for heading in ("work", "case"):
        table.add_column(heading, no_wrap=True)
    for heading in ("n", "ours", "fastest", "ni.inv", "ni.cert.", "×", "goal", "sure", "train", "pays after"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=5 if heading in _NEVER_CUT else None)
    for row in (row for row in rows if row.unit != RESIDUAL):
        scale = 1e6 if row.unit == "s" else 1
        exact = (_figure(scale * row.rivals[name]) if name in row.rivals else "" for name in _EXACT)
        share = 100 * row.certified
        sure = "" if math.isnan(share) else f"{share:.4g}" if share >= 1 else f"{share:.1g}"
        table.add_row(
            row.work,
            row.case,
            str(row.n) if row.n else "",
            _figure(scale * row.ours),
            f"{row.fastest} {_figure(scale * row.rivals[row.fastest])}",
            *exact,
            f"{row.ratio:.2f}",
            f"{row.goal:g}" + (" ✓" if row.ratio >= row.goal else ""),
            sure,
            f"{row.offline:.1f} s" if row.offline else "",
            ("never" if math.isinf(row.payback) else f"{row.payback:.2g}") if row.offline else "",
        )
    return table


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def coefficients_table(rows: Sequence[Row]) -> Table:
    """Return a table of the residuals that ways to the coefficients of parametric inverses reach with equal rank."""
    rows = [row for row in rows if row.unit == RESIDUAL]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), caption="largest ‖I − A X₀‖_F held out, as many modes")
    table.add_column("family", no_wrap=True)
    for heading in ("n", "polynomial", *(rows[0].rivals if rows else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        values = (row.ours, *row.rivals.values())
        table.add_row(row.case, str(row.n), *(f"{value:.1e}" for value in values))
    return table


def learned_json(rows: Sequence[Row], machine: Machine) -> dict[str, Any]:
    """Return everything as plain data; what is not finite becomes null."""
    derived = [{"fastest": row.fastest, "ratio": row.ratio, "payback": row.payback} for row in rows]
    return finite(
        {
            "version": 1,
            "machine": asdict(machine),
            "rows": [asdict(row) | more for row, more in zip(rows, derived, strict=True)],
        }
    )
