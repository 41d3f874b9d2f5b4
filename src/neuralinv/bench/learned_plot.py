"""How many times faster than the fastest other library, a line for each comparison, beside the goal."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from neuralinv.bench.learned_rows import RESIDUAL, Row

# Okabe & Ito's palette (https://jfly.uni-koeln.de/color/); filled and hollow markers tell the two apart without colour.
_REACHED, _MISSED, _GOAL = "#0072B2", "#D55E00", "#6E6E6E"


def plot_ratios(rows: Sequence[Row]) -> Canvas:
    """Draw every comparison of times, those that we lose among them: from a ratio of 1 to ours, with the goal marked.

    Raises
    ------
    ValueError
        If there are none.
    """
    rows = [row for row in rows if row.unit != RESIDUAL]
    if not rows:
        raise ValueError("there is nothing to plot: no times were measured")
    figure = Canvas(figsize=(8.0, 0.27 * len(rows) + 1.5), layout="constrained")
    axes = figure.subplots()
    places = [-(k + _gaps(rows, k)) for k in range(len(rows))]
    for reached, colour, label in ((True, _REACHED, "goal reached"), (False, _MISSED, "goal missed")):
        chosen = [(place, row) for place, row in zip(places, rows, strict=True) if (row.ratio >= row.goal) == reached]
        if not chosen:
            continue
        where, ratios = [place for place, _ in chosen], [row.ratio for _, row in chosen]
        axes.hlines(where, [1.0] * len(where), ratios, color=colour, linewidth=2.2, zorder=2)
        axes.plot(
            ratios, where, linestyle="none", marker="o" if reached else "D", markersize=6, color=colour,
            markerfacecolor=colour if reached else "white", label=label, zorder=3,
        )  # fmt: skip
    axes.plot(
        [row.goal for row in rows], places, linestyle="none", marker="|", markersize=11, markeredgewidth=2,
        color=_GOAL, label="goal", zorder=1,
    )  # fmt: skip
    axes.axvline(1.0, color="black", linewidth=0.8, zorder=1)
    axes.set_xscale("log")
    values = [value for row in rows for value in (row.ratio, row.goal)]
    axes.set_xlim(min(0.5, *values) / 1.25, max(2.0, *values) * 1.25)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(places, [_name(row) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("times faster than the fastest other library (left of 1: slower); ours with proof")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def _gaps(rows: Sequence[Row], k: int) -> float:
    """Leave half a line between works."""
    return 0.5 * sum(rows[i].work != rows[i - 1].work for i in range(1, k + 1))


def _name(row: Row) -> str:
    return f"{row.work}: {row.case}" + (f", n = {row.n}" if row.n else "")
