"""The figures as tables, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from rich.console import Group
from rich.table import Table
from rich.text import Text

from neuralinv.bench.plots import time_tick
from neuralinv.bench.surrogate.errors import Spread
from neuralinv.bench.surrogate.experiment import FINAL, Results
from neuralinv.bench.surrogate.speed import LOOP, NATIVE
from neuralinv.io.plain_json import finite
from neuralinv.measuring.formatting import plain_table, ratio_text, time_text

# Okabe & Ito's palette (https://jfly.uni-koeln.de/color/); markers tell points apart without colour.
_STYLES = {
    NATIVE: ("#0072B2", "o"),
    LOOP: ("#6E6E6E", "s"),
    "mlp": ("#D55E00", "^"),
    "convolution": ("#E69F00", "D"),
    "recurrent": ("#009E73", "v"),
}
_SMOOTHED = 25


def tables(results: Results) -> Iterator[Group]:
    """Yield, with their titles, the tables."""
    yield Group(Text("training of the surrogates", style="bold"), _learned(results))
    for name, errors in results.errors.items():
        table = plain_table("", "factor", "mean", "covariance", "logdet/T", "ELBO gradient", "cosine")
        for who, e in errors.items():
            columns = (_spread(x) for x in (e.factor, e.mean, e.covariance, e.logdet, e.gradient))
            cosine = "–" if e.cosine is None else f"{e.cosine.median:.3f} {e.cosine.largest:.3f}"
            table.add_row(who, *columns, cosine)
        yield Group(Text(f"errors, median and largest, precisions of {name}", style="bold"), table)
    yield Group(
        Text("mean, sample and log-determinant: time for each sequence; × = times native", style="bold"),
        _speed(results),
    )
    for name, rescues in results.rescue.items():
        table = plain_table(
            "", "as proposed", "refined", "fell back", "median ρ", "ρ < 1", "steps", "most", "true error", "time"
        )
        for who, r in rescues.items():
            rho = "–" if r.median_rho is None else f"{r.median_rho:.2g}"
            proved = "–" if r.proved is None else str(r.proved)
            time = "–" if r.seconds is None else time_text(1e9 * r.seconds)
            table.add_row(
                who, str(r.proposed), str(r.refined), str(r.fell_back), rho, proved, f"{r.iterations:.0f}",
                str(r.most_iterations), f"{r.true_error:.0e}", time,
            )  # fmt: skip
        yield Group(Text(f"means certified to 1e-5, precisions of {name}", style="bold"), table)
    table = plain_table("trained with", "claimed bound", "true bound", "reconstruction", "step", "")
    for who, t in results.through.items():
        table.add_row(
            who, f"{t.claimed:.3f}", f"{t.true_bound:.3f}", f"{t.reconstruction:.2f}", time_text(1e9 * t.step_seconds),
            "" if t.failed is None else f"ended early, {t.failed}",
        )  # fmt: skip
    yield Group(Text("the example trained through each: nats per time step", style="bold"), table)


def as_json(results: Results) -> dict[str, Any]:
    """Return everything as plain data; what is not finite becomes null, which JSON has."""
    document = asdict(results)
    document["settings"]["example"]["dtype"] = str(results.settings.example.dtype).removeprefix("torch.")
    return finite({"version": 1, **document})


def draw(results: Results) -> Figure:
    """Draw error of the mean against time of a step forward and backward, and the bounds while the example trains."""
    figure = Figure(figsize=(10.4, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, seconds in results.speed.items():
        colour, marker = _STYLES[name]
        errors = results.errors[FINAL].get(name, results.errors[FINAL][NATIVE])  # the loop is as exact as the operator
        for time, filled in ((seconds.backward, True), (seconds.backward_in_batch, False)):
            left.plot(
                1e9 * time, errors.mean.median, marker=marker, color=colour, markersize=8, linestyle="none",
                markerfacecolor=colour if filled else "none", label=name if filled else None,
            )  # fmt: skip
    left.set_xscale("log")
    left.set_yscale("log")
    left.xaxis.set_minor_formatter(NullFormatter())
    left.xaxis.set_major_formatter(FuncFormatter(lambda nanoseconds, _: time_tick(nanoseconds)))
    left.set_xlabel("forward + backward, for each sequence (hollow: in a batch)")
    left.set_ylabel("relative error of the posterior mean")
    for name, through in results.through.items():
        bounds = np.array(through.bounds)
        width = min(_SMOOTHED, len(bounds))
        smooth = np.convolve(bounds, np.ones(width) / width, "valid") if width else bounds
        colour, _ = _STYLES[name]
        right.plot(np.arange(len(smooth)) + width, smooth, color=colour, linewidth=1.4)
        if np.isfinite(through.true_bound):
            right.plot(len(bounds), through.true_bound, marker="x", color=colour, markersize=8, clip_on=False)
    final = results.through[NATIVE].bounds
    right.set_ylim(*_limits(results, final))
    right.set_xlabel("step of the example's training")
    right.set_ylabel("lower bound, nats per time step")
    right.set_title("lines: believed; crosses: true, on an unseen path", fontsize="small", loc="left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E4E4E4", linewidth=0.6)
        axes.set_axisbelow(True)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    return figure


def _limits(results: Results, final: list[float]) -> tuple[float, float]:
    """Show all that matters: from the exact training's start to what anybody claimed or reached in the end."""
    ends = [x for t in results.through.values() for x in (t.claimed, t.true_bound) if np.isfinite(x)]
    low, high = min([final[min(len(final) - 1, _SMOOTHED)], *ends]), max(*ends, final[-1])
    margin = 0.08 * (high - low)
    return low - margin, high + margin


def _learned(results: Results) -> Table:
    table = plain_table("", "parameters", "steps", "seconds", "loss of factor", "loss of inverse")
    for who, learned in results.learned.items():
        t = learned.training
        table.add_row(
            who,
            f"{learned.parameters:,}",
            f"{t.steps:,}",
            f"{t.seconds:.0f}",
            f"{t.factor_loss:.1e}",
            f"{t.inverse_loss:.1e}",
        )
    return table


def _speed(results: Results) -> Table:
    table = plain_table("", "forward", "forward + backward", "forward, in a batch", "forward + backward, in a batch")
    native = asdict(results.speed[NATIVE])
    for who, seconds in results.speed.items():
        columns = (f"{time_text(1e9 * v)} {ratio_text(v / native[k])}" for k, v in asdict(seconds).items())
        table.add_row(who, *columns)
    return table


def _spread(spread: Spread | None) -> str:
    return "–" if spread is None else f"{spread.median:.0e} {spread.largest:.0e}"
