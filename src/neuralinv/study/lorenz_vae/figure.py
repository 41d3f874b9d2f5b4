"""The attractor beside its reconstruction, and the training curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neuralinv.study.plots import BLUE, GREEN, GREY, ORANGE

_MOST_POINTS = 1500


def attractor_figure(
    states: NDArray[Any], observations: NDArray[Any], reconstruction: NDArray[Any], elbo: Mapping[str, NDArray[Any]]
) -> Figure:
    """Draw a path ``(steps, 3)``, what was observed of it, its reconstruction, and lower bounds by backend."""
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    grid = figure.add_gridspec(1, 4, width_ratios=(1, 1, 1, 1), wspace=0.04)
    limits = [(x.min(), x.max()) for x in observations.T]
    panels = (("true path", states, BLUE), ("observed", observations, GREY), ("reconstructed", reconstruction, ORANGE))
    for i, (title, path, colour) in enumerate(panels):
        axes: Any = figure.add_subplot(grid[0, i], projection="3d")
        if path is observations:
            points = path[:: -(-len(path) // _MOST_POINTS)]
            axes.scatter(*points.T, s=3, color=colour, alpha=0.7, linewidths=0, depthshade=False)
        else:
            axes.plot(*path.T, color=colour, linewidth=0.5)
        axes.set_title(title, y=0.98)
        axes.set(xlabel="x", ylabel="y", zlabel="z", xlim=limits[0], ylim=limits[1], zlim=limits[2])
        axes.tick_params(labelbottom=False, labelleft=False, labelright=False)
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.labelpad = -12
        axes.view_init(elev=18, azim=-60)
        axes.set_box_aspect((1, 1, 0.95), zoom=0.98)
    axes = figure.add_subplot(grid[0, 3])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E4E4E4", linewidth=0.6)
    # The shorter curve lies on the longer one: drawn above it, wider and dashed.
    for i, (name, curve) in enumerate(sorted(elbo.items(), key=lambda item: -len(item[1]))):
        style = {"color": GREEN, "linewidth": 0.9} if i == 0 else {"color": "black", "linewidth": 1.8, "linestyle": ":"}
        axes.plot(np.arange(1, len(curve) + 1), curve, label=name, **style)
    longest = max(elbo.values(), key=len)
    axes.set(title="training", xlabel="step", ylabel="lower bound, nats per time step", xscale="log")
    axes.set_xlim(left=1)
    axes.set_ylim(float(np.percentile(longest, 1)) - 0.5, float(longest.max()) + 0.3)
    axes.legend(frameon=False, loc="lower right")
    return figure
