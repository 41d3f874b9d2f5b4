"""Time of one sequence against T and against n, both on log scales: forward, and forward + backward."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from neuralinv.bench.block_tridiagonal.problems import BACKWARD, FORWARD
from neuralinv.bench.block_tridiagonal.scaling import FIXED_N, FIXED_STEPS, Sample
from neuralinv.bench.plots import time_tick
from neuralinv.bench.rivals import OURS

# Okabe & Ito's palette (https://jfly.uni-koeln.de/color/); markers tell the lines apart without colour.
_STYLES = {
    OURS: ("#0072B2", "o"),
    "torch-loop": ("#D55E00", "s"),
    "torch-triangular": ("#E69F00", "v"),
    "jax": ("#009E73", "^"),
    "tinygp": ("#56B4E9", "P"),
    "scipy": ("#CC79A7", "D"),
    "socu": ("#6E6E6E", "X"),
}
_TITLES = {FORWARD: "forward", BACKWARD: "forward + backward"}
_N_TICKS = (1, 2, 3, 5, 10, 20, 32, 64)


def plot_scaling(samples: Sequence[Sample]) -> Canvas:
    """Draw four panels: a row for each work, time against T on the left, against n on the right.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    if not samples:
        raise ValueError("there is nothing to plot: no scaling was measured")
    figure = Canvas(figsize=(10.4, 7.6), layout="constrained")
    grid = figure.subplots(2, 2, sharex="col", sharey="row")
    for line, (work, title) in zip(grid, _TITLES.items(), strict=True):
        over_steps = [(s.name, s.steps, s.seconds) for s in samples if s.work == work and s.n == FIXED_N]
        over_n = [(s.name, s.n, s.seconds) for s in samples if s.work == work and s.steps == FIXED_STEPS]
        _panel(line[0], [point for point in over_steps if point[1] != FIXED_STEPS])
        _panel(line[1], over_n)
        line[0].set_title(f"{title}, n = {FIXED_N}", fontsize="medium", loc="left")
        line[1].set_title(f"{title}, T = {FIXED_STEPS}", fontsize="medium", loc="left")
        line[0].set_ylabel(f"time of one sequence ({samples[0].dtype})")
    grid[-1, 0].set_xlabel("time steps T")
    grid[-1, 0].xaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps:,.0f}"))
    grid[-1, 1].set_xlabel("block size n")
    grid[-1, 1].set_xticks(
        [n for n in _N_TICKS if n <= max((s.n for s in samples if s.steps == FIXED_STEPS), default=1)]
    )
    grid[-1, 1].xaxis.set_minor_locator(NullLocator())
    grid[-1, 1].xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:.0f}"))
    handles = {line.get_label(): line for axes in grid.flat for line in axes.get_lines()}
    names = [name for name in _STYLES if name in handles]
    figure.legend([handles[n] for n in names], names, loc="outside upper center", ncols=len(names), frameon=False)
    return figure


def _panel(axes: Axes, points: Sequence[tuple[str, int, float]]) -> None:
    for name, (colour, marker) in _STYLES.items():
        line = sorted((size, 1e9 * seconds) for who, size, seconds in points if who == name)
        if not line:
            continue
        ours = name == OURS
        axes.plot(
            [size for size, _ in line], [time for _, time in line], color=colour, marker=marker, label=name,
            linewidth=2.2 if ours else 1.3, markersize=5.5 if ours else 4.5, markeredgecolor="white",
            markeredgewidth=0.5, zorder=3 if ours else 2,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda nanoseconds, _: time_tick(nanoseconds)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelleft=True)
