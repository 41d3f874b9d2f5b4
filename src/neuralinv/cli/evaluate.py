"""`neuralinv evaluate`: the raw accuracy of a network, by condition number."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from neuralinv.cli._console import console, counting
from neuralinv.cli._limits import LARGEST_COUNT, LARGEST_SEED
from neuralinv.cli._outputs import check_outputs
from neuralinv.families import get_family
from neuralinv.io import atomic_path, read_matrices
from neuralinv.io.plain_json import finite
from neuralinv.learned import load


def evaluate(
    model: Annotated[str, typer.Option(help="Folder, packaged name (2x2, 3x3, 4x4) or Hugging Face id.")],
    matrices: Annotated[Path | None, typer.Option(help="Evaluate on this file, not on fresh matrices.")] = None,
    count: Annotated[int, typer.Option(min=1, max=LARGEST_COUNT, help="Number of fresh matrices.")] = 10_000,
    min_abs_det: Annotated[float, typer.Option(min=0.0, help="Redraw fresh matrices with a smaller |det|.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the fresh matrices.")] = 1,
    plot: Annotated[Path | None, typer.Option(help="Residual against condition number (.png, .svg, .pdf).")] = None,
    plot_elements: Annotated[Path | None, typer.Option(help="True against predicted elements.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Measure the bare network on matrices that it has never seen, drawn from the range that it was trained on."""
    from neuralinv.study.evaluation import evaluate as measure

    check_outputs(
        {"--out": out, "--plot": plot, "--plot-elements": plot_elements},
        inputs={"--matrices": matrices},
        plots=("--plot", "--plot-elements"),
    )
    network = load(model)
    if matrices is not None:
        A = torch.from_numpy(read_matrices(matrices, allow_nonfinite=False))
        if A.is_complex():
            raise ValueError(f"{matrices}: holds complex matrices, and networks invert real ones")
    else:
        generator = torch.Generator().manual_seed(seed)
        A = get_family("uniform").sample(
            count,
            network.size,
            generator=generator,
            dtype=torch.float32,
            device="cpu",
            low=network.config.low,
            high=network.config.high,
            min_abs_det=min_abs_det,
        )
    with counting("evaluating", len(A)) as advance:
        evaluation = measure(network, A, progress=advance)

    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1), caption="median, 99 %, largest and share below 1: of the residuals ‖I − AX‖_F"
    )
    table.add_column("κ₂(A)")
    for heading in ("matrices", "MSE", "MAE", "median", "99 %", "largest", "below 1"):
        table.add_column(heading, justify="right")
    rows = [(f"1e{math.log10(b.low):.0f}–1e{math.log10(b.high):.0f}", b.accuracy) for b in evaluation.bins]
    for name, figures in [*rows, ("all", evaluation.overall)]:
        if name == "all":
            table.add_section()
        table.add_row(
            name,
            f"{figures.count:,}",
            f"{figures.mse:.1e}",
            f"{figures.mae:.1e}",
            f"{figures.residual[0]:.1e}",
            f"{figures.residual[2]:.1e}",
            f"{figures.residual[4]:.1e}",
            f"{100 * figures.share_below_one:.5g} %",
        )
    # Files first: what was measured outlives a terminal that is gone.
    if out is not None:
        bins = [{"low": b.low, "high": b.high, **asdict(b.accuracy)} for b in evaluation.bins]
        with atomic_path(out) as temporary:
            document = finite({"overall": asdict(evaluation.overall), "bins": bins})
            temporary.write_text(json.dumps(document, indent=2))
    if plot is not None or plot_elements is not None:
        from neuralinv.study.plots import residual_by_condition, save_figure, true_versus_predicted

        if plot is not None:
            save_figure(residual_by_condition(evaluation), plot)
        if plot_elements is not None:
            save_figure(true_versus_predicted(evaluation.true, evaluation.predicted), plot_elements)
    console.print(table)
    console.print(f"R² {evaluation.overall.r2:.6f}")
    for what, path in (("figures", out), ("plot", plot), ("plot", plot_elements)):
        if path is not None:
            console.print(f"{what} in {path}", markup=False)
