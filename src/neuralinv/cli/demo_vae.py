"""`neuralinv demo vae`: a sequential variational auto-encoder on the attractor of Lorenz."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from neuralinv.cli._console import console, error_console
from neuralinv.cli._limits import LARGEST_SEED
from neuralinv.io import atomic_path


class Backend(StrEnum):
    """Who factors and solves."""

    auto = "auto"
    native = "native"
    triton = "triton"
    cyclic = "cyclic"
    loop = "loop"


def vae(
    out: Annotated[Path, typer.Option(help="Folder for attractor.png and run.json.")] = Path("runs/vae"),
    backend: Annotated[
        Backend,
        typer.Option(
            help="Who factors and solves; triton is for a GPU, and loop is the recursion as a Python loop in torch."
        ),
    ] = Backend.auto,
    device: Annotated[str, typer.Option(help="Where to train, such as cpu or cuda.")] = "cpu",
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 1500,
    window: Annotated[int, typer.Option(min=1, help="Time steps that one optimiser step sees.")] = 250,
    compare: Annotated[
        int, typer.Option(min=0, help="Repeat so many steps with the loop, or without it, and compare.")
    ] = 100,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Fixes data, weights and noise.")] = 0,
) -> None:
    """Train a sequential VAE on noisy observations of the Lorenz system, and draw the attractor it reconstructs.

    Its posterior over the latent path has a block-tridiagonal precision (Archer et al. 2015): the step times with
    the compiled kernels and with a loop over time are printed, and their lower bounds compared.
    """
    from neuralinv.study.lorenz_vae import Settings, run, total_steps

    settings = Settings(steps=steps, window=window, seed=seed)
    with atomic_path(out / "run.json", probe=True):
        pass  # find out now whether it can be written
    columns = (
        TextColumn("training"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=error_console) as bar:
        task = bar.add_task("", total=total_steps(settings, compare), state="")

        def show(step: int, bound: float) -> None:
            bar.update(task, completed=step, state=f"step {step:,}, lower bound {bound:.2f} nats per time step")

        outcome = run(settings, backend.value, compare=compare, report=show, device=device)
    outcome.save(out)
    console.print(f"{outcome.summary()}\nfigure          {out / 'attractor.png'}", markup=False)
