"""`neuralinv train`: train an ensemble of networks on freshly drawn matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from neuralinv.cli._console import console, error_console
from neuralinv.cli._durations import parse_duration
from neuralinv.io import FileError
from neuralinv.learned import ModelConfig, TrainingConfig

_DEFAULT_BUDGET = 90.0
_HARDLY_REFINABLE = 0.5
"""Mean residual on validation above which the user is told that the network is of little use."""


def train(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for weights, configuration, logs and the resumable state.")],
    size: Annotated[int, typer.Option(help="n: train a network for n×n matrices.")] = 3,
    arch: Annotated[str, typer.Option(help="Architecture: gated, resnet or mlp.")] = "gated",
    hidden: Annotated[int | None, typer.Option(help="Width; the architecture's own by default.")] = None,
    depth: Annotated[int | None, typer.Option(help="Blocks or layers; the architecture's own by default.")] = None,
    newton_schulz: Annotated[int, typer.Option(help="Unrolled Newton–Schulz steps (gated).")] = 2,
    low: Annotated[float, typer.Option(help="Smallest element of the training matrices.")] = -1.0,
    high: Annotated[float, typer.Option(help="Largest element of the training matrices.")] = 1.0,
    min_abs_det: Annotated[float, typer.Option(help="Redraw matrices with a smaller |det|.")] = 0.0,
    members: Annotated[int, typer.Option(help="Ensemble members, trained together.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Length in optimiser steps.")] = None,
    budget: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="TIME", help="Length in time: 90s, 5m, 1h. [default: 90s]"),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Fresh matrices per step and member.")] = 256,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate of AdamW.")] = 2e-3,
    schedule: Annotated[str, typer.Option(help="Learning rate: linear, cosine, exponential or constant.")] = "linear",
    loss: Annotated[
        str | None,
        typer.Option(
            help="direction, log_residual, residual, two_sided, error, mse. [default: direction (gated), residual]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes weights, batches and the validation set.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed or 64-true.")] = "32-true",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in --out, with its own settings.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the network in --out.")] = False,
) -> None:
    """Train a network that inverts n×n matrices.

    Every batch is drawn afresh, on the training device. Ctrl-C saves the state; --resume continues as if nothing had
    happened.
    """
    from neuralinv.learned.training import holds_run, saved_configuration

    if resume:
        given = [name for name in context.params if on_command_line(context, name) and name not in ("out", "resume")]
        if given:
            options = ", ".join("--" + name.replace("_", "-") for name in given)
            raise typer.BadParameter(f"--resume continues with the saved settings; leave out {options}")
        model, training = saved_configuration(out)
    else:
        if holds_run(out) and not overwrite:
            raise FileError(f"{out}: holds a network already; pass --resume, --overwrite or another --out")
        if steps is None and budget is None:
            budget = _DEFAULT_BUDGET
        model = ModelConfig(arch, size, hidden, depth, newton_schulz, low, high, members)
        training = TrainingConfig(
            steps=steps,
            budget=budget,
            batch_size=batch_size,
            learning_rate=learning_rate,
            schedule=schedule,
            loss=loss if loss is not None else TrainingConfig.default_loss(arch),
            min_abs_det=min_abs_det,
            seed=seed,
            device=device,
            precision=precision,
        )
    if not train_with_progress(model, training, out, resume=resume):
        raise typer.Exit(1)


def train_with_progress(model: ModelConfig, training: TrainingConfig, out: Path, *, resume: bool = False) -> bool:
    """Train with a live progress bar and print how it went; return False if it was interrupted."""
    from neuralinv.learned.training import TrainingProgress, train

    columns = (
        TextColumn("training {task.fields[what]}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[state]}"),
    )
    what = f"{model.size}×{model.size} {model.architecture}" + (f" ×{model.members}" if model.members > 1 else "")
    with Progress(*columns, console=error_console) as bar:
        task = bar.add_task("", total=1.0, what=what, state="")

        def show(progress: TrainingProgress) -> None:
            state = f"step {progress.step:,}, loss {progress.loss:.3g}, {progress.samples_per_second:,.0f} matrices/s"
            bar.update(task, completed=progress.fraction, state=state)

        outcome = train(model, training, out, resume=resume, report=show)
    if outcome.interrupted:
        console.print(
            f"stopped after {outcome.steps:,} steps; the state is saved. Continue with\n"
            f"  neuralinv train --out {out} --resume",
            markup=False,
        )
        return False
    console.print(
        f"trained {what} for {outcome.steps:,} steps in {outcome.elapsed:.0f} s "
        f"({outcome.samples_per_second:,.0f} matrices/s); mean ‖I − AX‖_F on unseen matrices {outcome.validation:.1e}\n"
        f"network in {out}",
        markup=False,
    )
    if outcome.validation > _HARDLY_REFINABLE:
        console.print(
            "hardly any of its proposals can be refined (residuals near 1 or above): train longer, or invert blocks of "
            "larger matrices with a network for 3×3 or 4×4 ones, as neuralinv invert does by itself",
            markup=False,
        )
    return True


def on_command_line(context: typer.Context, name: str) -> bool:
    """Tell whether the user gave a parameter."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
