"""`neuralinv bench surrogate`: can networks replace the smoother?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuralinv.cli._console import completing
from neuralinv.cli._durations import parse_duration
from neuralinv.cli._errors import without_traceback
from neuralinv.cli._limits import LARGEST_SEED
from neuralinv.cli.bench import (
    app,
    check_files,
    check_seconds,
    check_threads,
    parse_names,
    wide_console,
    write_figures,
    write_plot,
)


def surrogate(
    bodies: Annotated[str, typer.Option(help="Some of mlp, convolution, recurrent.")] = "mlp,convolution,recurrent",
    budget: Annotated[
        float, typer.Option(parser=parse_duration, metavar="TIME", help="Training of each surrogate.")
    ] = "60s",  # type: ignore[assignment]  # Typer parses the default too
    steps: Annotated[int, typer.Option(min=10, help="Training steps of the example.")] = 1000,
    window: Annotated[int, typer.Option(min=20, max=1000, help="T: time steps in a window.")] = 250,
    bands: Annotated[int, typer.Option(min=1, max=32, help="Block diagonals of the learned inverse factor.")] = 24,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for all. [default: 2, or the cores]")] = None,
    seconds: Annotated[float, typer.Option(help="Shortest time to measure each.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Fixes data, weights and draws.")] = 0,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw error against time, and the bounds (.png, .svg, .pdf).")
    ] = None,
) -> None:
    """Train networks that stand in for the block-tridiagonal factor and solves of the Lorenz example, and measure them
    beside the loop and the compiled operator: errors, times, training through them, certified refinement.
    """
    from neuralinv.bench.surrogate.experiment import ExperimentSettings, run
    from neuralinv.bench.surrogate.report import as_json, draw, tables
    from neuralinv.learned.architectures.block_tridiagonal import BODIES
    from neuralinv.study.lorenz_vae import Settings

    settings = ExperimentSettings(
        bodies=parse_names(bodies, list(BODIES), "--bodies"),
        budget=budget,
        example=Settings(steps=steps, window=window, seed=seed),
        bands=bands,
        threads=check_threads(threads),
        seconds=check_seconds(seconds),
        seed=seed,
    )
    check_files(out, plot)

    console = wide_console()
    with completing("measuring") as complete:
        results = run(settings, progress=complete)
    console.print(f"{results.machine.processor}, threads: {settings.threads}", markup=False, soft_wrap=True)
    for table in tables(results):
        console.print(table)
    write_figures(console, out, lambda: as_json(results), indent=1)
    write_plot(console, plot, lambda: draw(results))


app.command()(without_traceback(surrogate))
