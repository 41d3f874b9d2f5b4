"""Time for each matrix against n, both on log scales: a panel for each operation and dtype."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from neuralinv.bench.dense import Row
from neuralinv.bench.problems import OPERATIONS
from neuralinv.bench.rivals import OURS, PLAIN

FORMATS = (".png", ".svg", ".pdf")
# Okabe & Ito's palette (https://jfly.uni-koeln.de/color/); markers tell the lines apart without colour.
_STYLES = {
    OURS: ("#0072B2", "o"),
    PLAIN: ("#000000", "*"),
    "torch": ("#D55E00", "s"),
    "numpy": ("#009E73", "^"),
    "scipy": ("#CC79A7", "D"),
    "jax": ("#E69F00", "v"),
    "mkl": ("#56B4E9", "P"),
    "mkl-packed": ("#6E6E6E", "X"),
}
_TICKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096)
_FEW_DECADES = 1e3
"""Axes of fewer than three get a tick between powers of ten."""
_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))


def plot_times(rows: Sequence[Row]) -> Canvas:
    """Draw the rows of batches: one line for each implementation, between its quartiles a band around ours.

    Raises
    ------
    ValueError
        If there are no such rows.
    """
    batches = [row for row in rows if row.operation in OPERATIONS]
    if not batches:
        raise ValueError("there is nothing to plot: no operation was measured on batches")
    operations = list(dict.fromkeys(row.operation for row in batches))
    dtypes = list(dict.fromkeys(row.dtype for row in batches))
    figure = Canvas(figsize=(5.0 * len(dtypes) + 0.6, 3.7 * len(operations) + 0.7), layout="constrained")
    grid = figure.subplots(len(operations), len(dtypes), sharex=True, sharey="row", squeeze=False)
    for operation, line in zip(operations, grid, strict=True):
        for dtype, axes in zip(dtypes, line, strict=True):
            _panel(axes, [row for row in batches if (row.operation, row.dtype) == (operation, dtype)])
            axes.set_title(f"{OPERATIONS[operation].title}, {dtype}", fontsize="medium", loc="left")
        line[0].set_ylabel("time for each matrix")
        low, high = line[0].get_ylim()
        if high < _FEW_DECADES * low:
            line[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    for axes in grid[-1]:
        axes.set_xlabel("matrix size n")
    handles = {line.get_label(): line for axes in grid.flat for line in axes.get_lines()}
    names = [name for name in _STYLES if name in handles]
    figure.legend([handles[n] for n in names], names, loc="outside upper center", ncols=len(names), frameon=False)
    return figure


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    for name, (colour, marker) in _STYLES.items():
        points = [(row.n, row.figures[name]) for row in rows if name in row.figures]
        if not points:
            continue
        sizes, times = [n for n, _ in points], [figure.nanoseconds for _, figure in points]
        ours = name == OURS
        axes.plot(
            sizes, times, color=colour, marker=marker, label=name, linewidth=2.2 if ours else 1.3,
            markersize=5.5 if ours else 4.5, markeredgecolor="white", markeredgewidth=0.5, zorder=3 if ours else 2,
        )  # fmt: skip
        if ours:
            low, high = [figure.lower for _, figure in points], [figure.upper for _, figure in points]
            axes.fill_between(sizes, low, high, color=colour, alpha=0.18, linewidth=0, zorder=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    sizes = sorted({row.n for row in rows})
    axes.set_xticks(_ticks(sizes[0], sizes[-1]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ns, _: time_tick(ns)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelleft=True)


def _ticks(low: int, high: int) -> list[int]:
    powers = [n for n in _TICKS if low <= n <= high and n & (n - 1) == 0]
    # Powers of two alone leave a short axis almost bare.
    return powers if len(powers) > 3 else [n for n in _TICKS if low <= n <= high] or [low]


def time_tick(nanoseconds: float) -> str:
    """Write a time on an axis."""
    for size, unit in _UNITS:
        if nanoseconds >= size:
            return f"{nanoseconds / size:g} {unit}"
    return f"{nanoseconds:g} ns"
