"""The figures of reports and commands: colour-blind safe, on matplotlib's object interface (no global state)."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neuralinv.dense.result import Status
from neuralinv.io import FileError, atomic_path
from neuralinv.study.evaluation import Evaluation

# Okabe & Ito's palette (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6E6E6E"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # they tell lines apart without colour
_STATUS_COLOURS = {Status.CERTIFIED: BLUE, Status.ILL_CONDITIONED: ORANGE}
_MOST_POINTS = 20_000


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its suffix.

    Raises
    ------
    FileError
        If the path cannot be written.
    ValueError
        If matplotlib does not know the suffix.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def check_format(path: Path) -> None:
    """Raise :class:`FileError` unless matplotlib writes figures in the format of the suffix."""
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in known:
        raise FileError(f"{path}: no format of figures; known are {', '.join(f'.{name}' for name in sorted(known))}")


def as_data_uri(figure: Figure) -> str:
    """Return a figure as a ``data:`` address of SVG, for pages that need no other file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=200)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def show_figure(figure: Figure) -> None:
    """Open a window with the figure and wait until it is closed.

    Raises
    ------
    ValueError
        If there is no screen to open it on.
    """
    import matplotlib
    from matplotlib import pyplot

    try:
        window = pyplot.figure()
    except (ImportError, RuntimeError) as error:
        raise ValueError(f"there is no screen to plot on ({error}); name a file instead") from error
    if matplotlib.get_backend().lower() == "agg":
        pyplot.close(window)
        raise ValueError("there is no screen to plot on; name a file instead")
    manager = window.canvas.manager
    assert manager is not None
    manager.canvas.figure = figure
    figure.set_canvas(manager.canvas)
    pyplot.show()


def true_versus_predicted(true: NDArray[Any], predicted: NDArray[Any]) -> Figure:
    """Plot every element of the predicted inverses against the true ones; arrays of one shape, NaN left out."""
    figure, axes = new_figure()
    if np.iscomplexobj(true) or np.iscomplexobj(predicted):  # real and imaginary parts are elements of their own
        true, predicted = (np.stack([M.real, M.imag]) for M in (true, predicted))
    true, predicted = _thin(np.ravel(true), np.ravel(predicted))
    keep = np.isfinite(true) & np.isfinite(predicted)
    true, predicted = true[keep], predicted[keep]
    # A few nearly singular matrices have huge inverses: a symmetric log scale shows them and the others.
    if keep.any():
        nonzero = np.abs(true[true != 0])
        threshold = float(np.median(nonzero)) if nonzero.size else 1.0
        largest = max(float(np.abs(true).max()), float(np.abs(predicted).max()))
        if largest > 100 * threshold:
            axes.set_xscale("symlog", linthresh=threshold)
            axes.set_yscale("symlog", linthresh=threshold)
            ticks = _symmetric_powers_of_ten(threshold, largest)
            axes.set_xticks(ticks)
            axes.set_yticks(ticks)
        axes.axline((0, 0), (largest, largest), color=GREY, linewidth=1, zorder=1, label="exact")
        axes.legend(loc="upper left", frameon=False)
    axes.scatter(true, predicted, s=5, alpha=0.35, color=BLUE, linewidths=0, rasterized=True, zorder=2)
    axes.set_xlabel("element of the true inverse")
    axes.set_ylabel("element of the predicted inverse")
    return figure


def residual_by_condition(evaluation: Evaluation, *, refined: NDArray[Any] | None = None) -> Figure:
    """Plot each matrix's raw residual ‖I − AX‖_F against its condition number, and optionally residuals after
    refinement.
    """
    figure, axes = new_figure()
    condition, residual = _thin(evaluation.condition, np.maximum(evaluation.residual, 1e-17))
    axes.scatter(condition, residual, s=5, alpha=0.4, color=ORANGE, linewidths=0, rasterized=True, label="raw network")
    if refined is not None:
        condition, residual = _thin(evaluation.condition, np.maximum(refined, 1e-17))
        axes.scatter(
            condition, residual, s=5, alpha=0.4, color=BLUE, linewidths=0, rasterized=True, label="after certification"
        )
    axes.axhline(1.0, color=RED, linewidth=1, linestyle="--", label="refinement converges below")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(r"condition number $\kappa_2(A)$")
    axes.set_ylabel(r"residual $\|I - AX\|_F$")
    _legend_above(axes)
    return figure


def bound_versus_error(
    error_bound: NDArray[Any], true_error: NDArray[Any], status: NDArray[Any], rtol: float
) -> Figure:
    """Plot the proved bound of each inverse against its true error: every point lies above the diagonal."""
    figure, axes = new_figure()
    floor = 1e-18
    for member, colour in _STATUS_COLOURS.items():
        where = (status == member) & np.isfinite(error_bound)
        if where.any():
            x, y = _thin(np.maximum(true_error[where], floor), error_bound[where])
            name = member.name.lower().replace("_", "-")
            axes.scatter(x, y, s=6, alpha=0.5, color=colour, linewidths=0, rasterized=True, label=name)
    finite = error_bound[np.isfinite(error_bound)]
    if finite.size:
        low, high = floor * 10, max(float(finite.max()), rtol) * 3
        axes.plot([low, high], [low, high], color=GREY, linewidth=1, label="bound = true error")
    axes.axhline(rtol, color=RED, linewidth=1, linestyle="--", label=f"rtol = {rtol:.0e}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("true relative error")
    axes.set_ylabel("proved bound")
    _legend_above(axes)
    return figure


def histogram_of_bounds(error_bound: NDArray[Any], rtol: float) -> Figure:
    """Plot how the proved bounds are distributed, on a log scale."""
    figure, axes = new_figure()
    finite = error_bound[np.isfinite(error_bound) & (error_bound > 0)]
    if finite.size:
        edges = np.logspace(np.log10(finite.min()) - 0.2, np.log10(max(finite.max(), rtol)) + 0.2, 50)
        axes.hist(finite, bins=edges, color=BLUE)  # type: ignore[arg-type]
    axes.axvline(rtol, color=RED, linewidth=1, linestyle="--", label=f"rtol = {rtol:.0e}")
    axes.set_xscale("log")
    axes.set_xlabel(r"proved relative error $\|A^{-1} - X\|_F \;/\; \|A^{-1}\|_F$")
    axes.set_ylabel("matrices")
    _legend_above(axes)
    return figure


def training_curve(steps: NDArray[Any], validation: NDArray[Any]) -> Figure:
    """Plot the mean residual on the validation set against the training steps."""
    figure, axes = new_figure()
    axes.plot(steps, validation, color=GREEN, marker="o", markersize=4)
    axes.set_yscale("log")
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel(r"mean $\|I - AX\|_F$ on unseen matrices")
    return figure


def panels(columns: int, *, rows: int = 1, width: float = 4.4, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``rows × columns`` panels, in reading order, in the style of all figures here."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, [_style(figure.add_subplot(rows, columns, k + 1)) for k in range(rows * columns)]


def new_figure() -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes in the style of all reports."""
    figure, (axes,) = panels(1, width=5.6, height=4.0)
    return figure, axes


def _style(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _symmetric_powers_of_ten(smallest: float, largest: float) -> list[float]:
    """At most four powers of ten on either side of zero."""
    low, high = np.ceil(np.log10(smallest)), np.floor(np.log10(largest))
    step = max(1, int(np.ceil((high - low + 1) / 4)))
    powers = [10.0**k for k in np.arange(high, low - 1, -step)]
    return [-p for p in powers] + [0.0] + powers[::-1]


def _legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize="small", markerscale=2.5
    )


def _thin(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """Keep every k-th element so that no plot draws more than a fixed number of points."""
    step = -(-len(arrays[0]) // _MOST_POINTS) or 1
    return [array[::step] for array in arrays]
