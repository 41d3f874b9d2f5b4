"""The plots of an advice."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuralinv.study.advise.prediction import Prediction
from neuralinv.study.advise.ranking import NOTHING
from neuralinv.study.advise.record import Record
from neuralinv.study.plots import BLUE, GREEN, GREY, ORANGE, RED, new_figure


def predicted_times(advice: Record) -> Figure:
    """Plot the time of each option over the exact kernel's, with the interval that holds nine of ten."""
    figure, axes = new_figure()
    rows = _rows(advice)
    for row, (_, prediction, trained) in enumerate(rows):
        _interval(axes, row, prediction.ratio, prediction.ratio_interval, ORANGE if trained else BLUE)
    axes.axvline(1.0, color=RED, linewidth=1, linestyle="--", label="the exact kernel")
    _name_rows(axes, rows)
    axes.set_xlabel("time over the exact kernel's, predicted")
    return figure


def predicted_errors(advice: Record) -> Figure:
    """Plot the error of each option, with the interval that holds nine of ten, beside the tolerance."""
    figure, axes = new_figure()
    rows = _rows(advice)
    for row, (_, prediction, trained) in enumerate(rows):
        _interval(axes, row, prediction.error, prediction.error_interval, ORANGE if trained else BLUE)
    axes.axvline(advice.rtol, color=RED, linewidth=1, linestyle="--", label=f"tolerance {advice.rtol:.0e}")
    _name_rows(axes, rows)
    axes.set_xlabel("relative error, predicted")
    return figure


def rank_decay(shares: Mapping[int, float]) -> Figure:
    """Plot what the best r modes leave out of the inverses."""
    figure, axes = new_figure()
    axes.plot(list(shares), [max(share, 1e-17) for share in shares.values()], color=BLUE, marker="o", markersize=5)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(shares), [str(r) for r in shares])
    axes.set_xlabel("modes r")
    axes.set_ylabel("share of the inverses left out")
    return figure


def polynomial_errors(errors: Mapping[int, float]) -> Figure:
    """Plot the error of polynomials of the parameters, on matrices they were not fitted to."""
    figure, axes = new_figure()
    axes.plot(list(errors), list(errors.values()), color=GREEN, marker="s", markersize=5)
    axes.set_yscale("log")
    axes.set_xlabel("total degree of the polynomials")
    axes.set_ylabel("relative error of the inverses, nine of ten")
    return figure


_Row = tuple[str, Prediction, bool]


def _rows(advice: Record) -> list[_Row]:
    """What can be drawn, the recommended option first."""
    return [
        (o.title, o.prediction, o.trained) for o in advice.options if o.prediction is not None and o.name != NOTHING
    ]


def _interval(axes: Axes, row: int, value: float, interval: tuple[float, float], colour: str) -> None:
    axes.plot(interval, (row, row), color=colour, linewidth=2.5, solid_capstyle="round")
    axes.plot([value], [row], color=colour, marker="o", markersize=7, markeredgecolor="white")


def _name_rows(axes: Axes, rows: list[_Row]) -> None:
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize="small")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.plot([], [], color=BLUE, marker="o", label="nothing to train")
    axes.plot([], [], color=ORANGE, marker="o", label="trained")
    axes.grid(axis="y", color=GREY, linewidth=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, frameon=False, fontsize="small")
